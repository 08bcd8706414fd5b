import type { Caller } from '../access/caller.ts';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { cutPage, idAfter, type Page, type PageRequest } from '../core/page.ts';
import type { Emit } from '../events/events.ts';
import type { Hsm } from '../hsm/hsm.ts';
import { createLeases } from '../jobs/leases.ts';
import type { Keys } from '../keys/keys.ts';
import type { SystemKeys } from '../keys/system-keys.ts';
import type { DestructionRow } from '../store/lifecycle-rows.ts';
import type { VersionState } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import { type Coverage, unknownCoverage } from './coverage.ts';
import { createFindDependence, type Dependence } from './dependence.ts';
import { createDestruction } from './destruction.ts';
import type { DestructionRecord } from './record.ts';
import { createRetention, type Retention } from './retention.ts';
import { createRetentionWork } from './retention-work.ts';
import { createReader } from './rows.ts';
import { type Candidate, createScheduling, type RestoredVersions } from './schedule.ts';
import { createSweeper, type LifecycleLogger } from './sweep.ts';
import { type LifecycleLimits, mostWindowSeconds, requireWindow } from './window.ts';

export { isSigned } from './record.ts';

export interface DestroyRequest {
  readonly versions?: readonly number[] | undefined;
  /** Default 30 days. */
  readonly windowSeconds?: number | undefined;
  /** Destroys what may still be needed, for this reason. */
  readonly reason?: string | undefined;
  readonly dryRun?: boolean | undefined;
}

export interface PlannedVersion extends Dependence {
  readonly version: number;
  readonly state: VersionState;
  readonly refusal?: { readonly code: string; readonly detail: string };
}

/** What a destruction does, or would do. */
export interface DestructionPlan {
  readonly keyId: string;
  readonly dryRun: boolean;
  readonly windowSeconds: number;
  readonly destroyAt: number;
  /** So long the service itself keeps data keys that the versions opened. Clients may keep theirs for longer. */
  readonly dataKeySeconds: number;
  readonly versions: readonly PlannedVersion[];
}

export interface DestructionView {
  readonly id: string;
  readonly version: number;
  readonly state: DestructionRow['state'];
  readonly previousState: VersionState;
  readonly requestedBy: string;
  readonly reason?: string;
  readonly scheduledAt: number;
  readonly destroyAt: number;
  readonly endedAt?: number;
  readonly record?: DestructionRecord;
}

/** How versions of keys end. */
export interface Lifecycle extends Retention {
  /**
   * Schedules the destruction of versions: from now on they are refused, and until the window is over they can be
   * restored. Of one that cannot go none is scheduled. A dry run shows what would be, refusals included.
   * @throws key/not-found, key/version-state, key/version-in-use, key/conflict, request/invalid
   */
  destroy(caller: Caller, key: string, request: DestroyRequest): Promise<DestructionPlan>;
  /** Gives versions the states back that they had. @throws key/not-found, key/version-state, key/conflict */
  restore(caller: Caller, key: string, versions?: readonly number[]): Promise<RestoredVersions>;
  /** Oldest first, restored ones too. @throws key/not-found */
  destructions(caller: Caller, key: string, page: PageRequest): Promise<Page<DestructionView>>;
  /** Begins to do what is due. */
  start(): void;
  close(): Promise<void>;
}

export function createLifecycle({
  keys,
  store,
  hsm,
  systemKeys,
  clock,
  limits,
  log,
  coverage = unknownCoverage,
  emit,
}: {
  keys: Keys;
  store: Store;
  hsm: Hsm;
  systemKeys: SystemKeys;
  clock: Clock;
  limits: LifecycleLimits;
  log: LifecycleLogger;
  coverage?: Coverage;
  emit: Emit;
}): Lifecycle {
  const { rows } = systemKeys;
  const reader = createReader(store, rows);
  const findDependence = createFindDependence({ keys, store, coverage });
  const scheduling = createScheduling({ reader, rows, clock, hsm, findDependence, emit });
  const leases = createLeases({ store, clock });
  const mac = (data: Uint8Array) => hsm.mac(systemKeys.audit, data);
  const destruction = createDestruction({
    ...{ keys, store, rows, clock, hsm, emit },
    reader,
    findDependence,
    mac,
  });
  const plans = createRetention({ ...{ keys, store, rows, clock, limits, reader }, findDependence });
  const retention = createRetentionWork({
    ...{ plans, keys, store, rows, clock, hsm, limits },
    scheduling,
    emit,
  });
  const sweeper = createSweeper({ clock, leases, log, destruction, retention, limits });

  return {
    destroy(caller, ref, { versions, windowSeconds = mostWindowSeconds, reason, dryRun = false }) {
      const action = dryRun ? 'keys.plan-destruction' : 'keys.schedule-destruction';
      return keys.use(caller, action, ref, async (key, operation) => {
        requireWindow(windowSeconds, limits);
        const candidates = await scheduling.candidates(key, { versions, reason });
        if (candidates.length === 0) throw nothingLeft();
        const plan = (destroyAt: number) => ({
          ...{ keyId: key.id, dryRun, windowSeconds, destroyAt },
          dataKeySeconds: key.dataKeyReuse?.seconds ?? 0,
          versions: candidates.map(planned),
        });
        if (dryRun) return plan(clock.now() + windowSeconds * 1000);
        for (const { refusal } of candidates) if (refusal) throw refusal;
        const wish = { versions, reason, windowSeconds, requestedBy: caller.principal.id };
        return await scheduling.schedule(operation, key, candidates, wish, plan);
      });
    },

    restore: (caller, ref, versions) =>
      keys.use(caller, 'keys.restore', ref, (key, operation) => scheduling.restore(operation, key, versions)),

    destructions: (caller, ref, { limit, cursor }) =>
      keys.use(caller, 'keys.list-destructions', ref, async (key) => {
        const found = await store.db
          .selectFrom('version_destructions')
          .selectAll()
          .where('key_id', '=', key.id)
          .where('id', '>', idAfter(cursor))
          .orderBy('id')
          .limit(limit + 1)
          .execute();
        const { rows: page, next } = cutPage(found, limit, (row) => row.id);
        await Promise.all(page.map((row) => rows.verify('version_destructions', row)));
        return { items: page.map(destructionView), ...next };
      }),

    ...plans.operations,
    start: () => sweeper.start(),
    close: () => sweeper.close(),
  };
}

function planned({ row, refusal, ...dependence }: Candidate): PlannedVersion {
  return {
    ...{ version: row.ordinal, state: row.state, ...dependence },
    ...(refusal && { refusal: { code: refusal.code, detail: refusal.detail } }),
  };
}

function destructionView(row: DestructionRow): DestructionView {
  return {
    ...{ id: row.id, version: row.ordinal, state: row.state, requestedBy: row.requested_by },
    previousState: row.previous_state as VersionState,
    ...(row.reason !== null && { reason: row.reason }),
    ...{ scheduledAt: row.scheduled_at, destroyAt: row.destroy_at },
    ...(row.ended_at !== null && { endedAt: row.ended_at }),
    ...(row.record !== null && { record: JSON.parse(row.record) as DestructionRecord }),
  };
}

function nothingLeft(): ServiceError {
  return new ServiceError('key/version-state', 'Every version of this key is destroyed or scheduled for it.');
}
