import { createCipheriv, createDecipheriv, createHmac, createSecretKey } from 'node:crypto';
import { publicRandom } from '../../core/random.ts';
import { type AesBlocks, blockBytes, type FieldCiphers } from './ciphers.ts';

const tagBytes = 16;
const options = { authTagLength: tagBytes };

/** Field encryption on node:crypto: the AES of OpenSSL, in constant time where the processor has it. */
export const nodeCiphers: FieldCiphers = {
  random: publicRandom,
  blocks: aesBlocks,
  gcm(bytes) {
    const key = createSecretKey(bytes);
    return {
      seal(nonce, plaintext, aad) {
        const cipher = createCipheriv('aes-256-gcm', key, nonce, options);
        cipher.setAAD(aad);
        const ciphertext = cipher.update(plaintext);
        cipher.final();
        return [ciphertext, cipher.getAuthTag()];
      },
      open(nonce, sealed, aad) {
        const tagAt = sealed.length - tagBytes;
        if (tagAt < 0) return undefined;
        const decipher = createDecipheriv('aes-256-gcm', key, nonce, options);
        decipher.setAAD(aad);
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
  },
  hmac(bytes) {
    const key = createSecretKey(bytes);
    return (data) => createHmac('sha256', key).update(data).digest();
  },
  toText: (...parts) => Buffer.concat(parts).toString('base64url'),
  fromText(text) {
    const bytes = Buffer.from(text, 'base64url');
    return bytes.toString('base64url') === text ? bytes : undefined;
  },
};

/** Longer runs are cut: what OpenSSL gives back is allocated anew each time. */
const runBytes = 64 * 1024;

/** One cipher object for the life of the key: making one costs as much as a thousand blocks. */
function aesBlocks(key: Uint8Array): AesBlocks {
  const cipher = createCipheriv(`aes-${key.length * 8}-ecb`, key, null).setAutoPadding(false);
  return {
    encrypt(blocks) {
      if (blocks.length % blockBytes !== 0) throw new RangeError('blocks must be whole');
      for (let at = 0; at < blocks.length; at += runBytes)
        blocks.set(cipher.update(blocks.subarray(at, at + runBytes)), at);
    },
  };
}
