import type { FieldCiphers } from './ciphers.ts';

/** How a value was sealed. Numbers are written into values and never used again. */
export const sealings = { randomized: 1, deterministic: 2 } as const;
export type Sealing = keyof typeof sealings;

export interface SealedHeader {
  readonly sealing: Sealing;
  /** UUID of the version of the key. */
  readonly versionId: string;
}

export interface SealedValue extends SealedHeader {
  readonly body: Uint8Array;
}

/** What every sealed value begins with: a name for people and programs to know it by, and its format. */
const prefix = 'sf1.';
const formatVersion = 1;
const headerBytes = 18;

/** @see ./README.md */
export function encodeHeader({ sealing, versionId }: SealedHeader): Uint8Array {
  const out = new Uint8Array(headerBytes);
  out[0] = formatVersion;
  out[1] = sealings[sealing];
  const hex = versionId.replaceAll('-', '');
  for (let i = 0; i < 16; i += 1) out[2 + i] = Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  return out;
}

export function isSealedText(value: unknown): value is string {
  return typeof value === 'string' && value.startsWith(prefix);
}

export function writeSealed(codec: FieldCiphers, header: Uint8Array, ...body: readonly Uint8Array[]): string {
  return prefix + codec.toText(header, ...body);
}

/** Headers that were read before, by their text: values of one version have one. */
export type KnownHeaders = Map<string, SealedHeader | undefined>;

/** 18 bytes are 24 letters exactly, so that a header is the same text in every value. */
const headerLetters = (headerBytes / 3) * 4;

/** @returns undefined for what is none */
export function readSealed(
  codec: FieldCiphers,
  value: unknown,
  known: KnownHeaders,
): SealedValue | undefined {
  if (!isSealedText(value)) return undefined;
  const bodyAt = prefix.length + headerLetters;
  const text = value.slice(prefix.length, bodyAt);
  if (!known.has(text)) known.set(text, readHeader(codec, text));
  const header = known.get(text);
  const body = header && codec.fromText(value.slice(bodyAt));
  return header && body && { sealing: header.sealing, versionId: header.versionId, body };
}

function readHeader(codec: FieldCiphers, text: string): SealedHeader | undefined {
  const header = codec.fromText(text);
  if (header?.length !== headerBytes || header[0] !== formatVersion) return undefined;
  const sealing = header[1] === sealings.randomized ? 'randomized' : 'deterministic';
  if (header[1] !== sealings[sealing]) return undefined;
  return { sealing, versionId: uuidText(header.subarray(2)) };
}

function uuidText(bytes: Uint8Array): string {
  let hex = '';
  for (const byte of bytes) hex += byte.toString(16).padStart(2, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
