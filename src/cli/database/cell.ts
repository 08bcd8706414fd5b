import { fromBase64, toBase64 } from '../../core/bytes.ts';
import {
  isOfKeyVersion,
  isPayload,
  keyIdFrom,
  keyIdOf,
  parsePayloadHeader,
} from '../../crypto/payload/format.ts';
import { type Change, type Row, startCharacters } from './column.ts';

/** What a value is, as far as its first bytes tell: nothing of it is authenticated. */
export type Cell =
  | { readonly kind: 'null' }
  | { readonly kind: 'unreadable' }
  | { readonly kind: 'foreign'; readonly keyId: string }
  | {
      readonly kind: 'ciphertext';
      readonly versionId: string;
      /** What a rewrap needs: a message, or the header of what is longer. */
      readonly ciphertext: Uint8Array;
      /** The change that puts what a rewrap gave in its place; undefined when that is of another length. */
      change(rewrapped: Uint8Array): Change | undefined;
    };

/** What every message has besides its plaintext: src/envelope/README.md. */
const leastBytes = 112;

/** @param keyId the key whose ciphertexts are looked for */
export function readCell(row: Row, keyId: string): Cell {
  if (row.start === null) return { kind: 'null' };
  const isWhole = row.start.length >= row.length;
  const bytes = typeof row.start === 'string' ? decoded(row.start, isWhole) : row.start;
  if (bytes === undefined) return { kind: 'unreadable' };
  if (isPayload(bytes)) return payloadCell(row, bytes, keyId);
  if (!isWhole || !isOfKeyVersion(bytes) || bytes.length < leastBytes) return { kind: 'unreadable' };
  if (keyIdOf(bytes) !== keyId) return { kind: 'foreign', keyId: keyIdOf(bytes) };
  const from = row.start;
  return {
    kind: 'ciphertext',
    versionId: versionIdOf(bytes),
    ciphertext: bytes,
    change: (rewrapped) =>
      rewrapped.length === bytes.length
        ? { id: row.id, from, to: encodedAs(from, rewrapped), whole: row.length }
        : undefined,
  };
}

function payloadCell(row: Row, bytes: Uint8Array, keyId: string): Cell {
  const header = parsePayloadHeader(bytes);
  if (header === undefined || header === 'incomplete') return { kind: 'unreadable' };
  const { wrapped, headerBytes } = header;
  if (keyIdOf(wrapped) !== keyId) return { kind: 'foreign', keyId: keyIdOf(wrapped) };
  const ciphertext = bytes.slice(0, headerBytes);
  return {
    kind: 'ciphertext',
    versionId: versionIdOf(wrapped),
    ciphertext,
    change(rewrapped) {
      if (rewrapped.length !== headerBytes) return undefined;
      if (typeof row.start !== 'string')
        return { id: row.id, from: ciphertext, to: rewrapped, whole: undefined };
      // Characters of base64 stand for three bytes: what follows the header in the last of them stays.
      const cut = Math.min(Math.ceil(headerBytes / 3) * 3, bytes.length);
      const to = Buffer.concat([rewrapped, bytes.subarray(headerBytes, cut)]);
      const whole = cut === bytes.length ? row.length : undefined;
      return { id: row.id, from: toBase64(bytes.subarray(0, cut)), to: toBase64(to), whole };
    },
  };
}

/** Undefined for what is no base64. Of a beginning, characters by fours are the beginning of the bytes. */
function decoded(text: string, isWhole: boolean): Uint8Array | undefined {
  return isWhole ? fromBase64(text) : fromBase64(text.slice(0, startCharacters));
}

function encodedAs(from: Uint8Array | string, bytes: Uint8Array): Uint8Array | string {
  return typeof from === 'string' ? toBase64(bytes) : bytes;
}

function versionIdOf(ciphertext: Uint8Array): string {
  return keyIdFrom(ciphertext.subarray(20, 36));
}
