import { newId } from '../core/ids.ts';
import type { EventRow } from '../store/event-rows.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import type { NewEvent } from './types.ts';

/**
 * Writes events down in the transaction of what they tell of, with what is to be sent of them: they are there exactly
 * when it is. Call it last in the transaction: on PostgreSQL, events are numbered one transaction after the other.
 */
export type Emit = (tx: StoreTransaction, events: readonly NewEvent[]) => Promise<void>;

/** Written in one statement. */
const batchRows = 100;

export function createEmit(store: Pick<Store, 'dialect'>): Emit {
  return async (tx, events) => {
    if (events.length === 0) return;
    const rows = events.map(rowOf);
    const deliveries = await deliveriesOf(tx, rows);
    await store.dialect.lockEvents(tx);
    for (let at = 0; at < rows.length; at += batchRows)
      await tx
        .insertInto('events')
        .values(rows.slice(at, at + batchRows))
        .execute();
    for (let at = 0; at < deliveries.length; at += batchRows)
      await tx
        .insertInto('webhook_deliveries')
        .values(deliveries.slice(at, at + batchRows))
        .execute();
  };
}

type NewRow = Omit<EventRow, 'number'>;

function rowOf({ type, namespaceId, keyId, at, ...data }: NewEvent): NewRow {
  return {
    ...{ id: newId(), namespace_id: namespaceId, type, key_id: keyId },
    ...{ data: JSON.stringify(Object.fromEntries(Object.entries(data).map(told))), created_at: at },
  };
}

/** Times are told as the interface tells them. */
function told([name, value]: [string, unknown]): [string, unknown] {
  return name.endsWith('At') && typeof value === 'number'
    ? [name, new Date(value).toISOString()]
    : [name, value];
}

/** Who is to get what. Webhooks are authenticated when something is sent to them. */
async function deliveriesOf(tx: StoreTransaction, rows: readonly NewRow[]) {
  const namespaces = [...new Set(rows.map(({ namespace_id }) => namespace_id))];
  const webhooks = await tx
    .selectFrom('webhooks')
    .select(['id', 'namespace_id', 'types'])
    .where('namespace_id', 'in', namespaces)
    .where('state', '=', 'enabled')
    .execute();
  return rows.flatMap((row) =>
    webhooks
      .filter(({ namespace_id, types }) => namespace_id === row.namespace_id && wants(types, row.type))
      .map(({ id }) => ({
        ...{ id: newId(), namespace_id: row.namespace_id, webhook_id: id, event_id: row.id },
        ...{ state: 'pending' as const, attempts: 0, next_at: row.created_at, problem: null },
        created_at: row.created_at,
      })),
  );
}

/** @param types JSON array of types, or null for all */
export function wants(types: string | null, type: string): boolean {
  return types === null || (JSON.parse(types) as string[]).includes(type);
}
