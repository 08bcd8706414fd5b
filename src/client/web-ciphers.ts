import type { AesGcmKey, PayloadCiphers } from '../crypto/payload/ciphers.ts';

type Bytes = Uint8Array<ArrayBuffer>;

/** The payload formats on Web Crypto: browsers, workers and every other runtime. Keys are not extractable. */
export const webCiphers: PayloadCiphers = {
  random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
  async importSecret(bytes) {
    const key = await crypto.subtle.importKey('raw', bytes as Bytes, 'HKDF', false, ['deriveBits']);
    return {
      async hkdf({ salt, info, bytes: length }) {
        const parameters = { name: 'HKDF', hash: 'SHA-256', salt: salt as Bytes, info: info as Bytes };
        return new Uint8Array(await crypto.subtle.deriveBits(parameters, key, length * 8));
      },
    };
  },
  async importKey(bytes) {
    const usages = ['encrypt', 'decrypt'] as const;
    return aesGcm(await crypto.subtle.importKey('raw', bytes as Bytes, 'AES-GCM', false, [...usages]));
  },
};

function aesGcm(key: Awaited<ReturnType<typeof crypto.subtle.importKey>>): AesGcmKey {
  const parameters = (iv: Uint8Array, additionalData: Uint8Array) => ({
    name: 'AES-GCM',
    iv: iv as Bytes,
    additionalData: additionalData as Bytes,
    tagLength: 128,
  });
  return {
    async seal(nonce, plaintext, aad) {
      return [new Uint8Array(await crypto.subtle.encrypt(parameters(nonce, aad), key, plaintext))];
    },
    async open(nonce, sealed, aad) {
      try {
        return new Uint8Array(await crypto.subtle.decrypt(parameters(nonce, aad), key, sealed));
      } catch {
        return undefined;
      }
    },
  };
}
