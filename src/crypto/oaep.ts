import { createHash } from 'node:crypto';
import { secretBytes, wipe } from '../core/bytes.ts';

export const oaepHashes = ['sha256', 'sha384', 'sha512'] as const;

export type OaepHash = (typeof oaepHashes)[number];

const hashBytes: Readonly<Record<OaepHash, number>> = { sha256: 32, sha384: 48, sha512: 64 };

/**
 * EME-OAEP decoding (RFC 8017 §7.1.2 step 3) of what RSADP gave, with MGF1 over the same hash. What is wrong with it
 * shows neither in the answer nor in branches: Manger's attack (CRYPTO 2001) needs no more than to tell a first byte
 * that is not zero from any other failure. Whether it is right shows, and then the message's length.
 * @param encoded as many bytes as the modulus, overwritten
 * @param label L: of the application, the same on both sides
 * @returns the message, for the caller to wipe; undefined when anything is wrong
 */
export function decodeOaep(hash: OaepHash, encoded: Uint8Array, label: Uint8Array): Uint8Array | undefined {
  const length = hashBytes[hash];
  if (encoded.length < 2 * length + 2) return undefined;
  const seed = encoded.subarray(1, 1 + length);
  const db = encoded.subarray(1 + length);
  xorMask(hash, seed, db);
  xorMask(hash, db, seed);
  const labelHash = createHash(hash).update(label).digest();
  try {
    let wrong = encoded[0] ?? 1;
    for (let at = 0; at < length; at += 1) wrong |= (db[at] ?? 0) ^ (labelHash[at] ?? 0);
    // Zeros, then 01, then the message. Each step is the same whatever was found before.
    let looking = 1;
    let start = 0;
    for (let at = length; at < db.length; at += 1) {
      const byte = db[at] ?? 0;
      const one = isZero(byte ^ 1);
      start |= -(looking & one) & (at + 1);
      wrong |= looking & (1 - isZero(byte)) & (1 - one);
      looking &= 1 - one;
    }
    if ((wrong | looking) !== 0) return undefined;
    const message = secretBytes(db.length - start);
    message.set(db.subarray(start));
    return message;
  } finally {
    wipe(encoded);
  }
}

/** 1 for 0, else 0, of a byte. */
function isZero(byte: number): number {
  return (byte - 1) >>> 31;
}

/** MGF1, RFC 8017 B.2.1, over `target`. */
function xorMask(hash: OaepHash, target: Uint8Array, seed: Uint8Array): void {
  const counter = Buffer.alloc(4);
  for (let at = 0, block = 0; at < target.length; block += 1) {
    counter.writeUInt32BE(block);
    const mask = createHash(hash).update(seed).update(counter).digest();
    for (let index = 0; index < mask.length && at < target.length; index += 1, at += 1)
      target[at] = (target[at] ?? 0) ^ (mask[index] ?? 0);
    wipe(mask);
  }
}
