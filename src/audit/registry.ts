import type { Kysely, Selectable } from 'kysely';
import { newId, serviceNamespaceId } from '../core/ids.ts';
import type { Schema } from '../store/schema.ts';
import type { StoreTransaction } from '../store/store.ts';
import type { Start } from './walk.ts';

/** The segment table: which files there must be, and where the sealed ones end. */
export type SegmentRow = Selectable<Schema['audit_segments']>;

/** @returns the writer's rows (everyone's, without one), by writer and number */
export async function segmentRows(db: Kysely<Schema>, writer?: string): Promise<SegmentRow[]> {
  let query = db.selectFrom('audit_segments').selectAll().where('namespace_id', '=', serviceNamespaceId);
  if (writer !== undefined) query = query.where('writer', '=', writer);
  return await query.orderBy('writer').orderBy('number').execute();
}

/** Every writer's newest segment, by writer. */
export async function newestSegments(db: Kysely<Schema>): Promise<SegmentRow[]> {
  return await db
    .selectFrom('audit_segments as segment')
    .selectAll()
    .where('namespace_id', '=', serviceNamespaceId)
    .where('number', '=', (query) =>
      query
        .selectFrom('audit_segments as other')
        .select((build) => build.fn.max('other.number').as('newest'))
        .whereRef('other.namespace_id', '=', 'segment.namespace_id')
        .whereRef('other.writer', '=', 'segment.writer'),
    )
    .orderBy('writer')
    .execute();
}

/** The writer's newest segment with at most this number. */
export async function segmentRowUpTo(
  db: Kysely<Schema>,
  writer: string,
  number: number,
): Promise<SegmentRow | undefined> {
  return await db
    .selectFrom('audit_segments')
    .selectAll()
    .where('namespace_id', '=', serviceNamespaceId)
    .where('writer', '=', writer)
    .where('number', '<=', number)
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst();
}

export async function insertSegment(
  tx: StoreTransaction,
  row: { writer: string; number: number; file: string; start: Start; createdAt: number },
): Promise<void> {
  await tx
    .insertInto('audit_segments')
    .values({
      id: newId(),
      namespace_id: serviceNamespaceId,
      writer: row.writer,
      number: row.number,
      file: row.file,
      first_sequence: row.start.sequence + 1,
      first_head: row.start.head,
      last_sequence: null,
      last_head: null,
      created_at: row.createdAt,
    })
    .execute();
}

/** Says where a segment ends; it is never written again. */
export async function sealSegment(
  db: Kysely<Schema>,
  { writer, number, end }: { writer: string; number: number; end: Start },
): Promise<void> {
  await db
    .updateTable('audit_segments')
    .set({ last_sequence: end.sequence, last_head: end.head })
    .where('namespace_id', '=', serviceNamespaceId)
    .where('writer', '=', writer)
    .where('number', '=', number)
    .where('last_sequence', 'is', null)
    .execute();
}

/** Where the chain stands after a segment, by its row alone: its start when it was never sealed. */
export function endByRow(row: SegmentRow): Start {
  if (row.last_sequence === null || row.last_head === null) return startByRow(row);
  return { sequence: row.last_sequence, head: Buffer.from(row.last_head) };
}

export function startByRow(row: SegmentRow): Start {
  return { sequence: row.first_sequence - 1, head: Buffer.from(row.first_head) };
}
