import { join } from 'node:path';
import type { Clock } from '../core/clock.ts';
import type { Store } from '../store/store.ts';
import { type AuditFiles, errorCode, reading, type SegmentFile } from './files.ts';
import { encodeHeader, newline, noLine, type SegmentHeader, segmentFile, toHex } from './format.ts';
import { deleteOutbox } from './outbox-rows.ts';
import type { Slot } from './place.ts';
import { insertSegment, sealSegment, segmentRowUpTo } from './registry.ts';
import type { Position } from './walk.ts';

/** The segment that is written to. */
export interface CurrentSegment {
  readonly file: SegmentFile;
  readonly path: string;
  readonly number: number;
  readonly firstSequence: number;
  /** The end of what is committed. */
  bytes: number;
  /** The last commit line, or the header: the next record covers it. */
  between: Buffer;
}

/** How the log was left. */
export interface SegmentsStart {
  /** The newest registered number, 0 before the first. */
  readonly number: number;
  /** Where that segment ends; 0 when it is lost. */
  readonly bytes: number;
  /** That segment, when it is to be continued. */
  readonly current?: CurrentSegment;
}

export interface SegmentsOptions {
  readonly directory: string;
  readonly slot: Slot;
  readonly store: Store;
  readonly clock: Clock;
  readonly segmentBytes: number;
  readonly start: SegmentsStart;
  /** Outbox rows whose records are in the log: they go in the transaction that registers a segment. */
  readonly moved: { ids(): string[]; deleted(ids: readonly string[]): void };
}

/** The writer's files. One call at a time; `writeGroup` and then `commit` or, after any failure, `prepare`. */
export interface Segments {
  /**
   * Makes a segment ready to take a group after `position`: cuts back what a failed write left, begins a new
   * one when the old is full, gone or cannot be cut. What it begins is registered and durable on return.
   */
  prepare(position: Position): Promise<void>;
  /** What the next record covers besides itself. */
  between(): Buffer;
  /** Appends a group. It is on disk, in the file that stands at the segment's path, when this resolves. */
  writeGroup(bytes: Buffer): Promise<void>;
  /** Accepts the group that was written. */
  commit(bytes: number, commitLine: Buffer): void;
  /** What readers may show: all before this byte of this segment. Undefined when none is open. */
  durable(): { number: number; bytes: number } | undefined;
  /**
   * Closes the current segment and, at the position given, seals it if it has records.
   * Nothing is waited for that a write which never ends would hold up.
   */
  close(position?: Position): Promise<void>;
}

