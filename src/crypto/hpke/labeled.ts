import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { concatBytes, secretBytes, utf8, wipe } from '../../core/bytes.ts';
import { uint16 } from './suites.ts';

const version = utf8('HPKE-v1');
const hashBytes = 32;
/** HMAC fills its key up with zeros: this is the empty salt. */
const noSalt = createSecretKey(new Uint8Array(hashBytes));

/**
 * The secrets of HPKE as KeyObjects: HMAC takes bytes four times slower. OpenSSL overwrites them when V8 collects them.
 * @param bytes copied, for the caller to wipe
 */
export function secretOf(bytes: Uint8Array): KeyObject {
  return createSecretKey(bytes);
}

/** RFC 9180 §4, over HKDF-SHA256. @returns 32 bytes, for the caller to wipe */
export function labeledExtract(
  suiteId: Uint8Array,
  salt: KeyObject | undefined,
  label: string,
  ikm: Uint8Array,
): Uint8Array {
  return hmac(salt ?? noSalt, version, suiteId, utf8(label), ikm);
}

/** RFC 9180 §4. @param length up to 8,160 bytes. @returns bytes for the caller to wipe */
export function labeledExpand(
  suiteId: Uint8Array,
  secret: KeyObject,
  label: string,
  info: Uint8Array,
  length: number,
): Uint8Array {
  if (!Number.isInteger(length) || length < 0 || length > 255 * hashBytes)
    throw new RangeError(`length must be 0 to ${255 * hashBytes}`);
  const labeled = concatBytes(uint16(length), version, suiteId, utf8(label), info);
  const out = secretBytes(length);
  let block: Uint8Array = new Uint8Array();
  for (let at = 0, count = 1; at < length; at += hashBytes, count += 1) {
    const previous = block;
    block = hmac(secret, previous, labeled, Uint8Array.of(count));
    wipe(previous);
    out.set(block.subarray(0, length - at), at);
  }
  wipe(block);
  return out;
}

function hmac(key: KeyObject, ...data: readonly Uint8Array[]): Uint8Array {
  const mac = createHmac('sha256', key);
  for (const part of data) mac.update(part);
  return mac.digest();
}
