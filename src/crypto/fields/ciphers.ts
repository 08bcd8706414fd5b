/**
 * What field encryption needs of a cryptographic library: ./node-ciphers.ts and ./portable-ciphers.ts give it. All of
 * it is synchronous, since a promise costs more than a short field. Keys are copied when they are given.
 */
export interface FieldCiphers {
  /** Random bytes for nonces and tokens. @param bytes 1–64 */
  random(bytes: number): Uint8Array;
  /** @param key 16, 24 or 32 bytes */
  blocks(key: Uint8Array): AesBlocks;
  /** @param key 32 bytes */
  gcm(key: Uint8Array): Aead;
  /** @param key 32 bytes */
  hmac(key: Uint8Array): FieldHmac;
  /** Base64url without padding (RFC 4648 §5) of the parts one after the other. */
  toText(...parts: readonly Uint8Array[]): string;
  /** @returns undefined unless `text` is the one encoding of some bytes */
  fromText(text: string): Uint8Array | undefined;
}

/** The AES block cipher under one key: what ./siv.ts and ./ff1.ts are made of. */
export interface AesBlocks {
  /**
   * Encrypts every block of 16 bytes by itself, in place. Many blocks in one call cost little more than one: whoever
   * has several values goes through their steps together.
   */
  encrypt(blocks: Uint8Array): void;
}

/** AES-256-GCM with a nonce of 12 bytes and a tag of 16 (NIST SP 800-38D). */
export interface Aead {
  /** @returns ciphertext ‖ tag, in one or two pieces: nothing is copied for the sake of joining them */
  seal(nonce: Uint8Array, plaintext: Uint8Array, aad: Uint8Array): readonly Uint8Array[];
  /** @param sealed ciphertext ‖ tag. @returns undefined when the tag is wrong */
  open(nonce: Uint8Array, sealed: Uint8Array, aad: Uint8Array): Uint8Array | undefined;
}

/** HMAC-SHA-256 (FIPS 198-1) under one key: 32 bytes. */
export type FieldHmac = (data: Uint8Array) => Uint8Array;

export const blockBytes = 16;
