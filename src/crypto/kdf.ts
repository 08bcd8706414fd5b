import { hkdfSync } from 'node:crypto';
import { concatBytes, utf8 } from '../core/bytes.ts';
import { withKeyBytes } from './key-bytes.ts';

/** A keyed pseudorandom function whose key stays where it is (in the HSM, say). */
export type Prf = (data: Uint8Array) => Promise<Uint8Array>;

/**
 * Key derivation in counter mode, NIST SP 800-108r1 §4.1, with a 32-bit counter before the fixed input
 * `label ‖ 0x00 ‖ context ‖ L` (L: output bits, 32-bit big endian).
 * @param prf HMAC-SHA-256 under the derivation key: 32 bytes a call
 * @param label purpose, from ./labels.ts; holds no NUL
 * @param bytes 1–8,160 (255 blocks)
 * @throws RangeError for a length or label outside those bounds
 */
export async function deriveCounterMode(
  prf: Prf,
  { label, context, bytes }: { label: string; context: Uint8Array; bytes: number },
): Promise<Uint8Array> {
  const prfBytes = 32;
  if (!Number.isInteger(bytes) || bytes < 1 || bytes > 255 * prfBytes) {
    throw new RangeError('bytes must be 1 to 8160');
  }
  if (label.includes('\0')) throw new RangeError('label must not hold NUL');
  const fixed = concatBytes(utf8(label), Uint8Array.of(0), context, uint32(bytes * 8));
  const blocks = Math.ceil(bytes / prfBytes);
  const outputs = await Promise.all(
    Array.from({ length: blocks }, (_, index) => prf(concatBytes(uint32(index + 1), fixed))),
  );
  const whole = concatBytes(...outputs);
  for (const output of outputs) output.fill(0);
  const derived = whole.slice(0, bytes);
  whole.fill(0);
  return derived;
}

function uint32(value: number): Uint8Array {
  const out = new Uint8Array(4);
  new DataView(out.buffer).setUint32(0, value);
  return out;
}

export type HkdfHash = 'sha256' | 'sha384' | 'sha512';

/**
 * HKDF (RFC 5869): extract and expand in process.
 * @param bytes 1 to 255 times the hash's length
 * @throws RangeError when more is asked than HKDF gives
 */
export function hkdf(
  hash: HkdfHash,
  { secret, salt, info, bytes }: { secret: Uint8Array; salt: Uint8Array; info: Uint8Array; bytes: number },
): Uint8Array {
  const hashBytes = { sha256: 32, sha384: 48, sha512: 64 }[hash];
  if (!Number.isInteger(bytes) || bytes < 1 || bytes > 255 * hashBytes) {
    throw new RangeError(`bytes must be 1 to ${255 * hashBytes}`);
  }
  return new Uint8Array(withKeyBytes(() => hkdfSync(hash, secret, salt, info, bytes)));
}
