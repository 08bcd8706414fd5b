import { z } from 'zod';
import type { Clock } from '../core/clock.ts';
import { type AnyKind, defineKind } from '../jobs/kinds.ts';
import type { Store } from '../store/store.ts';

const hour = 3_600_000;
/** Removed in one transaction, for which others wait. */
const batchRows = 500;

/** Removes events that are old, and what was not delivered of them. */
export function eventHousekeeping({
  store,
  clock,
  retentionMilliseconds,
}: {
  store: Store;
  clock: Clock;
  retentionMilliseconds: number;
}): AnyKind {
  return defineKind({
    kind: 'events.housekeeping',
    input: z.strictObject({}),
    piece: z.null(),
    scopes: [],
    recurs: { everyMilliseconds: hour, input: {}, piece: null },

    async run({ done: before }, { commit, signal }) {
      for (let done = before; ; ) {
        signal.throwIfAborted();
        const old = await store.db
          .selectFrom('events')
          .select('id')
          .where('created_at', '<', clock.now() - retentionMilliseconds)
          .limit(batchRows)
          .execute();
        if (old.length === 0) return { events: done };
        const ids = old.map(({ id }) => id);
        done += ids.length;
        await commit({ done }, async (tx) => {
          await tx.deleteFrom('webhook_deliveries').where('event_id', 'in', ids).execute();
          await tx.deleteFrom('events').where('id', 'in', ids).execute();
        });
      }
    },
  });
}
