import type { Kem, MlKemName } from './kem.ts';
import { hasNativeMlKem, nativeMlKem } from './ml-kem-native.ts';

/** Where this process has ML-KEM from: said at start and by `doctor`. */
export const mlKemSource: 'node:crypto' | '@noble/post-quantum' = hasNativeMlKem()
  ? 'node:crypto'
  : '@noble/post-quantum';

/** The package is loaded where it is needed alone. */
export const mlKem: (name: MlKemName) => Kem =
  mlKemSource === 'node:crypto' ? nativeMlKem : (await import('./ml-kem-noble.ts')).nobleMlKem;
