import { wipe } from '../core/bytes.ts';
import { type MessageKey, openMessage, sealMessage, xaesKey, xchachaKey } from '../crypto/aead.ts';
import { type Hsm, HsmRejected } from '../hsm/hsm.ts';
import type { CipherVersion } from '../keys/key.ts';
import { openSeed } from '../keys/sealed-seed.ts';

/**
 * Authenticated encryption under a key version, wherever its suite has it done: in the token, or in this process
 * under a key that is there for this message alone.
 */
export interface Ciphers {
  /** @returns ciphertext ‖ tag */
  encrypt(version: CipherVersion, input: CipherInput): Promise<Uint8Array>;
  /** @returns the plaintext, for the caller to wipe. @throws HsmRejected for any forgery */
  decrypt(version: CipherVersion, input: CipherInput): Promise<Uint8Array>;
}

/** A nonce as long as the suite's, AAD, and plaintext or ciphertext ‖ tag. */
export interface CipherInput {
  readonly nonce: Uint8Array;
  readonly aad: Uint8Array;
  readonly data: Uint8Array;
}

export function createCiphers(hsm: Hsm): Ciphers {
  /** The key of one message in this process. */
  async function messageKey(version: CipherVersion, nonce: Uint8Array): Promise<MessageKey> {
    const { ref, suite } = version;
    if (suite.protection === 'derived') return await xaesKey((data) => hsm.mac(ref, data), nonce);
    const seed = await openSeed(hsm, version);
    if (suite.nonceBytes === 12) return { cipher: 'chacha20-poly1305', key: seed, nonce };
    try {
      return xchachaKey(seed, nonce);
    } finally {
      wipe(seed);
    }
  }

  return {
    async encrypt(version, { nonce, aad, data }) {
      if (version.suite.protection === 'hsm') return await hsm.encrypt(version.ref, { nonce, aad, data });
      const key = await messageKey(version, nonce);
      try {
        return sealMessage(key, aad, data);
      } finally {
        wipe(key.key);
      }
    },
    async decrypt(version, { nonce, aad, data }) {
      if (version.suite.protection === 'hsm') return await hsm.decrypt(version.ref, { nonce, aad, data });
      const key = await messageKey(version, nonce);
      try {
        const plaintext = openMessage(key, aad, data);
        if (plaintext === undefined) throw new HsmRejected();
        return plaintext;
      } finally {
        wipe(key.key);
      }
    },
  };
}
