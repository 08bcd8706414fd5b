import { createCipheriv, createDecipheriv } from 'node:crypto';
import { concatBytes, secretBytes, utf8, wipe } from '../core/bytes.ts';
import type { Prf } from './kdf.ts';
import { withKeyBytes } from './key-bytes.ts';

/**
 * What one message is encrypted under in this process: for whoever has it to wipe. The key is passed to OpenSSL as
 * bytes, which it wipes when a cipher is final. A KeyObject is faster, but keeps them until it is collected.
 */
export interface MessageKey {
  readonly cipher: 'aes-256-gcm' | 'aes-128-gcm' | 'chacha20-poly1305';
  /** As many bytes as the cipher takes: 32, or 16. */
  readonly key: Uint8Array;
  /** 12 bytes. */
  readonly nonce: Uint8Array;
}

const tagBytes = 16;
const options = { authTagLength: tagBytes };

/** @returns ciphertext ‖ tag(16) */
export function sealMessage(
  { cipher, key, nonce }: MessageKey,
  aad: Uint8Array,
  data: Uint8Array,
): Uint8Array {
  const sealing = withKeyBytes(() => createCipheriv(asGcm(cipher), key, nonce, options)).setAAD(aad);
  return concatBytes(sealing.update(data), sealing.final(), sealing.getAuthTag());
}

/** @returns the plaintext, for the caller to wipe; undefined for any forgery */
export function openMessage(
  { cipher, key, nonce }: MessageKey,
  aad: Uint8Array,
  data: Uint8Array,
): Uint8Array | undefined {
  if (data.length < tagBytes) return undefined;
  const opening = withKeyBytes(() => createDecipheriv(asGcm(cipher), key, nonce, options)).setAAD(aad);
  opening.setAuthTag(data.subarray(-tagBytes));
  // All of it is given here, and counts once `final` has compared the tag.
  const plaintext = opening.update(data.subarray(0, -tagBytes));
  try {
    opening.final();
    return plaintext;
  } catch {
    wipe(plaintext);
    return undefined;
  }
}

/** Node's types are stricter with ChaCha20-Poly1305 than Node. */
function asGcm(cipher: MessageKey['cipher']): 'aes-256-gcm' {
  return cipher as 'aes-256-gcm';
}

/**
 * XChaCha20-Poly1305, draft-irtf-cfrg-xchacha-03 §2.3: a subkey by the first 16 bytes of the nonce, and the others
 * after four zero bytes.
 * @param nonce 24 bytes
 */
export function xchachaKey(key: Uint8Array, nonce: Uint8Array): MessageKey {
  return {
    cipher: 'chacha20-poly1305',
    key: hchacha20(key, nonce.subarray(0, 16)),
    nonce: concatBytes(new Uint8Array(4), nonce.subarray(16)),
  };
}

const constants = utf8('expand 32-byte k');
const zeroBlock = new Uint8Array(64);

/**
 * HChaCha20 (draft-irtf-cfrg-xchacha-03 §2.2) by OpenSSL's ChaCha20, whose block is the state that the rounds leave,
 * plus their input, word by word (RFC 8439 §2.3). HChaCha20 is the first and last row of that state without the
 * addition. In these rows the input is public: the constants, and the nonce.
 */
function hchacha20(key: Uint8Array, nonce: Uint8Array): Uint8Array {
  const cipher = withKeyBytes(() => createCipheriv('chacha20', key, nonce));
  const block = cipher.update(zeroBlock);
  cipher.final();
  const subkey = secretBytes(32);
  subtractWords(subkey.subarray(0, 16), block.subarray(0, 16), constants);
  subtractWords(subkey.subarray(16), block.subarray(48), nonce);
  wipe(block);
  return subkey;
}

/** Little-endian words of 32 bits, `a` - `b`; byte by byte, which V8 keeps in registers. */
function subtractWords(out: Uint8Array, a: Uint8Array, b: Uint8Array): void {
  let borrow = 0;
  for (let at = 0; at < out.length; at++) {
    if (at % 4 === 0) borrow = 0;
    const difference = (a[at] ?? 0) - (b[at] ?? 0) - borrow;
    out[at] = difference;
    borrow = (difference >> 8) & 1;
  }
}

/**
 * XAES-256-GCM (https://c2sp.org/XAES-256-GCM): the key is derived by SP 800-108r1 counter mode over AES-CMAC, with
 * a 16-bit counter, the label `X`, the first 12 bytes of the nonce and no length; the others are GCM's nonce.
 * @param cmac AES-CMAC under the 256-bit key: 16 bytes a call
 * @param nonce 24 bytes
 */
export async function xaesKey(cmac: Prf, nonce: Uint8Array): Promise<MessageKey> {
  const context = nonce.subarray(0, 12);
  const block = (counter: number) => cmac(concatBytes(Uint8Array.of(0, counter, 0x58, 0), context));
  const halves = await Promise.all([block(1), block(2)]);
  const key = concatBytes(...halves);
  wipe(...halves);
  return { cipher: 'aes-256-gcm', key, nonce: nonce.subarray(12) };
}
