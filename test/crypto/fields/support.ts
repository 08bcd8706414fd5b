import { nodeCiphers } from '../../../src/crypto/fields/node-ciphers.ts';
import { portableCiphers } from '../../../src/crypto/fields/portable-ciphers.ts';

/** Both implementations of what field encryption is made of. */
export const everyCiphers = [
  { name: 'node:crypto', ciphers: nodeCiphers },
  { name: 'JavaScript', ciphers: portableCiphers },
] as const;

export const hexOf = (bytes: Uint8Array | undefined): string | undefined =>
  bytes && Buffer.from(bytes).toString('hex');
