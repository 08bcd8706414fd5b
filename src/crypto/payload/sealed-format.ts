/**
 * Bytes ⇄ fields of a stream whose data key is sealed to public keys (format 3); ./README.md has the layout and why.
 * Golden ciphertexts hold it still.
 */
import { commitmentBytes, joined, saltBytes } from './format.ts';

/** One who can open the stream: a key pair in the service. */
export interface SealedRecipient {
  readonly algorithm: SealingAlgorithm;
  /** Bytes of the UUID, 16. Where the seal is opened; a hint, like the ordinal. */
  readonly keyId: Uint8Array;
  readonly keyVersion: number;
  /** The encapsulation, of the algorithm's length. */
  readonly enc: Uint8Array;
  /** The data key, and a tag: 48 bytes. */
  readonly sealedKey: Uint8Array;
}

export interface SealedHeader {
  readonly recipients: readonly SealedRecipient[];
  /** 32 bytes that commit to data key, recipients and associated data. */
  readonly commitment: Uint8Array;
  readonly salt: Uint8Array;
}

export interface ParsedSealedHeader extends SealedHeader {
  /** All before the commitment: it goes into the stream's key. */
  readonly start: Uint8Array;
  readonly headerBytes: number;
}

/** Numbers of ../suites.ts, and bytes of an encapsulation. */
const algorithms = {
  'x-wing': { number: 32, encBytes: 1120 },
  'ml-kem-768': { number: 34, encBytes: 1088 },
  x25519: { number: 36, encBytes: 32 },
  p256: { number: 37, encBytes: 65 },
} as const;

export type SealingAlgorithm = keyof typeof algorithms;

const byNumber = new Map<number | undefined, SealingAlgorithm>(
  (Object.keys(algorithms) as SealingAlgorithm[]).map((name) => [algorithms[name].number, name]),
);

/** Magic `S`, format 3, AES-256-GCM, a stream. */
const prefix = Uint8Array.of(0x53, 3, 1, 3);
const countAt = prefix.length;
const headBytes = 1 + 16 + 4;
const sealedKeyBytes = 32 + 16;
export const recipientLimit = 64;
/** Every header is shorter. */
export const sealedHeaderLimitBytes =
  countAt + 2 + recipientLimit * (headBytes + 1120 + sealedKeyBytes) + commitmentBytes + saltBytes;

export function isSealingAlgorithm(name: string): name is SealingAlgorithm {
  return Object.hasOwn(algorithms, name);
}

/** What a data key is sealed with, besides itself: algorithm, key and version. */
export function recipientHead({
  algorithm,
  keyId,
  keyVersion,
}: Pick<SealedRecipient, 'algorithm' | 'keyId' | 'keyVersion'>): Uint8Array {
  const head = new Uint8Array(headBytes);
  head[0] = algorithms[algorithm].number;
  head.set(keyId, 1);
  new DataView(head.buffer).setUint32(17, keyVersion);
  return head;
}

/** All before the commitment. @throws RangeError for no recipients, or more than there may be */
export function encodeSealedStart(recipients: readonly SealedRecipient[]): Uint8Array {
  const count = recipients.length;
  if (count < 1 || count > recipientLimit)
    throw new RangeError(`a stream is sealed to 1 to ${recipientLimit} recipients`);
  const entries = recipients.flatMap((recipient) => [
    ...[recipientHead(recipient), recipient.enc, recipient.sealedKey],
  ]);
  return joined(prefix, Uint8Array.of(count >>> 8, count & 0xff), ...entries);
}

/**
 * The fields of a header at the start of `bytes`, as views. Nothing of it is authenticated yet.
 * @returns 'incomplete' when more bytes may make it whole; undefined when it is not of this format
 */
export function parseSealedHeader(bytes: Uint8Array): ParsedSealedHeader | 'incomplete' | undefined {
  if (prefix.some((byte, at) => at < bytes.length && bytes[at] !== byte)) return undefined;
  if (bytes.length < countAt + 2) return 'incomplete';
  const count = ((bytes[countAt] ?? 0) << 8) | (bytes[countAt + 1] ?? 0);
  if (count < 1 || count > recipientLimit) return undefined;
  const recipients: SealedRecipient[] = [];
  let at = countAt + 2;
  for (let index = 0; index < count; index += 1) {
    if (bytes.length <= at) return 'incomplete';
    const algorithm = byNumber.get(bytes[at]);
    if (algorithm === undefined) return undefined;
    const encAt = at + headBytes;
    const keyAt = encAt + algorithms[algorithm].encBytes;
    if (bytes.length < keyAt + sealedKeyBytes) return 'incomplete';
    recipients.push({
      algorithm,
      keyId: bytes.subarray(at + 1, at + 17),
      keyVersion: new DataView(bytes.buffer, bytes.byteOffset + at + 17).getUint32(0),
      enc: bytes.subarray(encAt, keyAt),
      sealedKey: bytes.subarray(keyAt, keyAt + sealedKeyBytes),
    });
    at = keyAt + sealedKeyBytes;
  }
  const saltAt = at + commitmentBytes;
  const headerBytes = saltAt + saltBytes;
  if (bytes.length < headerBytes) return 'incomplete';
  return {
    ...{ recipients, start: bytes.subarray(0, at), headerBytes },
    commitment: bytes.subarray(at, saltAt),
    salt: bytes.subarray(saltAt, headerBytes),
  };
}
