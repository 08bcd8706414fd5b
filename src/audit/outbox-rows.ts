import type { Kysely } from 'kysely';
import { equalBytes, lengthPrefixed } from '../core/bytes.ts';
import type { Prf } from '../crypto/kdf.ts';
import { labels } from '../crypto/labels.ts';
import type { Schema } from '../store/schema.ts';
import { isUniqueViolation, type Store, type StoreTransaction } from '../store/store.ts';
import type { AuditEntry } from './entry.ts';
import { encodeEntry, toHex } from './format.ts';

/** A change's record as it waits in the database for its place in the log. */
export interface OutboxRow {
  readonly id: string;
  readonly namespaceId: string;
  /** Milliseconds. */
  readonly createdAt: number;
  readonly writer: string;
  /** Canonical JSON of the entry. */
  readonly entry: string;
  /** Hex HMAC under the audit key: whoever can only write the database makes no record. */
  readonly mac: string;
}

/** @throws TypeError for an entry that breaks its schema, and what `mac` throws */
export async function sealOutboxRow(mac: Prf, writer: string, entry: AuditEntry): Promise<OutboxRow> {
  const row = {
    id: entry.id,
    namespaceId: entry.namespaceId,
    createdAt: entry.time,
    writer,
    entry: encodeEntry(entry),
  };
  return { ...row, mac: toHex(await mac(macInput(row))) };
}

/** True when the service wrote the row. @throws what `mac` throws */
export async function isAuthentic(mac: Prf, row: OutboxRow): Promise<boolean> {
  const expected = await mac(macInput(row));
  return equalBytes(Buffer.from(row.mac, 'hex'), expected);
}

function macInput({ id, namespaceId, createdAt, writer, entry }: Omit<OutboxRow, 'mac'>): Uint8Array {
  return lengthPrefixed(labels.auditOutbox, id, namespaceId, String(createdAt), writer, entry);
}

export async function insertOutbox(tx: StoreTransaction, rows: readonly OutboxRow[]): Promise<void> {
  if (rows.length === 0) return;
  await tx
    .insertInto('audit_outbox')
    .values(
      rows.map(({ id, namespaceId, createdAt, writer, entry, mac }) => ({
        ...{ id, namespace_id: namespaceId, created_at: createdAt },
        entry: JSON.stringify({ writer, entry, mac }),
      })),
    )
    .execute();
}

/** Whether a row is there for good, whatever became of the connection its transaction committed on. */
export async function outboxHas(store: Store, row: OutboxRow): Promise<boolean> {
  const find = () =>
    store.db.selectFrom('audit_outbox').select('id').where('id', '=', row.id).executeTakeFirst();
  if (await find()) return true;
  if (store.dialect.name === 'sqlite') return false;
  // PostgreSQL may still be at that commit. The same row waits for it: it is refused if the first one made it.
  const undone = new Error('only asked');
  try {
    await store.transaction(async (tx) => {
      await insertOutbox(tx, [row]);
      throw undone;
    });
  } catch (error) {
    if (isUniqueViolation(error)) return true;
    if (error !== undone) throw error;
  }
  return false;
}

/** @returns up to `limit` rows after the id `after`, by id; one without the form of ours has no `row` */
export async function outboxRows(
  db: Kysely<Schema>,
  { after = '', limit }: { after?: string; limit: number },
): Promise<{ id: string; row: OutboxRow | undefined }[]> {
  const rows = await db
    .selectFrom('audit_outbox')
    .selectAll()
    .where('id', '>', after)
    .orderBy('id')
    .limit(limit)
    .execute();
  return rows.map(({ id, namespace_id: namespaceId, created_at: createdAt, entry }) => {
    const parsed = parseOutbox(entry);
    return { id, row: parsed && { id, namespaceId, createdAt, ...parsed } };
  });
}

function parseOutbox(text: string): Pick<OutboxRow, 'writer' | 'entry' | 'mac'> | undefined {
  try {
    const value = JSON.parse(text) as Partial<OutboxRow> | null;
    const { writer, entry, mac } = value ?? {};
    if (typeof writer !== 'string' || typeof entry !== 'string' || typeof mac !== 'string') return undefined;
    return { writer, entry, mac };
  } catch {
    return undefined;
  }
}

export async function deleteOutbox(db: Kysely<Schema>, ids: readonly string[]): Promise<void> {
  const most = 500;
  for (let at = 0; at < ids.length; at += most) {
    await db
      .deleteFrom('audit_outbox')
      .where('id', 'in', ids.slice(at, at + most))
      .execute();
  }
}

export async function countOutbox(db: Kysely<Schema>): Promise<number> {
  const row = await db
    .selectFrom('audit_outbox')
    .select((build) => build.fn.countAll().as('rows'))
    .executeTakeFirstOrThrow();
  return Number(row.rows);
}
