import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { publicRandom } from '../../core/ids.ts';
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

const algorithm = 'aes-256-gcm';
const options = { authTagLength: tagBytes };

function aesGcm(key: KeyObject): AesGcmKey {
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
