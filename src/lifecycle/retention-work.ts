import type { Clock } from '../core/clock.ts';
import type { Emit } from '../events/events.ts';
import type { Hsm } from '../hsm/hsm.ts';
import type { Lease, Leases } from '../jobs/leases.ts';
import { changedVersion, writeVersion } from '../keys/change.ts';
import { type Key, targetOf } from '../keys/key.ts';
import type { Keys } from '../keys/keys.ts';
import { requireAllowed } from '../keys/transitions.ts';
import type { RetentionRow } from '../store/lifecycle-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import type { DueStep, RetentionPlans } from './retention.ts';
import { type PlannedStep, policyOf } from './retention-plan.ts';
import type { Candidate, Scheduling } from './schedule.ts';
import { lifecycleCaller } from './system.ts';
import { toldOf } from './told.ts';
import type { LifecycleLimits } from './window.ts';

/** Does what the policies of all keys ask for. */
export interface RetentionWork {
  /** Policies that are to be looked at. */
  due(): Promise<RetentionRow[]>;
  /**
   * Takes the steps of one policy that nothing holds, each with its record; what was taken stays.
   * @throws lease/lost, key/conflict
   */
  apply(row: RetentionRow, work: Work): Promise<void>;
  /** Looks again after the usual time. */
  rest(row: RetentionRow): Promise<void>;
}

export interface Work {
  readonly lease: Lease;
  readonly leases: Leases;
  readonly signal: AbortSignal;
}

/** Policies looked at in one go. */
const pageRows = 128;

export function createRetentionWork({
  plans,
  keys,
  store,
  rows,
  clock,
  hsm,
  limits,
  scheduling,
  emit,
}: {
  plans: RetentionPlans;
  keys: Keys;
  store: Store;
  rows: RowAuthenticator;
  clock: Clock;
  hsm: Hsm;
  limits: LifecycleLimits;
  scheduling: Scheduling;
  emit: Emit;
}): RetentionWork {
  /** One step, in an operation and a transaction of its own, decided anew by what is there then. */
  async function take(row: RetentionRow, { version, step }: PlannedStep, work: Work): Promise<void> {
    const caller = lifecycleCaller(row.namespace_id, row.key_id);
    const { reason, windowSeconds } = policyOf(row);
    const also = (tx: StoreTransaction) => work.leases.fenced(tx, work.lease);
    const action = step === 'destroy' ? 'keys.schedule-destruction' : 'keys.retire';
    await keys.use(caller, action, row.key_id, async (key, operation) => {
      const wish = { versions: [version], reason, windowSeconds, requestedBy: caller.principal.id, also };
      const [candidate] = (await scheduling.candidates(key, wish)) as [Candidate];
      if (step !== 'retire' && candidate.refusal) throw candidate.refusal;
      if (step === 'destroy') {
        await scheduling.schedule(operation, key, [candidate], wish, () => ({}));
        return;
      }
      const state = step === 'retire' ? ('decrypt-only' as const) : ('disabled' as const);
      requireAllowed('set', candidate.row.state, state);
      const next = await changedVersion(rows, candidate.row, { state });
      operation.target({ ...targetOf(key), version });
      await operation.change(
        async (tx) => {
          await also(tx);
          await writeVersion(tx, candidate.row, next);
          if (step === 'retire') await emit(tx, [toldOf('version.retired', candidate.row, clock.now(), {})]);
        },
        { touches: [candidate.row.id] },
      );
      if (state === 'disabled') await hsm.evict(candidate.row.id);
    });
  }

  async function findKey({ namespace_id, key_id }: RetentionRow): Promise<Key> {
    return await keys.find(lifecycleCaller(namespace_id, key_id).principal, key_id);
  }

  /** The steps that can be taken, read before the first is. */
  async function ready(key: Key, row: RetentionRow): Promise<DueStep[]> {
    const found: DueStep[] = [];
    for await (const step of plans.steps(key, policyOf(row))) if (!step.held) found.push(step);
    return found;
  }

  return {
    due: async () =>
      await store.db
        .selectFrom('key_retention')
        .selectAll()
        .where('next_at', '<=', clock.now())
        .orderBy('next_at')
        .limit(pageRows)
        .execute(),

    async apply(row, work) {
      await rows.verify('key_retention', row);
      const key = await findKey(row);
      // A version may have two steps before it: from making to opening, and from that to its end.
      for (let round = 0; round < 2; round += 1) {
        for (const step of await ready(key, row)) {
          if (work.signal.aborted) return;
          await take(row, step, work);
        }
      }
    },

    async rest(row) {
      await store.db
        .updateTable('key_retention')
        .set({ next_at: clock.now() + limits.retentionCheckSeconds * 1000 })
        .where('key_id', '=', row.key_id)
        .where('revision', '=', row.revision)
        .execute();
    },
  };
}
