import { createHash, randomFillSync } from 'node:crypto';
import { open } from 'node:fs/promises';
import { secretBytes, wipe } from '../../core/bytes.ts';
import { labels } from '../../crypto/labels.ts';
import { deriveSealedStreamKey, type StreamKey, sameCommitment } from '../../crypto/payload/derive.ts';
import { joined, keyIdFrom, saltBytes } from '../../crypto/payload/format.ts';
import { nodeCiphers as ciphers } from '../../crypto/payload/node-ciphers.ts';
import {
  encodeSealedStart,
  type ParsedSealedHeader,
  parseSealedHeader,
  recipientHead,
  type SealedRecipient,
  sealedHeaderLimitBytes,
} from '../../crypto/payload/sealed-format.ts';
import { openSegments, StreamDamaged, sealSegments } from '../../crypto/payload/segments.ts';
import type { Client } from '../client.ts';
import { isStatheraError, type StatheraError } from '../errors.ts';
import { decryptionFailed } from '../refusals.ts';
import type { Spool } from '../spool.ts';
import { type ByteSource, begin, openVerified } from '../streams.ts';
import type { CallOptions } from '../types.ts';
import type { FileOptions, FromTo } from './files.ts';
import { after, counted, type Progress, pieceBytes, readFrom, sizeOf } from './reading.ts';
import { type SealingKey, sealTo } from './sealing.ts';
import { createFileSpool } from './spool.ts';
import { writeWholeFile } from './whole-file.ts';

// Streams whose data key is sealed to public keys: made without the service, opened with it.

export interface Bound extends CallOptions {
  /** Authenticated here, never sent; needed to unseal. Default none. */
  readonly associatedData?: Uint8Array;
}

/** The operations of the service that unsealing needs; a client has them. */
export type UnsealService = Pick<Client, 'open' | 'getKey'>;

export interface UnsealOptions extends Bound {
  /** A key by name or id: the only one that opens. Without it, any that the caller may use. */
  readonly key?: string;
  /** See `OpenStreamOptions`: gives out what is not yet verified as a whole. */
  readonly unsafePipe?: boolean;
  readonly spool?: Spool;
}

const none = new Uint8Array();
const info = new TextEncoder().encode(labels.sealedDataKey);

/**
 * Seals a stream to 1 to 64 public keys: any one of them opens it.
 * @yields the header, then the segments in pieces
 * @throws RangeError for another number of keys
 */
export async function* sealStream(
  keys: readonly SealingKey[],
  source: ByteSource,
  { associatedData = none, signal }: Bound = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const dataKey = randomFillSync(secretBytes(32));
  const salt = ciphers.random(saltBytes);
  let start: Uint8Array;
  let streamKey: StreamKey;
  try {
    start = encodeSealedStart(await Promise.all(keys.map((key) => recipientFor(key, dataKey))));
    streamKey = await streamKeyOf(dataKey, { start, salt, associatedData });
  } finally {
    wipe(dataKey);
  }
  yield joined(start, streamKey.commitment, salt);
  yield* sealSegments(streamKey, ended(source, signal));
}

async function recipientFor(key: SealingKey, dataKey: Uint8Array): Promise<SealedRecipient> {
  const { algorithm, keyVersion } = key;
  const place = { algorithm, keyId: Buffer.from(key.keyId.replaceAll('-', ''), 'hex'), keyVersion };
  const { enc, ciphertext } = await sealTo(key, dataKey, { info, aad: recipientHead(place) });
  return { ...place, enc, sealedKey: ciphertext };
}

async function streamKeyOf(
  dataKey: Uint8Array,
  { start, salt, associatedData }: { start: Uint8Array; salt: Uint8Array; associatedData: Uint8Array },
): Promise<StreamKey> {
  const startHash = createHash('sha256').update(start).digest();
  return deriveSealedStreamKey(ciphers, await ciphers.importSecret(dataKey), {
    ...{ startHash, salt, associatedData },
  });
}

/**
 * Opens what `sealStream` made. The service opens the data key; the data stay here.
 * @yields the plaintext, for the caller to wipe, when all of it is verified
 * @throws StatheraError `envelope/decryption-failed` for every reason but those of the service, SpoolFull
 */
export async function* unsealStream(
  service: UnsealService,
  source: ByteSource,
  options: UnsealOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { associatedData = none, signal, unsafePipe = false } = options;
  try {
    const { header, pieces } = await begin(ended(source, signal), parseSealedHeader);
    if (header === undefined) throw decryptionFailed();
    const dataKey = await openDataKey(service, header, options);
    let streamKey: StreamKey;
    try {
      streamKey = await streamKeyOf(dataKey, { ...header, associatedData });
    } finally {
      wipe(dataKey);
    }
    if (!sameCommitment(streamKey.commitment, header.commitment)) throw decryptionFailed();
    if (unsafePipe) yield* openSegments(streamKey, pieces);
    else yield* openVerified(streamKey, pieces, options.spool ?? createFileSpool());
  } catch (error) {
    throw error instanceof StreamDamaged ? decryptionFailed() : error;
  }
}

