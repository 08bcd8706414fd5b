import { sql } from 'kysely';
import { z } from 'zod';
import type { Clock } from '../core/clock.ts';
import type { JobState } from '../store/job-rows.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import { type AnyKind, defineKind } from './kinds.ts';

const hour = 3_600_000;
const finishedStates: readonly JobState[] = ['done', 'failed', 'cancelled'];
/** Removed in one transaction, for which others wait. */
const batchRows = 500;
/** Each may have 10,000 chunks. */
const batchJobs = 5;

const progress = z.strictObject({ idempotencyRows: z.int(), jobs: z.int() });

/** Removes what nobody asks for any more: answers kept for repeated requests whose day is over, and old jobs. */
export function housekeeping({
  store,
  clock,
  retentionMilliseconds,
}: {
  store: Store;
  clock: Clock;
  /** Of finished jobs. */
  retentionMilliseconds: number;
}): AnyKind {
  return defineKind({
    kind: 'jobs.housekeeping',
    input: z.strictObject({}),
    piece: z.null(),
    scopes: [],
    recurs: { everyMilliseconds: hour, input: {}, piece: null },

    async run({ cursor }, { commit, signal }) {
      let removed =
        cursor === undefined ? { idempotencyRows: 0, jobs: 0 } : progress.parse(JSON.parse(cursor));
      const remove = async (name: keyof typeof removed, count: number, work: RemoveRows) => {
        const next = { ...removed, [name]: removed[name] + count };
        await commit({ cursor: JSON.stringify(next), done: next.idempotencyRows + next.jobs }, work);
        removed = next;
      };
      for (;;) {
        signal.throwIfAborted();
        const keys = await expiredKeys(store, clock.now());
        if (keys.length > 0)
          await remove('idempotencyRows', keys.length, (tx) => removeKeys(tx, keys, clock.now()));
        const jobs = await oldJobs(store, clock.now() - retentionMilliseconds);
        if (jobs.length > 0) await remove('jobs', jobs.length, (tx) => removeJobs(tx, jobs));
        if (keys.length < batchRows && jobs.length < batchJobs) return removed;
      }
    },
  });
}

type RemoveRows = (tx: StoreTransaction) => Promise<void>;

interface IdempotencyKeyColumns {
  readonly namespace_id: string;
  readonly principal_id: string;
  readonly idempotency_key: string;
}

async function expiredKeys(store: Store, now: number): Promise<IdempotencyKeyColumns[]> {
  return await store.db
    .selectFrom('idempotency')
    .select(['namespace_id', 'principal_id', 'idempotency_key'])
    .where('expires_at', '<=', now)
    .orderBy('expires_at')
    .limit(batchRows)
    .execute();
}

/** Unless one was used anew meanwhile. */
async function removeKeys(
  tx: StoreTransaction,
  keys: readonly IdempotencyKeyColumns[],
  now: number,
): Promise<void> {
  const tuples = keys.map((key) => sql`(${key.namespace_id}, ${key.principal_id}, ${key.idempotency_key})`);
  await sql`delete from idempotency where expires_at <= ${now}
    and (namespace_id, principal_id, idempotency_key) in (values ${sql.join(tuples)})`.execute(tx);
}

async function oldJobs(store: Store, before: number): Promise<string[]> {
  const found = await store.db
    .selectFrom('jobs')
    .select('id')
    .where('state', 'in', finishedStates)
    .where('finished_at', '<=', before)
    .limit(batchJobs)
    .execute();
  return found.map(({ id }) => id);
}

async function removeJobs(tx: StoreTransaction, ids: readonly string[]): Promise<void> {
  await tx.deleteFrom('job_chunks').where('job_id', 'in', ids).execute();
  await tx.deleteFrom('jobs').where('id', 'in', ids).where('state', 'in', finishedStates).execute();
}