export function createSegments(options: SegmentsOptions): Segments {
  const { directory, slot, store, clock, segmentBytes, moved } = options;
  const { writer, files } = slot;
  let current = options.start.current;
  let { number } = options.start;
  /** Bytes of a group that may stand after the committed end. */
  let doubtfulBytes = 0;
  /** A write was begun and not accepted. */
  let doubtful = false;

  /** Never without a record: the next segment's chain covers this one's header through its records. */
  function isFull(segment: CurrentSegment, position: Position): boolean {
    return segment.bytes >= segmentBytes && position.sequence >= segment.firstSequence;
  }

  /** True when the current segment can be written on. */
  async function repair(segment: CurrentSegment): Promise<boolean> {
    const cut = await segment.file.truncate(segment.bytes).then(
      () => true,
      () => false,
    );
    if (cut) doubtfulBytes = 0;
    doubtful = !((await segment.file.isAt(segment.path)) && cut);
    return !doubtful;
  }

  function nextHeader(position: Position, createdAt: number): SegmentHeader {
    return {
      format: 1,
      writer,
      number: number + 1,
      firstSequence: position.sequence + 1,
      previousHead: toHex(position.head),
      previousMac: position.mac,
      previousBytes: current?.bytes ?? options.start.bytes,
      ...(doubtfulBytes > 0 && { previousTornBytes: doubtfulBytes }),
      createdAt,
    };
  }

  /** File, its name, its row, in this order: a crash in between leaves a file that holds a header alone. */
  async function begin(position: Position): Promise<void> {
    slot.renew();
    const name = segmentFile(writer, number + 1);
    const path = join(directory, name);
    const registered = await segmentRowUpTo(store.db, writer, number + 1);
    const known = registered?.number === number + 1 ? registered : undefined;
    const header = nextHeader(position, known?.created_at ?? clock.now());
    const line = encodeHeader(header);
    const content = Buffer.concat([line, Buffer.of(newline)]);
    const file = known
      ? await adopt(files, path, content)
      : await createAnew(files, directory, path, content);
    try {
      if (!known) await register(name, position, header.createdAt);
    } catch (error) {
      // Whether the row is there is looked up by the next attempt.
      await file.close().catch(() => undefined);
      throw error;
    }
    await current?.file.close().catch(() => undefined);
    number += 1;
    current = {
      file,
      path,
      number,
      firstSequence: position.sequence + 1,
      bytes: content.length,
      between: line,
    };
    doubtfulBytes = 0;
    doubtful = false;
  }

  async function register(file: string, start: Position, createdAt: number): Promise<void> {
    const ids = moved.ids();
    await store.transaction(async (tx) => {
      await slot.confirm(tx);
      if (current) await sealSegment(tx, { writer, number, end: start });
      await insertSegment(tx, { writer, number: number + 1, file, start, createdAt });
      await deleteOutbox(tx, ids);
    });
    moved.deleted(ids);
  }

  return {
    async prepare(position) {
      const usable = current !== undefined && (!doubtful || (await repair(current)));
      if (!usable || (current && isFull(current, position))) await begin(position);
    },
    between: () => current?.between ?? noLine,
    async writeGroup(bytes) {
      if (!current) throw new Error('no segment is open');
      doubtful = true;
      doubtfulBytes = bytes.length;
      await current.file.append(bytes);
      if (!(await current.file.isAt(current.path))) throw new Error('the segment is no longer at its path');
    },
    commit(bytes, commitLine) {
      if (!current) return;
      current.bytes += bytes;
      current.between = commitLine;
      doubtfulBytes = 0;
      doubtful = false;
    },
    durable: () => current && { number: current.number, bytes: current.bytes },
    async close(position) {
      const last = current;
      current = undefined;
      if (!last) return;
      // An unsealed segment is checked, and cut where needed, by the next open.
      if (doubtful || !position || position.sequence < last.firstSequence) {
        void last.file.close().catch(() => undefined);
        return;
      }
      await last.file.close().catch(() => undefined);
      await store.transaction(async (tx) => {
        await slot.confirm(tx);
        await sealSegment(tx, { writer, number: last.number, end: position });
      });
    },
  };
}

/** A segment that was registered by a transaction whose outcome was not known. */
async function adopt(files: AuditFiles, path: string, content: Buffer): Promise<SegmentFile> {
  const found = await reading(files, path, (reader) => reader.read(0, content.length + 1));
  if (!found.equals(content)) throw new Error('the registered segment is not the one that was begun');
  return files.open(path);
}

/** Replaces what a crash before the registration left, but never a file with records. */
async function createAnew(
  files: AuditFiles,
  directory: string,
  path: string,
  content: Buffer,
): Promise<SegmentFile> {
  try {
    return await files.create(directory, path, content);
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error;
    if (await holdsRecords(files, path)) throw error;
    await files.remove(path);
    return files.create(directory, path, content);
  }
}

const headerLimitBytes = 4096;

/** True when anything follows the file's first line, or that is longer than any header. */
export async function holdsRecords(files: Pick<AuditFiles, 'read'>, path: string): Promise<boolean> {
  const bytes = headerLimitBytes + 1;
  const found = await reading(files, path, (reader) => reader.read(0, bytes));
  const end = found.indexOf(newline);
  return end === -1 ? found.length === bytes : end + 1 < found.length;
}
