import { basename } from 'node:path';
import { sql } from 'kysely';
import { serviceNamespaceId } from '../core/ids.ts';
import { isUniqueViolation, type Store } from '../store/store.ts';
import type { AuditFiles, SegmentFile, SegmentReader } from './files.ts';
import { parseSegmentFile, segmentFile } from './format.ts';

/** Whoever writes: the row of `audit_writers` must still be of this epoch. */
export interface Fence {
  readonly writer: string;
  readonly epoch: number;
  /** Another process has the slot. */
  readonly lost: () => void;
}

/** A place between rows, where one was taken out, reads as white space: no line of the log has that. */
const hole = 0x20;

/**
 * Segments as rows of PostgreSQL: the same bytes as in a file, a row for the header and one for each group. A write
 * is one statement, which holds the writer's row while it looks at the epoch: it waits for an earlier write of this
 * process that nobody has an answer of, and nothing gets past a process that took the slot over.
 * @param fence without it, only to read
 */
export function databaseFiles(store: Store, fence?: Fence): AuditFiles {
  const { db } = store;
  const insert = store.prepare<{ start: number }>((build) => ({
    compile: () =>
      sql<{ start: number }>`
        with slot as (select writer from audit_writers
          where writer = ${''} and epoch = ${0} and held = 1 for no key update)
        insert into audit_segment_bytes (namespace_id, writer, number, start, bytes)
        select ${''}, slot.writer, ${0}::bigint, ${0}::bigint, ${Buffer.alloc(0)}::bytea from slot
        returning start`.compile(build),
  }));

  function fenced(): Fence {
    if (!fence) throw new SystemLikeError('EROFS');
    return fence;
  }

  function stale(): Error {
    fenced().lost();
    return new SystemLikeError('ESTALE');
  }

  async function put(number: number, start: number, bytes: Uint8Array): Promise<void> {
    const { writer, epoch } = fenced();
    const rows = await insert(writer, epoch, serviceNamespaceId, number, start, bytes);
    if (rows.length === 0) throw stale();
  }

  async function cut(number: number, start: number): Promise<void> {
    const { writer, epoch } = fenced();
    const { rows } = await sql<{ slots: number }>`
      with slot as (select writer from audit_writers
          where writer = ${writer} and epoch = ${epoch} and held = 1 for no key update),
        gone as (delete from audit_segment_bytes as segment using slot
          where segment.writer = slot.writer and number = ${number} and start >= ${start})
      select count(*) as slots from slot`.execute(db);
    if (rows[0]?.slots !== 1) throw stale();
  }

  async function size(writer: string, number: number): Promise<number> {
    const { rows } = await sql<{ size: number }>`
      select start + octet_length(bytes) as size from audit_segment_bytes
      where writer = ${writer} and number = ${number} order by start desc limit 1`.execute(db);
    const [last] = rows;
    if (!last) throw new SystemLikeError('ENOENT');
    return last.size;
  }

  function writing(number: number, end: number): SegmentFile {
    let at = end;
    return {
      async append(bytes) {
        await put(number, at, bytes);
        at += bytes.length;
      },
      async truncate(bytes) {
        await cut(number, bytes);
        at = bytes;
      },
      isAt: async () => true,
      close: async () => undefined,
    };
  }

  return {
    async create(_directory, path, content) {
      const { number } = named(path);
      try {
        await put(number, 0, content);
      } catch (error) {
        throw isUniqueViolation(error) ? new SystemLikeError('EEXIST') : error;
      }
      return writing(number, content.length);
    },
    async open(path) {
      const { writer, number } = named(path);
      return writing(number, await size(writer, number));
    },
    async read(path) {
      const { writer, number } = named(path);
      await size(writer, number);
      return {
        size: () => size(writer, number),
        read: (offset, bytes) => readRows(store, { writer, number, offset, bytes }),
        // What can be read is committed.
        sync: async () => undefined,
        close: async () => undefined,
      } satisfies SegmentReader;
    },
    remove: (path) => cut(named(path).number, 0),
    async list() {
      const rows = await db
        .selectFrom('audit_segment_bytes')
        .select(['writer', 'number'])
        .where('start', '=', 0)
        .execute();
      return rows.map(({ writer, number }) => segmentFile(writer, number));
    },
  };
}

async function readRows(
  { db }: Store,
  { writer, number, offset, bytes }: { writer: string; number: number; offset: number; bytes: number },
): Promise<Buffer> {
  const { rows } = await sql<{ start: number; bytes: Buffer }>`
    select start, bytes from audit_segment_bytes
    where writer = ${writer} and number = ${number} and start < ${offset + bytes}
      and start >= coalesce((select max(start) from audit_segment_bytes
        where writer = ${writer} and number = ${number} and start <= ${offset}), 0)
    order by start`.execute(db);
  const last = rows.at(-1);
  const end = Math.min(offset + bytes, last ? last.start + last.bytes.length : 0);
  const found = Buffer.alloc(Math.max(0, end - offset), hole);
  for (const row of rows) {
    const from = Math.max(0, offset - row.start);
    if (from < row.bytes.length) row.bytes.copy(found, row.start + from - offset, from);
  }
  return found;
}

function named(path: string): { writer: string; number: number } {
  const found = parseSegmentFile(basename(path));
  if (!found) throw new SystemLikeError('ENOENT');
  return found;
}

/** Errors by the names that a file system gives them: its callers know those. */
class SystemLikeError extends Error {
  readonly code: string;
  constructor(code: string) {
    super(code);
    this.code = code;
  }
}
