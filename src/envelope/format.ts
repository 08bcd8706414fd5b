import { concatBytes, lengthPrefixed, utf8 } from '../core/bytes.ts';
import { labels } from '../crypto/labels.ts';
import { type CipherSuite, suiteByNumber } from '../crypto/suites.ts';

/**
 * Bytes ⇄ fields of a ciphertext that one key version made; ./README.md has the layout and why.
 * Pure; golden ciphertexts hold it still.
 */
export interface Header {
  readonly suite: CipherSuite;
  readonly kind: CiphertextKind;
  /** 16 bytes each. */
  readonly keyId: Uint8Array;
  readonly versionId: Uint8Array;
  readonly messageId: Uint8Array;
  /** As long as the suite's nonce. */
  readonly nonce: Uint8Array;
}

export type CiphertextKind = 'message' | 'data-key';

/** Authenticated, not encrypted; the order of the pairs does not matter. */
export type Context = Readonly<Record<string, string>>;

export interface ParsedCiphertext extends Header {
  /** Ciphertext of commitment ‖ plaintext, and the tag. */
  readonly sealed: Uint8Array;
}

const magic = 0x53; // 'S'
const formatVersion = 1;
const kindNumbers: Record<CiphertextKind, number> = { message: 1, 'data-key': 2 };
const prefixBytes = 4;
const idLength = 16;
const nonceAt = prefixBytes + 3 * idLength;
/** Zero bytes encrypted before the plaintext: 256 bits of keystream that commit to the key. */
export const commitmentBytes = 32;
/** What a ciphertext of the suite is longer than its plaintext. */
function overheadBytes({ nonceBytes, tagBytes }: CipherSuite): number {
  return nonceAt + nonceBytes + commitmentBytes + tagBytes;
}

export function encodeHeader({ suite, kind, keyId, versionId, messageId, nonce }: Header): Uint8Array {
  return concatBytes(
    Uint8Array.of(magic, formatVersion, suite.number, kindNumbers[kind]),
    keyId,
    versionId,
    messageId,
    nonce,
  );
}

/** The fields of a ciphertext; undefined when it is not one of ours. Nothing of it is authenticated yet. */
export function parseCiphertext(bytes: Uint8Array): ParsedCiphertext | undefined {
  if (bytes[0] !== magic || bytes[1] !== formatVersion) return undefined;
  const suite = suiteByNumber(bytes[2] ?? 0);
  const kind = kindOf(bytes[3]);
  if (!suite || !kind || bytes.length < overheadBytes(suite)) return undefined;
  const sealedAt = nonceAt + suite.nonceBytes;
  return {
    suite,
    kind,
    keyId: bytes.subarray(prefixBytes, prefixBytes + idLength),
    versionId: bytes.subarray(prefixBytes + idLength, prefixBytes + 2 * idLength),
    messageId: bytes.subarray(prefixBytes + 2 * idLength, nonceAt),
    nonce: bytes.subarray(nonceAt, sealedAt),
    sealed: bytes.subarray(sealedAt),
  };
}

function kindOf(number: number | undefined): CiphertextKind | undefined {
  if (number === kindNumbers.message) return 'message';
  return number === kindNumbers['data-key'] ? 'data-key' : undefined;
}

/**
 * What is authenticated with the payload: the label, the header up to the nonce, the namespace and the
 * context, each length-prefixed so that no two places or contexts give the same bytes.
 * @param namespaceId 16 bytes
 */
export function additionalData(header: Uint8Array, namespaceId: Uint8Array, context: Context): Uint8Array {
  return lengthPrefixed(
    labels.envelopeDirect,
    header.subarray(0, nonceAt),
    namespaceId,
    encodeContext(context),
  );
}

/** Pairs sorted by the UTF-8 bytes of their names, each name and value length-prefixed. */
function encodeContext(context: Context): Uint8Array {
  const fields: string[] = [];
  for (const name of sorted(Object.keys(context))) fields.push(name, context[name] ?? '');
  return lengthPrefixed(...fields);
}

const surrogate = /[\ud800-\udfff]/;

/** The order of UTF-8 bytes is that of code points, and so is that of UTF-16 unless there are surrogates. */
function sorted(names: readonly string[]): readonly string[] {
  if (names.length < 2) return names;
  if (!names.some((name) => surrogate.test(name))) return names.toSorted();
  return names.toSorted((a, b) => Buffer.compare(utf8(a), utf8(b)));
}
