import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { ServiceError } from '../core/errors.ts';
import type { Store } from '../store/store.ts';
import type { AuditPage, AuditQuery, AuditRecord } from './audit.ts';
import { isMissing } from './files.ts';
import { chainHead, newline, noLine, parseLine, type StoredRecord, toHex } from './format.ts';
import { linesBackward, type RawLine } from './lines.ts';
import type { AuditLimits } from './options.ts';
import { matches } from './query.ts';
import { type SegmentRow, segmentRowUpTo } from './registry.ts';
import { unavailable } from './unavailable.ts';

export interface ReadOptions {
  readonly directory: string;
  readonly writer: string;
  readonly store: Store;
  readonly limits: AuditLimits;
  /** The end of what is committed in the segment being written; undefined when none is open. */
  readonly durable: () => { readonly number: number; readonly bytes: number } | undefined;
}

/** Where a page goes on: before this byte of this segment; before its end when `offset` is undefined. */
interface Cursor {
  readonly number: number;
  readonly offset: number | undefined;
}

/**
 * One page of a writer's records, newest first. It reads the segments backwards in blocks, and ends
 * with the group in which the page's budget is spent, so a page can be short and still have a cursor.
 * @throws request/invalid for a cursor that is none, audit/unavailable when a segment cannot be read
 */
export async function readRecords(options: ReadOptions, query: AuditQuery): Promise<AuditPage> {
  const { directory, limits } = options;
  let cursor = query.cursor === undefined ? undefined : parseCursor(query.cursor);
  const items: AuditRecord[] = [];
  const budget = { lines: limits.pageLines, bytes: limits.pageBytes };
  for (;;) {
    const found = await findSegment(options, cursor?.number ?? Number.MAX_SAFE_INTEGER);
    if (!found) return { items };
    const { row, committed } = found;
    const offset = row.number === cursor?.number ? cursor.offset : undefined;
    const page = await readSegment({
      path: join(directory, row.file),
      row,
      offset,
      committed,
      query,
      wanted: query.limit - items.length,
      budget,
    });
    items.push(...page.items);
    if (page.next !== undefined) return { items, nextCursor: formatCursor(row.number, page.next) };
    if (row.number === 1) return { items };
    if (items.length >= query.limit || spent(budget)) {
      return { items, nextCursor: formatCursor(row.number - 1, undefined) };
    }
    cursor = { number: row.number - 1, offset: undefined };
  }
}

