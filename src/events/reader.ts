import type { Principal } from '../access/caller.ts';
import { visibleTo } from '../keys/listing.ts';
import type { EventRow } from '../store/event-rows.ts';
import type { Store } from '../store/store.ts';
import type { EventType, EventView } from './types.ts';

export interface EventQuery {
  /** Only what has a greater number. */
  readonly after: number;
  readonly limit: number;
  readonly types?: readonly EventType[] | undefined;
}

export interface EventReader {
  /** Of the principal's namespace, about keys it may see, in order. */
  read(principal: Principal, query: EventQuery): Promise<EventView[]>;
  /** The greatest number there is, of any namespace; 0 when there is none. */
  newest(): Promise<number>;
  /** The least that is kept. */
  oldest(): Promise<number | undefined>;
}

export function createEventReader(store: Store): EventReader {
  const edge = async (which: 'max' | 'min') => {
    const row = await store.db
      .selectFrom('events')
      .select(({ fn }) => fn[which]('number').as('number'))
      .executeTakeFirst();
    return row?.number === null || row?.number === undefined ? undefined : Number(row.number);
  };
  return {
    async read(principal, { after, limit, types }) {
      const rows = await store.db
        .selectFrom('events')
        .selectAll()
        .where('namespace_id', '=', principal.namespaceId)
        .where('number', '>', after)
        .$if(types !== undefined, (query) => query.where('type', 'in', types as EventType[]))
        .$if(principal.keyPatterns !== undefined, (query) =>
          query.where('key_id', 'in', (keys) =>
            keys
              .selectFrom('keys')
              .select('id')
              .where('namespace_id', '=', principal.namespaceId)
              .where(visibleTo(principal)),
          ),
        )
        .orderBy('number')
        .limit(limit)
        .execute();
      return rows.map(viewOf);
    },
    newest: async () => (await edge('max')) ?? 0,
    oldest: () => edge('min'),
  };
}

export function viewOf(row: Omit<EventRow, 'number'> & { number: number }): EventView {
  return {
    ...{ number: row.number, id: row.id, type: row.type as EventType, keyId: row.key_id },
    ...{ at: row.created_at, data: JSON.parse(row.data) as Record<string, unknown> },
  };
}
