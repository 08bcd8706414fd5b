import { join } from 'node:path';
import { ServiceError } from '../core/errors.ts';
import type { Store } from '../store/store.ts';
import type { AuditQuery, AuditRecord } from './audit.ts';
import { isMissing, type SegmentReader } from './files.ts';
import { chainHead, newline, noLine, parseLine, type StoredRecord, toHex } from './format.ts';
import { linesBackward, type RawLine } from './lines.ts';
import type { LogPlace } from './place.ts';
import { matches } from './query.ts';
import { type SegmentRow, segmentRowUpTo } from './registry.ts';
import { unavailable } from './unavailable.ts';

/** A place in a writer's log: before this byte of this segment; before its end when `offset` is undefined. */
export interface Place {
  readonly number: number;
  readonly offset: number | undefined;
}

/** What was read at one go: a group's matching records, or none; and where reading goes on. */
export interface Stretch {
  /** Newest first; each with where reading goes on after it. */
  readonly records: readonly { readonly record: AuditRecord; readonly after: Place }[];
  /** Where a page that takes nothing of this stretch begins. */
  readonly before: Place;
  /** Undefined at the log's beginning. */
  readonly after: Place | undefined;
}

export interface StreamOptions {
  readonly place: LogPlace;
  readonly store: Store;
  readonly writer: string;
  readonly query: AuditQuery;
  readonly from: Place;
  /** The end of what is committed in the segment being written, when this process writes it. */
  readonly durable: () => { readonly number: number; readonly bytes: number } | undefined;
  readonly blockBytes: number;
  /** Told of all that is read. */
  readonly spend: (bytes: number) => void;
}

/**
 * Reads a writer's records backwards, group by group.
 * @throws request/invalid for a place there is not, audit/unavailable when a segment cannot be read
 */
export async function* recordsBackward(options: StreamOptions): AsyncGenerator<Stretch, undefined> {
  let place: Place | undefined = options.from;
  while (place) {
    const found = await segmentAt(options, place.number);
    if (!found) return;
    const { row, committed } = found;
    const offset: number | undefined = row.number === place.number ? place.offset : undefined;
    const before = { number: row.number, offset };
    const after: Place | undefined =
      row.number > 1 ? { number: row.number - 1, offset: undefined } : undefined;
    yield* segmentBackward(options, row, before, committed);
    yield { records: [], before: after ?? before, after };
    place = after;
  }
}

/** The segment and, when this process writes it, the end of what is committed in it. */
async function segmentAt({ store, writer, durable }: StreamOptions, number: number) {
  let row = await segmentRowUpTo(store.db, writer, number);
  const end = durable();
  if (!row || !end) return row && { row, committed: undefined };
  if (row.number === end.number) return { row, committed: end.bytes };
  // Registered a moment ago: nothing can be committed in it yet.
  if (row.number > end.number) return { row, committed: 0 };
  // Sealed since it was read.
  if (row.last_sequence === null) row = await segmentRowUpTo(store.db, writer, number);
  return row && { row, committed: undefined };
}

async function* segmentBackward(
  options: StreamOptions,
  row: SegmentRow,
  place: Place,
  committed: number | undefined,
): AsyncGenerator<Stretch> {
  const { files, directory } = options.place;
  let reader: SegmentReader;
  try {
    reader = await files.read(join(directory, row.file));
  } catch (error) {
    // A lost segment is verify's to report; the rest of the log stays readable.
    if (isMissing(error)) return;
    throw unreadable(error);
  }
  try {
    const known = await endOf(options, reader, row, committed);
    const { offset } = place;
    if (offset !== undefined && (offset < 1 || offset > known.bytes)) throw badCursor();
    const end = offset === undefined ? known.bytes : await lineStart(reader, offset);
    yield* groupsBackward(options, reader, known.row, { end, exact: offset !== undefined });
  } catch (error) {
    if (error instanceof ServiceError) throw error;
    throw unreadable(error);
  } finally {
    await reader.close();
  }
}

/**
 * How far the segment may be read. What another process has written is not on disk yet, as far as is known
 * here: it is synced before it is shown. A segment that was left since, for its last write failed, has its
 * end in the registry.
 */
