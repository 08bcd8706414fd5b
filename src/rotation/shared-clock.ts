import { sql } from 'kysely';
import type { Clock } from '../core/clock.ts';
import type { Store } from '../store/store.ts';

/** Dates are reckoned and kept by one clock, whichever process asks. */
export interface SharedClock {
  /** Milliseconds since the Unix epoch; may step. @throws store/unavailable */
  now(): Promise<number>;
  monotonic(): number;
}

/** Asked anew after so long; a step is noticed by then. */
const keptMilliseconds = 1_000;

/**
 * Processes over SQLite are on one machine and have its clock. Nodes over PostgreSQL have the database's: with clocks of
 * their own, one that is ahead would find due what another has put back, again and again.
 */
export function createSharedClock({ store, clock }: { store: Store; clock: Clock }): SharedClock {
  const monotonic = () => clock.monotonic();
  if (store.dialect.name === 'sqlite') return { now: async () => clock.now(), monotonic };
  let read: { readonly at: number; readonly wall: number } | undefined;
  return {
    monotonic,
    async now() {
      if (!read || monotonic() - read.at >= keptMilliseconds) {
        const { rows } = await sql<{
          wall: number;
        }>`select floor(extract(epoch from clock_timestamp()) * 1000)::bigint as wall`.execute(store.db);
        read = { at: monotonic(), wall: Number(rows[0]?.wall) };
      }
      return Math.floor(read.wall + monotonic() - read.at);
    },
  };
}
