import { existsSync } from 'node:fs';
import { type FileHandle, open, readFile, rm, stat } from 'node:fs/promises';
import { writeDurably } from '../../core/durable-file.ts';
import { headerLimitBytes, parsePayloadHeader, wrappedPlace } from '../../crypto/payload/format.ts';
import type { LocalEncryption, OpenStreamOptions, Place, RewrapInput } from '../local.ts';
import { decryptionFailed } from '../refusals.ts';
import type { Spool } from '../spool.ts';
import type { ByteSource } from '../streams.ts';
import { after, counted, type Progress, pieceBytes, readFrom, sizeOf } from './reading.ts';
import { writeWholeFile } from './whole-file.ts';

export interface FileOptions {
  /** Takes the place of a file of that name. Default false. */
  readonly overwrite?: boolean;
  readonly onProgress?: Progress;
}

export interface FromTo {
  /** A path, or what a pipe gives. */
  readonly from: string | ByteSource;
  readonly to: string;
}

/**
 * Encrypts a file of any length in constant memory. The new file appears when it is whole and on disk.
 * @throws FileExists, StatheraError, or the system's error
 */
export async function encryptFile(
  local: LocalEncryption,
  { from, to, onProgress, overwrite, ...options }: Place & FileOptions & FromTo,
): Promise<void> {
  const source =
    typeof from === 'string'
      ? counted(readFrom(from, { pieceBytes: pieceBytes.plain }), await sizeOf(from), onProgress)
      : counted(from, undefined, onProgress);
  await writeWholeFile(to, local.encryptStream(source, options), { overwrite, mode: 0o666 });
}

/**
 * Decrypts a file. The new file, for its owner alone, appears when the last segment is verified and all is on disk.
 * @throws FileExists, StatheraError `envelope/decryption-failed`, or the system's error
 */
export async function decryptFile(
  local: LocalEncryption,
  { from, to, onProgress, overwrite, ...options }: Place & FileOptions & FromTo,
): Promise<void> {
  const { pieces } = await readEncrypted(from, onProgress);
  // Until it is verified as a whole, what comes out lies in a file without its name.
  const plaintext = local.decryptStream(pieces, { ...options, unsafePipe: true });
  await writeWholeFile(to, plaintext, { overwrite, mode: 0o600, secret: true });
}

/**
 * Decrypts a file piece by piece, without writing any: it is read twice, and nothing is yielded before the first
 * reading has verified it as a whole. Whoever shortens the file between the two is noticed at its new end.
 */
export async function* decryptFileStream(
  local: LocalEncryption,
  { from, onProgress, ...options }: OpenStreamOptions & { from: string; onProgress?: Progress },
): AsyncGenerator<Uint8Array, void, undefined> {
  const { pieces, again } = await readEncrypted(from, onProgress);
  yield* local.decryptStream(pieces, { spool: again, ...options });
}

/** What a file holds and, of a stream in a file, its segments once more. */
async function readEncrypted(
  from: FromTo['from'],
  onProgress: Progress | undefined,
): Promise<{ pieces: ByteSource; again?: Spool }> {
  if (typeof from !== 'string') return { pieces: counted(from, undefined, onProgress) };
  const total = await sizeOf(from);
  if (total === undefined)
    return { pieces: counted(readFrom(from, { pieceBytes: pieceBytes.plain }), total, onProgress) };
  const start = await readStart(from);
  const header = parsePayloadHeader(start);
  if (header === undefined || header === 'incomplete' || header.kind !== 'stream')
    return { pieces: counted(readFrom(from, { pieceBytes: pieceBytes.plain }), total, onProgress) };
  const { headerBytes } = header;
  const segments = () => readFrom(from, { start: headerBytes, pieceBytes: pieceBytes.sealed });
  return {
    pieces: counted(after(start.subarray(0, headerBytes), segments()), total, onProgress),
    again: { write: () => undefined, read: segments, close: () => undefined },
  };
}

/** Of a file that is being rewrapped, or whose rewrapping was cut off: the header as it was before. */
function copyOf(path: string): string {
  return `${path}.stathera-header`;
}

/** The first bytes of a file, with a header that is whole. */
async function readStart(path: string): Promise<Uint8Array> {
  const file = await open(path);
  try {
    const start = await readHeader(file);
    const copy = await readFile(copyOf(path)).catch(() => undefined);
    if (copy && isSameBut(copy, start)) start.set(copy);
    return start;
  } finally {
    await file.close();
  }
}

/** True when the copy is of this file: all that a rewrapping leaves as it was is the same. */
function isSameBut(copy: Uint8Array, start: Uint8Array): boolean {
  const header = parsePayloadHeader(copy);
  if (header === undefined || header === 'incomplete' || header.headerBytes !== copy.length) return false;
  const { at, end } = wrappedPlace(header);
  return copy.every((byte, index) => (index >= at && index < end) || byte === start[index]);
}

async function readHeader(file: FileHandle): Promise<Uint8Array> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(headerLimitBytes), 0, headerLimitBytes, 0);
  return buffer.subarray(0, bytesRead);
}

/**
 * Moves a file to the current version of its key, to another key or context: only its header changes, in place.
 * Killed in between, the old header is beside it in `….stathera-header`, which decrypting and the next rewrapping
 * use. A header of another length, as keys of another algorithm have, makes the file be written anew.
 * @throws StatheraError, or the system's error
 */
export async function rewrapFile(
  local: LocalEncryption,
  { path, ...options }: Place & RewrapInput & { path: string },
): Promise<void> {
  const start = await readStart(path);
  const header = parsePayloadHeader(start);
  if (header === undefined || header === 'incomplete') throw decryptionFailed();
  const old = start.subarray(0, header.headerBytes);
  const rewrapped = await local.rewrap(old, options);
  const { at, end } = wrappedPlace(header);
  // Whatever was cut off before is mended first: the copy must be of what is there.
  if (existsSync(copyOf(path))) await overwrite(path, old, { at, end });
  if (rewrapped.length === old.length) {
    writeDurably(copyOf(path), old);
    await overwrite(path, rewrapped, { at, end });
  } else {
    const { mode } = await stat(path);
    const payload = readFrom(path, { start: old.length, pieceBytes: pieceBytes.sealed });
    await writeWholeFile(path, after(rewrapped, payload), { overwrite: true, mode: mode & 0o777 });
  }
}

/** Writes a part of the header in place and, when it is on disk, removes the copy. */
async function overwrite(
  path: string,
  header: Uint8Array,
  { at, end }: { at: number; end: number },
): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.write(header, at, end - at, at);
    await file.sync();
  } finally {
    await file.close();
  }
  await rm(copyOf(path), { force: true });
}