/** Not for this caller, or not to be opened: another recipient may be. */
const passedOver = ['key/not-found', 'key/wrong-purpose', 'exchange/refused'] as const;
/** The same, but worth telling when none opens. */
const told = ['key/disabled', 'key/version-disabled'] as const;

/** @returns 32 bytes to wipe */
async function openDataKey(
  service: UnsealService,
  { recipients }: ParsedSealedHeader,
  { key, signal }: UnsealOptions,
): Promise<Uint8Array> {
  const only = key === undefined ? undefined : (await service.getKey({ key }, { signal })).id;
  let reason: StatheraError | undefined;
  for (const recipient of recipients) {
    const keyId = keyIdFrom(recipient.keyId);
    const { keyVersion: version, enc, sealedKey: ciphertext } = recipient;
    if ((only !== undefined && keyId !== only) || version < 1) continue;
    try {
      const input = { key: keyId, version, enc, ciphertext, info, aad: recipientHead(recipient) };
      return (await service.open(input, { signal })).plaintext;
    } catch (error) {
      if (isStatheraError(error, ...told)) reason = error;
      else if (!isStatheraError(error, ...passedOver)) throw error;
    }
  }
  throw reason ?? decryptionFailed();
}

async function* ended(source: ByteSource, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  for await (const piece of source) {
    signal?.throwIfAborted();
    yield piece;
  }
}

/**
 * Seals a file of any length in constant memory. The new file appears when it is whole and on disk.
 * @throws FileExists, or the system's error
 */
export async function sealFile(
  keys: readonly SealingKey[],
  { from, to, onProgress, overwrite, ...options }: Bound & FileOptions & FromTo,
): Promise<void> {
  const source =
    typeof from === 'string'
      ? counted(readFrom(from, { pieceBytes: pieceBytes.plain }), await sizeOf(from), onProgress)
      : counted(from, undefined, onProgress);
  await writeWholeFile(to, sealStream(keys, source, options), { overwrite, mode: 0o666 });
}

/**
 * Unseals a file. The new file, for its owner alone, appears when the last segment is verified and all is on disk.
 * @throws FileExists, StatheraError, or the system's error
 */
export async function unsealFile(
  service: UnsealService,
  { from, to, onProgress, overwrite, ...options }: UnsealOptions & FileOptions & FromTo,
): Promise<void> {
  const pieces =
    typeof from === 'string'
      ? counted((await readSealed(from)).pieces, await sizeOf(from), onProgress)
      : counted(from, undefined, onProgress);
  // Until it is verified as a whole, what comes out lies in a file without its name.
  const plaintext = unsealStream(service, pieces, { ...options, unsafePipe: true });
  await writeWholeFile(to, plaintext, { overwrite, mode: 0o600, secret: true });
}

/**
 * Unseals a file piece by piece, without writing any: it is read twice, and nothing is yielded before the first reading
 * has verified it as a whole.
 */
export async function* unsealFileStream(
  service: UnsealService,
  { from, onProgress, ...options }: UnsealOptions & { from: string; onProgress?: Progress },
): AsyncGenerator<Uint8Array, void, undefined> {
  const { pieces, again } = await readSealed(from);
  const source = counted(pieces, await sizeOf(from), onProgress);
  yield* unsealStream(service, source, { ...(again && { spool: again }), ...options });
}

/** What a file holds and, of a sealed stream, its segments once more. */
async function readSealed(from: string): Promise<{ pieces: ByteSource; again?: Spool }> {
  const header = (await sizeOf(from)) === undefined ? undefined : await readHeader(from);
  if (header === undefined) return { pieces: readFrom(from, { pieceBytes: pieceBytes.plain }) };
  const start = header.length;
  const segments = () => readFrom(from, { start, pieceBytes: pieceBytes.sealed });
  return {
    pieces: after(header, segments()),
    again: { write: () => undefined, read: segments, close: () => undefined },
  };
}

/** The bytes of a whole header at the start of a file. */
async function readHeader(from: string): Promise<Uint8Array | undefined> {
  const file = await open(from);
  try {
    const { buffer, bytesRead } = await file.read(
      Buffer.alloc(sealedHeaderLimitBytes),
      0,
      sealedHeaderLimitBytes,
      0,
    );
    const header = parseSealedHeader(buffer.subarray(0, bytesRead));
    return header === undefined || header === 'incomplete'
      ? undefined
      : buffer.subarray(0, header.headerBytes);
  } finally {
    await file.close();
  }
}
