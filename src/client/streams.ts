import type { PayloadCiphers } from '../crypto/payload/ciphers.ts';
import type { DataKey } from '../crypto/payload/data-keys.ts';
import { deriveStreamKey, type StreamKey, sameCommitment } from '../crypto/payload/derive.ts';
import {
  encodePayloadHeader,
  joined,
  type ParsedPayloadHeader,
  parsePayloadHeader,
  saltBytes,
} from '../crypto/payload/format.ts';
import { openSegments, StreamDamaged, sealSegments } from '../crypto/payload/segments.ts';
import { discard } from './discard.ts';
import type { Spool } from './spool.ts';

/**
 * Pieces of bytes as they come: a stream of Node or of the web, or any generator. A piece must stay as it is until the
 * one after the next was asked for.
 */
export type ByteSource = AsyncIterable<Uint8Array>;

/** Encrypts under a data key of its own. @yields the header, then the segments in pieces */
export async function* sealStream(
  ciphers: PayloadCiphers,
  { id, secret, wrapped }: DataKey,
  { source, associatedData }: { source: ByteSource; associatedData: Uint8Array },
): AsyncGenerator<Uint8Array, void, undefined> {
  const salt = ciphers.random(saltBytes);
  const key = await deriveStreamKey(ciphers, secret, { id, salt, associatedData });
  yield encodePayloadHeader({ kind: 'stream', wrapped, commitment: key.commitment, salt });
  yield* sealSegments(key, source);
}

/** What begins as a stream, or does not. */
export interface Begun<Header> {
  /** Undefined: it is no stream. */
  readonly header: Header | undefined;
  /** What comes after the header; of what is no stream, all of it. */
  readonly pieces: ByteSource;
}

interface Parsed {
  readonly headerBytes: number;
}

/** Reads as much as it takes to tell a stream from anything else. @param parse finds a stream's header */
export async function begin<Header extends Parsed>(
  source: ByteSource,
  parse: (bytes: Uint8Array) => Header | 'incomplete' | undefined,
): Promise<Begun<Header>> {
  const pieces = source[Symbol.asyncIterator]();
  let held: Uint8Array = new Uint8Array();
  for (;;) {
    const header = parse(held);
    if (header !== undefined && header !== 'incomplete')
      return { header, pieces: rest(held.subarray(header.headerBytes), pieces) };
    if (header !== 'incomplete') return { header: undefined, pieces: rest(held, pieces) };
    const next = await pieces.next();
    if (next.done === true) return { header: undefined, pieces: rest(held, pieces) };
    held = held.length === 0 ? next.value : joined(held, next.value);
  }
}

/** The header of a stream; undefined for that of a message too. */
export function parseStreamHeader(bytes: Uint8Array): ParsedPayloadHeader | 'incomplete' | undefined {
  const header = parsePayloadHeader(bytes);
  return header === undefined || header === 'incomplete' || header.kind === 'stream' ? header : undefined;
}

async function* rest(held: Uint8Array, pieces: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    if (held.length > 0) yield held;
    for (;;) {
      const next = await pieces.next();
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await pieces.return?.();
  }
}

/** The key of a stream. @throws StreamDamaged when the data key is another than it was made with */
export async function streamKeyOf(
  ciphers: PayloadCiphers,
  { id, secret }: DataKey,
  { header, associatedData }: { header: ParsedPayloadHeader; associatedData: Uint8Array },
): Promise<StreamKey> {
  const salt = header.salt ?? new Uint8Array();
  const key = await deriveStreamKey(ciphers, secret, { id, salt, associatedData });
  if (!sameCommitment(key.commitment, header.commitment)) throw new StreamDamaged();
  return key;
}

/**
 * Opens segments in two passes over them: the first verifies them all, the second gives out the plaintext.
 * What is kept between the two is what came, still encrypted.
 */
export async function* openVerified(
  key: StreamKey,
  segments: ByteSource,
  spool: Spool,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for await (const plaintext of openSegments(key, spooled(segments, spool))) discard(plaintext);
    yield* openSegments(key, spool.read());
  } finally {
    await spool.close();
  }
}

async function* spooled(segments: ByteSource, spool: Spool): AsyncGenerator<Uint8Array> {
  for await (const piece of segments) {
    await spool.write(piece);
    yield piece;
  }
}
