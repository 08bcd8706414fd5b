import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';
import { concatBytes, secretBytes, wipe } from '../../core/bytes.ts';
import { publicRandom } from '../../core/random.ts';
import { type AesGcmKey, type PayloadCiphers, tagBytes } from './ciphers.ts';

/** The payload formats on node:crypto: synchronous, and keys as KeyObjects, which are faster than bytes. */
export const nodeCiphers: PayloadCiphers = {
  random: publicRandom,
  importSecret(bytes) {
    const secret = createSecretKey(bytes);
    return {
      hkdf: ({ salt, info, bytes: length }) => new Uint8Array(hkdfSync('sha256', secret, salt, info, length)),
    };
  },
  importKey: (bytes) => aesGcm(createSecretKey(bytes)),
};

/**
 * The same for keys that are used once: bytes, which `forget` overwrites. A KeyObject, and so node's own HKDF, keeps
 * its key until V8 collects it.
 */
export function transientCiphers(): PayloadCiphers & { forget(): void } {
  const kept: Uint8Array[] = [];

  function keep(bytes: Uint8Array): Uint8Array {
    const copy = concatBytes(bytes);
    kept.push(copy);
    return copy;
  }

  return {
    random: publicRandom,
    importSecret(bytes) {
      const secret = keep(bytes);
      return { hkdf: ({ salt, info, bytes: length }) => hkdfOf(secret, salt, info, length) };
    },
    importKey: (bytes) => aesGcm(keep(bytes)),
    forget: () => wipe(...kept),
  };
}

/** RFC 5869 §2.2 and §2.3, for up to 255 blocks of 32 bytes. */
function hkdfOf(secret: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array {
  const extracted = hmac(salt, secret);
  const out = secretBytes(length);
  let block: Uint8Array = new Uint8Array();
  for (let at = 0, count = 1; at < length; at += block.length, count += 1) {
    const previous = block;
    block = hmac(extracted, previous, info, Uint8Array.of(count));
    wipe(previous);
    out.set(block.subarray(0, length - at), at);
  }
  wipe(extracted, block);
  return out;
}

function hmac(key: Uint8Array, ...data: readonly Uint8Array[]): Uint8Array {
  const mac = createHmac('sha256', key);
  for (const part of data) mac.update(part);
  return mac.digest();
}

const algorithm = 'aes-256-gcm';
const options = { authTagLength: tagBytes };

function aesGcm(key: KeyObject | Uint8Array): AesGcmKey {
  return {
    seal(nonce, plaintext, aad) {
      const cipher = createCipheriv(algorithm, key, nonce, options);
      if (aad.length > 0) cipher.setAAD(aad);
      const ciphertext = cipher.update(plaintext);
      cipher.final();
      return [ciphertext, cipher.getAuthTag()];
    },
    open(nonce, sealed, aad) {
      if (sealed.length < tagBytes) return undefined;
      const tagAt = sealed.length - tagBytes;
      const decipher = createDecipheriv(algorithm, key, nonce, options);
      if (aad.length > 0) decipher.setAAD(aad);
      decipher.setAuthTag(sealed.subarray(tagAt));
      const plaintext = decipher.update(sealed.subarray(0, tagAt));
      try {
        decipher.final();
        return plaintext;
      } catch {
        plaintext.fill(0);
        return undefined;
      }
    },
  };
}