/** The segment and the end of what is committed in it; undefined when its file says so. */
async function findSegment({ store, writer, durable }: ReadOptions, number: number) {
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

interface SegmentPage {
  readonly items: AuditRecord[];
  /** Where to go on within the segment; undefined when its beginning was reached. */
  readonly next: number | undefined;
}

interface SegmentRead {
  readonly path: string;
  readonly row: SegmentRow;
  readonly offset: number | undefined;
  readonly committed: number | undefined;
  readonly query: AuditQuery;
  readonly wanted: number;
  readonly budget: Budget;
}

/** What the page may still read. */
interface Budget {
  lines: number;
  bytes: number;
}

function spent(budget: Budget): boolean {
  return budget.lines <= 0 || budget.bytes <= 0;
}

async function readSegment(read: SegmentRead): Promise<SegmentPage> {
  let handle: FileHandle;
  try {
    handle = await open(read.path, 'r');
  } catch (error) {
    // A lost segment is verify's to report; the rest of the log stays readable.
    if (isMissing(error)) return { items: [], next: undefined };
    throw unavailable('A segment of the audit log cannot be read.', error);
  }
  try {
    const end = await startOffset(handle, read);
    return await readGroups(handle, end, read);
  } catch (error) {
    if (error instanceof ServiceError) throw error;
    throw unavailable('A segment of the audit log cannot be read.', error);
  } finally {
    await handle.close();
  }
}

async function startOffset(handle: FileHandle, { offset, committed }: SegmentRead): Promise<number> {
  const end = committed ?? (await handle.stat()).size;
  if (offset === undefined) return end;
  if (offset < 1 || offset > end) throw badCursor();
  return await lineStart(handle, offset);
}

const blockBytes = 64 * 1024;

/**
 * Where the line that holds `offset` begins; a cursor that a page gave out stands at such a place already.
 * One made up is led there, not refused: a refusal would tell where other namespaces' records end.
 */
async function lineStart(handle: FileHandle, offset: number): Promise<number> {
  const block = Buffer.alloc(blockBytes);
  for (let end = offset; end > 0; end -= blockBytes) {
    const start = Math.max(0, end - blockBytes);
    const { bytesRead } = await handle.read(block, 0, end - start, start);
    const at = block.subarray(0, bytesRead).lastIndexOf(newline);
    if (at !== -1) return start + at + 1;
  }
  return 0;
}

/** Reads group by group: a record's head is computed from the commit line (or header) before its group. */
async function readGroups(handle: FileHandle, end: number, read: SegmentRead): Promise<SegmentPage> {
  const items: AuditRecord[] = [];
  // A cursor stands inside what is committed; otherwise that begins with the last commit line.
  let committed = read.offset !== undefined;
  let group: { record: StoredRecord; line: RawLine }[] = [];
  for await (const block of linesBackward(handle, end)) {
    for (const line of block) {
      read.budget.lines -= 1;
      read.budget.bytes -= line.bytes.length + 1;
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
      const next = takeGroup(group, { head, line: line.bytes }, read, items);
      if (next !== undefined) return { items, next };
      if (header) return { items, next: undefined };
      // The line is read again with the group before it: without a group nothing was gained yet.
      const after = line.offset + line.bytes.length + 1;
      if (group.length > 0 && spent(read.budget)) return { items, next: after };
      group = [];
      committed = true;
    }
  }
  return { items, next: undefined };
}

/**
 * Adds a group's matching records, newest first.
 * @param group newest first
 * @returns the offset of the last record added, when the page is full with it
 */
function takeGroup(
  group: readonly { record: StoredRecord; line: RawLine }[],
  before: { head: string; line: Buffer },
  { row, query, wanted }: SegmentRead,
  items: AuditRecord[],
): number | undefined {
  const last = row.last_sequence ?? Number.MAX_SAFE_INTEGER;
  const shown = group.map(({ record }) => record.sequence <= last && matches(query, record));
  if (!shown.includes(true)) return undefined;
  const heads: string[] = [];
  let head: Buffer = Buffer.from(before.head, 'hex');
  let between: Buffer = before.line;
  for (const { record, line } of group.toReversed()) {
    head = chainHead({ writer: row.writer, sequence: record.sequence, head, between, record: line.bytes });
    between = noLine;
    heads.push(toHex(head));
  }
  heads.reverse();
  for (const [at, { record, line }] of group.entries()) {
    if (!shown[at]) continue;
    items.push({ ...record, writer: row.writer, head: heads[at] ?? '' });
    if (items.length >= wanted) return line.offset;
  }
  return undefined;
}

function formatCursor(number: number, offset: number | undefined): string {
  return Buffer.from(`${number}.${offset ?? ''}`).toString('base64url');
}

function parseCursor(text: string): Cursor {
  const match = /^([1-9]\d{0,14})\.([1-9]\d{0,14})?$/.exec(Buffer.from(text, 'base64url').toString('latin1'));
  if (!match) throw badCursor();
  const cursor = { number: Number(match[1]), offset: match[2] === undefined ? undefined : Number(match[2]) };
  if (formatCursor(cursor.number, cursor.offset) !== text) throw badCursor();
  return cursor;
}

function badCursor(): ServiceError {
  return new ServiceError('request/invalid', 'The cursor is not one this list gave out.', {
    errors: [{ pointer: '#query/cursor', detail: 'is not one this list gave out' }],
  });
}
