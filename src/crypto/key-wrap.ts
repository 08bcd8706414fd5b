import { createCipheriv, createDecipheriv } from 'node:crypto';
import { concatBytes, wipe } from '../core/bytes.ts';

/** The alternative initial value, RFC 5649 §3; the length comes after it. */
const initialValue = Buffer.from('a65959a6', 'hex');

/** AES key wrap with padding (RFC 5649) in this process. @param kek 16, 24 or 32 bytes */
export function wrapKey(kek: Uint8Array, key: Uint8Array): Uint8Array {
  const cipher = createCipheriv(algorithmFor(kek), kek, initialValue);
  return concatBytes(cipher.update(key), cipher.final());
}

/** @returns the key, for the caller to wipe; undefined for what was not wrapped under `kek` */
export function unwrapKey(kek: Uint8Array, wrapped: Uint8Array): Uint8Array | undefined {
  if (wrapped.length < 16 || wrapped.length % 8 !== 0) return undefined;
  try {
    const decipher = createDecipheriv(algorithmFor(kek), kek, initialValue);
    const parts = [decipher.update(wrapped), decipher.final()];
    const key = concatBytes(...parts);
    wipe(...parts);
    return key;
  } catch {
    return undefined;
  }
}

function algorithmFor(kek: Uint8Array): string {
  return `id-aes${kek.length * 8}-wrap-pad`;
}
