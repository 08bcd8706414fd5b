/**
 * What the payload formats need of a cryptographic library: ./node-ciphers.ts and the client's Web Crypto give it.
 * Keys are handles: their bytes cannot be read back.
 */
export interface PayloadCiphers {
  /** Fills with random bytes for salts and nonces. */
  random(bytes: number): Uint8Array;
  /** A data key to derive from. The bytes are copied; wipe them afterwards. */
  importSecret(bytes: Uint8Array): Awaitable<Secret>;
  /** @param bytes 32, copied */
  importKey(bytes: Uint8Array): Awaitable<AesGcmKey>;
}

export type Awaitable<Value> = Value | Promise<Value>;

export interface Secret {
  /** HKDF-SHA-256 (RFC 5869). */
  hkdf(parameters: { salt: Uint8Array; info: Uint8Array; bytes: number }): Awaitable<Uint8Array>;
}

/** AES-256-GCM with a nonce of 12 bytes and a tag of 16 (NIST SP 800-38D). */
export interface AesGcmKey {
  /** @returns ciphertext ‖ tag, in one or two pieces: nothing is copied for the sake of joining them */
  seal(nonce: Uint8Array, plaintext: Uint8Array, aad: Uint8Array): Awaitable<readonly Uint8Array[]>;
  /** @param sealed ciphertext ‖ tag. @returns undefined when the tag is wrong */
  open(nonce: Uint8Array, sealed: Uint8Array, aad: Uint8Array): Awaitable<Uint8Array | undefined>;
}

export const tagBytes = 16;
