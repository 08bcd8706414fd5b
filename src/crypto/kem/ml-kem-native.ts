import crypto, { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { withKeyBytes } from '../key-bytes.ts';
import { type Kem, type MlKemName, mlKemSeedBytes, mlKemSizes, requireBytes } from './kem.ts';

// `crypto.encapsulate` and not an import of that name: where it is missing, such an import keeps the module from loading.

/** ML-KEM by OpenSSL 3.5, in constant time. A KeyObject's memory is cleared when it is collected, not before. */
export function nativeMlKem(name: MlKemName): Kem {
  const { publicKeyBytes, ciphertextBytes } = mlKemSizes[name];
  return {
    publicKeyBytes,
    ciphertextBytes,
    publicKey(raw) {
      if (raw.length !== publicKeyBytes) return undefined;
      const key = mlKemPublicKey(name, raw);
      if (key === undefined) return undefined;
      return {
        encapsulate() {
          const { ciphertext, sharedKey } = crypto.encapsulate(key);
          return { ciphertext, sharedSecret: sharedKey };
        },
      };
    },
    privateKey(seed) {
      requireBytes('seed', seed, mlKemSeedBytes);
      const key = mlKemPrivateKey(name, seed);
      return {
        get publicKey() {
          return createPublicKey(key).export({ format: 'raw-public' });
        },
        decapsulate: (ciphertext) =>
          ciphertext.length === ciphertextBytes ? crypto.decapsulate(key, ciphertext) : undefined,
      };
    },
  };
}

/** @returns undefined unless every coefficient is reduced (FIPS 203 §7.2, modulus check: OpenSSL makes it) */
export function mlKemPublicKey(name: MlKemName, raw: Uint8Array): KeyObject | undefined {
  try {
    const key = Buffer.from(raw);
    return withKeyBytes(() => createPublicKey({ key, format: 'raw-public', asymmetricKeyType: name }));
  } catch {
    return undefined;
  }
}

function mlKemPrivateKey(name: MlKemName, seed: Uint8Array): KeyObject {
  const key = Buffer.from(seed.buffer, seed.byteOffset, seed.length);
  return withKeyBytes(() => createPrivateKey({ key, format: 'raw-seed', asymmetricKeyType: name }));
}

/** True where this runtime has ML-KEM, in the forms that are used here. */
export function hasNativeMlKem(): boolean {
  try {
    const key = nativeMlKem('ml-kem-768').privateKey(new Uint8Array(mlKemSeedBytes));
    const made = nativeMlKem('ml-kem-768').publicKey(key.publicKey)?.encapsulate();
    return made !== undefined && key.decapsulate(made.ciphertext) !== undefined;
  } catch {
    return false;
  }
}
