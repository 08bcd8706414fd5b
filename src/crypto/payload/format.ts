/**
 * Bytes ⇄ fields of a ciphertext under a data key (format 2); ./README.md has the layout and why.
 * Pure, and free of Node: the client reads it in browsers too. Golden ciphertexts hold it still.
 */

export type PayloadKind = 'message' | 'stream';

export interface PayloadHeader {
  readonly kind: PayloadKind;
  /** The data key as the service wrapped it: a format 1 ciphertext. */
  readonly wrapped: Uint8Array;
  /** 32 bytes that commit to the data key. */
  readonly commitment: Uint8Array;
  /** Of a stream: 32 bytes. */
  readonly salt?: Uint8Array;
}

export interface ParsedPayloadHeader extends PayloadHeader {
  /** Where the payload begins. */
  readonly headerBytes: number;
}

const magic = 0x53; // 'S'
const formatVersion = 2;
/** AES-256-GCM, as in ../suites.ts. */
const suiteNumber = 1;
const kindNumbers: Record<PayloadKind, number> = { message: 1, stream: 3 };
/** Magic, format, suite, kind and the length of the wrapped data key. */
const prefixBytes = 6;
export const commitmentBytes = 32;
export const saltBytes = 32;
/** A wrapped data key is 144 bytes, or a few more under suites with a longer nonce. */
const wrappedLimitBytes = 400;
/** Every header is shorter: it lies within the first sector of a file. */
export const headerLimitBytes = prefixBytes + wrappedLimitBytes + commitmentBytes + saltBytes;

/** Where a format 1 ciphertext has its kind, and which one is a data key. */
const wrappedKind = { at: 3, dataKey: 2 };
/** Where it has the id that stays the same when it is rewrapped. */
const wrappedId = { at: 36, bytes: 16 };
const wrappedLeastBytes = 112;

/** What every key is derived for besides its purpose: magic, format, suite and kind. */
export function purposeOf(kind: PayloadKind): Uint8Array {
  return Uint8Array.of(magic, formatVersion, suiteNumber, kindNumbers[kind]);
}

/** True for the first bytes of a ciphertext of this format, whatever comes after them. */
export function isPayload(bytes: Uint8Array): boolean {
  return bytes[0] === magic && bytes[1] === formatVersion;
}

/** True for what may be a ciphertext of format 1, which the service opens: its plaintext has at most 4 KiB. */
export function isOfKeyVersion(bytes: Uint8Array): boolean {
  return bytes[0] === magic && bytes[1] === 1 && bytes.length <= 4_096 + wrappedLimitBytes;
}

/** @throws RangeError for a wrapped data key that is none */
export function encodePayloadHeader({ kind, wrapped, commitment, salt }: PayloadHeader): Uint8Array {
  if (!isWrappedDataKey(wrapped)) throw new RangeError('wrapped must be a wrapped data key');
  const length = Uint8Array.of(wrapped.length >>> 8, wrapped.length & 0xff);
  return joined(purposeOf(kind), length, wrapped, commitment, salt ?? new Uint8Array());
}

/**
 * The fields of a header at the start of `bytes`, as views. Nothing of it is authenticated yet.
 * @returns 'incomplete' when more bytes may make it whole; undefined when it is not of this format
 */
export function parsePayloadHeader(bytes: Uint8Array): ParsedPayloadHeader | 'incomplete' | undefined {
  if (bytes.length < prefixBytes) return 'incomplete';
  const kind = kindOf(bytes[3]);
  if (!isPayload(bytes) || bytes[2] !== suiteNumber || kind === undefined) return undefined;
  const wrappedBytes = ((bytes[4] ?? 0) << 8) | (bytes[5] ?? 0);
  if (wrappedBytes < wrappedLeastBytes || wrappedBytes > wrappedLimitBytes) return undefined;
  const commitmentAt = prefixBytes + wrappedBytes;
  const saltAt = commitmentAt + commitmentBytes;
  const headerBytes = saltAt + (kind === 'stream' ? saltBytes : 0);
  if (bytes.length < headerBytes) return 'incomplete';
  const wrapped = bytes.subarray(prefixBytes, commitmentAt);
  if (!isWrappedDataKey(wrapped)) return undefined;
  return {
    kind,
    wrapped,
    commitment: bytes.subarray(commitmentAt, saltAt),
    ...(kind === 'stream' && { salt: bytes.subarray(saltAt, headerBytes) }),
    headerBytes,
  };
}

function kindOf(number: number | undefined): PayloadKind | undefined {
  if (number === kindNumbers.message) return 'message';
  return number === kindNumbers.stream ? 'stream' : undefined;
}

/** True when it looks like what the service wraps a data key into. */
export function isWrappedDataKey(wrapped: Uint8Array): boolean {
  return (
    wrapped.length >= wrappedLeastBytes &&
    wrapped.length <= wrappedLimitBytes &&
    wrapped[0] === magic &&
    wrapped[1] === 1 &&
    wrapped[wrappedKind.at] === wrappedKind.dataKey
  );
}

/** Where `wrapped` is in a header. */
export function wrappedPlace({ wrapped }: PayloadHeader): { readonly at: number; readonly end: number } {
  return { at: prefixBytes, end: prefixBytes + wrapped.length };
}

/** The 16 bytes that name a data key, whatever key it is rewrapped to. */
export function dataKeyId(wrapped: Uint8Array): Uint8Array {
  return wrapped.subarray(wrappedId.at, wrappedId.at + wrappedId.bytes);
}

/** True when `other` wraps the same data key, under whatever key. It may still be damaged. */
export function isSameDataKey(wrapped: Uint8Array, other: Uint8Array): boolean {
  const ids = [dataKeyId(wrapped), dataKeyId(other)] as const;
  return isWrappedDataKey(other) && ids[0].every((byte, at) => byte === ids[1][at]);
}

/** The id of the key that wrapped a data key, in its text form. */
export function keyIdOf(wrapped: Uint8Array): string {
  return keyIdFrom(wrapped.subarray(4, 20));
}

/** The text form of an id of 16 bytes. */
export function keyIdFrom(id: Uint8Array): string {
  const hex = Array.from(id, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

/** Joins `parts` into one new array. */
export function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  let total = 0;
  for (const part of parts) total += part.length;
  const out = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Each field after its length as 4 bytes, big endian: different lists never give the same bytes. */
export function prefixed(...fields: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return joined(...fields.flatMap((field) => [uint32(field.length), field]));
}

function uint32(value: number): Uint8Array {
  const out = new Uint8Array(4);
  new DataView(out.buffer).setUint32(0, value);
  return out;
}