async function endOf(
  { store, writer }: StreamOptions,
  reader: SegmentReader,
  row: SegmentRow,
  committed: number | undefined,
): Promise<{ bytes: number; row: SegmentRow }> {
  if (committed !== undefined) return { bytes: committed, row };
  const bytes = await reader.size();
  if (row.last_sequence !== null) return { bytes, row };
  await reader.sync();
  return { bytes, row: (await segmentRowUpTo(store.db, writer, row.number)) ?? row };
}

const lineBlockBytes = 64 * 1024;

/**
 * Where the line that holds `offset` begins; a cursor that a page gave out stands at such a place already.
 * One made up is led there, not refused: a refusal would tell where other namespaces' records end.
 */
async function lineStart(reader: SegmentReader, offset: number): Promise<number> {
  for (let end = offset; end > 0; end -= lineBlockBytes) {
    const start = Math.max(0, end - lineBlockBytes);
    const at = (await reader.read(start, end - start)).lastIndexOf(newline);
    if (at !== -1) return start + at + 1;
  }
  return 0;
}

type Group = { record: StoredRecord; line: RawLine }[];

/** A record's head is computed from the commit line (or header) before its group. */
async function* groupsBackward(
  { query, blockBytes, spend }: StreamOptions,
  reader: SegmentReader,
  row: SegmentRow,
  { end, exact }: { end: number; exact: boolean },
): AsyncGenerator<Stretch> {
  // An exact end stands inside what is committed; otherwise that begins with the last commit line.
  let committed = exact;
  let group: Group = [];
  let before: Place = { number: row.number, offset: exact ? end : undefined };
  for await (const block of linesBackward(reader, end, blockBytes)) {
    for (const line of block) {
      spend(line.bytes.length + 1);
      const parsed = parseLine(line.bytes);
      if (parsed?.kind === 'record') {
        if (committed) group.push({ record: parsed.record, line });
        continue;
      }
      if (!parsed) {
        if (committed)
          throw unavailable('A segment of the audit log is damaged: run `stathera audit verify`.');
        continue;
      }
      const header = parsed.kind === 'header' ? parsed.header : undefined;
      const head = parsed.kind === 'commit' ? parsed.commit.head : (header?.previousHead ?? '');
      const after: Place = { number: row.number, offset: line.offset + line.bytes.length + 1 };
      // An exact end is followed by the commit line before it: without a group nothing was gained yet.
      if (group.length > 0) {
        const records = shown(group, { head, line: line.bytes }, row, query);
        yield { records, before, after };
      }
      if (header) return;
      group = [];
      committed = true;
      before = after;
    }
  }
}

/** A group's matching records, newest first. @param group newest first */
function shown(
  group: Readonly<Group>,
  before: { head: string; line: Buffer },
  row: SegmentRow,
  query: AuditQuery,
): Stretch['records'] {
  const last = row.last_sequence ?? Number.MAX_SAFE_INTEGER;
  const wanted = group.map(({ record }) => record.sequence <= last && matches(query, record));
  if (!wanted.includes(true)) return [];
  const heads: string[] = [];
  let head: Buffer = Buffer.from(before.head, 'hex');
  let between: Buffer = before.line;
  for (const { record, line } of group.toReversed()) {
    head = chainHead({ writer: row.writer, sequence: record.sequence, head, between, record: line.bytes });
    between = noLine;
    heads.push(toHex(head));
  }
  heads.reverse();
  return group.flatMap(({ record, line }, at) =>
    wanted[at]
      ? [
          {
            record: { ...record, writer: row.writer, head: heads[at] ?? '' },
            after: { number: row.number, offset: line.offset },
          },
        ]
      : [],
  );
}

function unreadable(error: unknown): ServiceError {
  return unavailable('A segment of the audit log cannot be read.', error);
}

export function badCursor(): ServiceError {
  return new ServiceError('request/invalid', 'The cursor is not one this list gave out.', {
    errors: [{ pointer: '#query/cursor', detail: 'is not one this list gave out' }],
  });
}
