import { randomFillSync } from 'node:crypto';

const poolBytes = 8192;
const pool = Buffer.alloc(poolBytes);
let used = poolBytes;

/**
 * Public random bytes (nonces, message ids) cut from a pool filled by the operating system's generator:
 * one call into OpenSSL for hundreds of messages. Not for secrets, which must not linger in a pool.
 * @param bytes 1–64
 */
export function publicRandom(bytes: number): Uint8Array {
  if (used + bytes > poolBytes) {
    randomFillSync(pool);
    used = 0;
  }
  const out = new Uint8Array(bytes);
  out.set(pool.subarray(used, used + bytes));
  used += bytes;
  return out;
}
