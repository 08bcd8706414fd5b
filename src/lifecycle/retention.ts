import type { Caller } from '../access/caller.ts';
import type { Clock } from '../core/clock.ts';
import { conflict } from '../keys/change.ts';
import type { Key } from '../keys/key.ts';
import type { Keys } from '../keys/keys.ts';
import type { RetentionRow } from '../store/lifecycle-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { KeyVersionRow } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import { type Dependence, type FindDependence, inUse } from './dependence.ts';
import { heldBy, isPast, nextStep, type PlannedStep, type Policy, policyOf } from './retention-plan.ts';
import type { Reader } from './rows.ts';
import { type LifecycleLimits, requireWindow } from './window.ts';

export interface RetentionView {
  readonly keyId: string;
  readonly policy?: Policy;
  /** When it is looked at next. Milliseconds. */
  readonly nextAt?: number;
  /** What is due, and what holds it: the oldest 100. */
  readonly versions: readonly PlannedStep[];
}

/** How long superseded versions of a key are kept: the policy of each key. */
export interface Retention {
  /** @throws key/not-found */
  retention(caller: Caller, key: string): Promise<RetentionView>;
  /**
   * Replaces the policy. One that would at once end what may still be needed is refused, unless it has a reason.
   * @throws key/not-found, key/version-in-use, key/conflict, request/invalid
   */
  setRetention(caller: Caller, key: string, policy: Policy, dryRun: boolean): Promise<RetentionView>;
  /** Doing it again changes nothing. @throws key/not-found */
  removeRetention(caller: Caller, key: string): Promise<void>;
}

/** A step that is due, and what it was decided on. */
export interface DueStep extends PlannedStep {
  readonly row: KeyVersionRow;
  /** Absent for a step that makes nothing unreadable. */
  readonly dependence?: Dependence;
}

export interface RetentionPlans {
  readonly operations: Retention;
  /** The steps a policy asks for now, oldest version first. Rows are read page by page. */
  steps(key: Key, policy: Policy): AsyncGenerator<DueStep>;
}

const shownSteps = 100;
const pageRows = 200;

export function createRetention({
  keys,
  store,
  rows,
  clock,
  limits,
  reader,
  findDependence,
}: {
  keys: Keys;
  store: Store;
  rows: RowAuthenticator;
  clock: Clock;
  limits: LifecycleLimits;
  reader: Reader;
  findDependence: FindDependence;
}): RetentionPlans {
  async function rowOf(keyId: string): Promise<RetentionRow | undefined> {
    const row = await store.db
      .selectFrom('key_retention')
      .selectAll()
      .where('key_id', '=', keyId)
      .executeTakeFirst();
    if (row) await rows.verify('key_retention', row);
    return row;
  }

  async function restoredOnce(versionId: string): Promise<boolean> {
    const row = await store.db
      .selectFrom('version_destructions')
      .select('id')
      .where('version_id', '=', versionId)
      .where('state', '=', 'restored')
      .limit(1)
      .executeTakeFirst();
    return row !== undefined;
  }

  /** Each version with the one that took its place. */
  async function* superseded(keyId: string): AsyncGenerator<[KeyVersionRow, KeyVersionRow]> {
    for (let after = 0; ; ) {
      const page = await store.db
        .selectFrom('key_versions')
        .selectAll()
        .where('key_id', '=', keyId)
        .where('ordinal', '>', after)
        .orderBy('ordinal')
        .limit(pageRows + 1)
        .execute();
      for (const [at, row] of page.slice(0, pageRows).entries()) {
        const next = page[at + 1];
        if (next) yield [row, next];
        after = row.ordinal;
      }
      if (page.length <= pageRows) return;
    }
  }

  async function* steps(key: Key, policy: Policy): AsyncGenerator<DueStep> {
    const now = clock.now();
    const { currentOrdinal } = key;
    for await (const [row, next] of superseded(key.id)) {
      const version = { ordinal: row.ordinal, supersededAt: next.created_at };
      // Whatever comes later was superseded later.
      if (!isPast(policy, version, { currentOrdinal, now })) return;
      const step = nextStep(row.state, policy.finally);
      if (step === undefined) continue;
      await rows.verify('key_versions', row);
      const planned = { version: row.ordinal, state: row.state, step, row };
      if (step === 'retire') {
        yield planned;
        continue;
      }
      const dependence = await findDependence(await reader.key(key), row);
      const held = heldBy(policy, dependence, await restoredOnce(row.id));
      yield { ...planned, dependence, ...(held && { held }) };
    }
  }

  async function view(key: Key, policy: Policy | undefined, nextAt?: number): Promise<RetentionView> {
    const versions: PlannedStep[] = [];
    if (policy) {
      for await (const { row: _, dependence: __, ...step } of steps(key, policy)) {
        versions.push(step);
        if (versions.length >= shownSteps) break;
      }
    }
    return { keyId: key.id, ...(policy && { policy }), ...(nextAt !== undefined && { nextAt }), versions };
  }

  /** @throws key/version-in-use when the policy would end at once what may still be needed */
  async function requireHarmless(key: Key, policy: Policy): Promise<void> {
    for await (const { version, dependence, held } of steps(key, policy)) {
      const refusal = held !== 'restored' && held && dependence && inUse(version, dependence);
      if (refusal) throw refusal;
    }
  }

  const operations: Retention = {
    retention: (caller, ref) =>
      keys.use(caller, 'keys.read-retention', ref, async (key) => {
        const row = await rowOf(key.id);
        return await view(key, row && policyOf(row), row?.next_at);
      }),

    setRetention: (caller, ref, policy, dryRun) =>
      keys.use(caller, dryRun ? 'keys.read-retention' : 'keys.set-retention', ref, async (key, operation) => {
        requireWindow(policy.windowSeconds, limits);
        if (dryRun) return await view(key, policy);
        await requireHarmless(key, policy);
        const row = await rowOf(key.id);
        const now = clock.now();
        const next = await rows.seal('key_retention', {
          ...{ key_id: key.id, namespace_id: key.namespaceId, keep_latest: policy.keepLatest ?? null },
          retire_after_seconds: policy.retireAfterSeconds ?? null,
          ...{ finally: policy.finally, window_seconds: policy.windowSeconds },
          ...{ reason: policy.reason ?? null, updated_at: now, revision: (row?.revision ?? 0) + 1 },
        });
        const answer = await view(key, policy, now);
        return await operation.change(async (tx) => {
          const { numDeletedRows } = await tx
            .deleteFrom('key_retention')
            .where('key_id', '=', key.id)
            .where('revision', '=', row?.revision ?? 0)
            .executeTakeFirst();
          if (numDeletedRows !== (row ? 1n : 0n)) throw conflict();
          await tx
            .insertInto('key_retention')
            .values({ ...next, next_at: now })
            .execute();
          return answer;
        });
      }),

    removeRetention: (caller, ref) =>
      keys.use(caller, 'keys.set-retention', ref, async (key, operation) => {
        await operation.change(async (tx) => {
          await tx.deleteFrom('key_retention').where('key_id', '=', key.id).execute();
        });
      }),
  };
  return { operations, steps };
}
