import { ml_kem512, ml_kem768, ml_kem1024 } from '@noble/post-quantum/ml-kem.js';
import { wipe } from '../../core/bytes.ts';
import {
  type Encapsulated,
  type Kem,
  type MlKemName,
  mlKemSeedBytes,
  mlKemSizes,
  requireBytes,
} from './kem.ts';

const kems = { 'ml-kem-512': ml_kem512, 'ml-kem-768': ml_kem768, 'ml-kem-1024': ml_kem1024 } as const;

/** ML-KEM in JavaScript, for runtimes without it: some 15 times slower, and no engine promises constant time. */
export function nobleMlKem(name: MlKemName): Kem {
  const kem = kems[name];
  const { publicKeyBytes, ciphertextBytes } = mlKemSizes[name];
  return {
    publicKeyBytes,
    ciphertextBytes,
    publicKey(raw) {
      if (raw.length !== publicKeyBytes) return undefined;
      try {
        const prepared = kem.prepare(Uint8Array.from(raw));
        return { encapsulate: () => encapsulated(prepared.encapsulate()) };
      } catch {
        return undefined;
      }
    },
    privateKey(seed) {
      requireBytes('seed', seed, mlKemSeedBytes);
      const copy = Uint8Array.from(seed);
      return {
        get publicKey() {
          return kem.keygen(copy).publicKey;
        },
        decapsulate(ciphertext) {
          if (ciphertext.length !== ciphertextBytes) return undefined;
          const { secretKey } = kem.keygen(copy);
          try {
            return kem.decapsulate(Uint8Array.from(ciphertext), secretKey);
          } finally {
            wipe(secretKey);
          }
        },
      };
    },
  };
}

function encapsulated(made: { cipherText: Uint8Array; sharedSecret: Uint8Array }): Encapsulated {
  return { ciphertext: made.cipherText, sharedSecret: made.sharedSecret };
}
