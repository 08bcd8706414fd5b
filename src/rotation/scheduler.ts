import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import { isServiceError, ServiceError } from '../core/errors.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Lease, Leases } from '../jobs/leases.ts';
import type { RotationScheduleRow } from '../store/rotation-rows.ts';
import type { Store } from '../store/store.ts';
import type { ChunkOutcome } from './chunk.ts';
import { rotationShards } from './schedules.ts';
import type { SharedClock } from './shared-clock.ts';
import { createSteadiness } from './steadiness.ts';
import type { Pace } from './steps.ts';

export type RotationLogger = (level: 'info' | 'warn' | 'error', event: string, fields: object) => void;

/** Rotates what is due, together with all other processes. */
export interface Scheduler {
  start(): void;
  /** Looks now. @returns when it has looked */
  look(): Promise<void>;
  /** Finishes what is under way. */
  close(): Promise<void>;
}

export interface SchedulerLimits {
  /** Rotations a second of this process at most; 0: none here. */
  readonly rate: number;
  /** Looks at least so often, for what others made due. */
  readonly pollMilliseconds: number;
  /** Rotated in one transaction. */
  readonly chunkRows: number;
  /** How long the wall clock must run evenly after a step before it is believed. */
  readonly settleMilliseconds: number;
  readonly leaseMilliseconds: number;
}

const schedulerDefaults: SchedulerLimits = {
  ...{ rate: 1_200, pollMilliseconds: 1_000, chunkRows: 128, settleMilliseconds: 60_000 },
  leaseMilliseconds: 15_000,
};

const longestPauseMilliseconds = 30_000;
const closeMilliseconds = 5_000;
/** Rows that cannot be used are left alone for so long: who restores them waits no longer. */
const unusableMilliseconds = 300_000;
const unusableLimit = 1_000;

export function createScheduler({
  store,
  clock,
  leases,
  run,
  reckon,
  limits: changed = {},
  log,
  metrics,
}: {
  store: Store;
  clock: SharedClock;
  leases: Leases;
  run: (lease: Lease, due: readonly RotationScheduleRow[], pace: Pace) => Promise<ChunkOutcome>;
  /** Sets right what was written before the clock was set back. @returns whether there may be more */
  reckon: (now: number) => Promise<boolean>;
  limits?: Partial<SchedulerLimits>;
  log: RotationLogger;
  metrics: Metrics;
}): Scheduler {
  const limits = { ...schedulerDefaults, ...changed };
  const counts = createCounts(metrics);
  const steadiness = createSteadiness(clock, limits.settleMilliseconds);
  const stop = new AbortController();
  /** Since when; by the monotonic clock. */
  const unusable = new Map<string, number>();
  /** Of the shards, the one to begin with: processes do not all ask for the same. */
  let first = Math.floor(Math.random() * rotationShards);
  let timer: NodeJS.Timeout | undefined;
  let looking: Promise<void> | undefined;
  let failures = 0;
  let paceAt = Number.NEGATIVE_INFINITY;

  /** When each shard has something to do: the first entry of its index. */
  async function dueShards(now: number): Promise<{ shards: number[]; nextAt: number | undefined }> {
    const asked = Array.from(
      { length: rotationShards },
      (_, shard) =>
        sql`select ${sql.lit(shard)} as shard, (select min(act_at) from rotation_schedules where shard = ${sql.lit(shard)}) as at`,
    );
    const { rows } = await sql<{
      shard: number;
      at: number | null;
    }>`${sql.join(asked, sql` union all `)}`.execute(store.db);
    const times = rows.map(({ shard, at }) => ({
      shard: Number(shard),
      at: at === null ? undefined : Number(at),
    }));
    const nextAt = times.reduce<number | undefined>(
      (earliest, { at }) => (at === undefined ? earliest : Math.min(earliest ?? at, at)),
      undefined,
    );
    const due = times.filter(({ at }) => at !== undefined && at <= now).map(({ shard }) => shard);
    counts.lag(nextAt === undefined ? 0 : Math.max(0, now - nextAt) / 1000);
    const turned = due.toSorted((a, b) => ((a - first + 16) % 16) - ((b - first + 16) % 16));
    return { shards: turned, nextAt };
  }

  async function dueRows(shard: number): Promise<RotationScheduleRow[]> {
    const now = clock.monotonic();
    for (const [keyId, since] of unusable) if (now - since > unusableMilliseconds) unusable.delete(keyId);
    return await store.db
      .selectFrom('rotation_schedules')
      .selectAll()
      .where('shard', '=', shard)
      .where('act_at', '<=', await clock.now())
      .$if(unusable.size > 0, (query) => query.where('key_id', 'not in', [...unusable.keys()]))
      .orderBy('act_at')
      .limit(limits.chunkRows)
      .execute();
  }

  /** Everything of a shard that is due, one chunk after the other, at this process's pace. */
  async function drain(shard: number, lease: Lease, lost: AbortSignal): Promise<void> {
    const gone = AbortSignal.any([lost, stop.signal]);
    while (!gone.aborted && (await steadiness.isSteady())) {
      const due = await dueRows(shard);
      if (due.length === 0) return;
      const outcome = await run(lease, due, pace);
      tell(outcome);
      if (outcome.moved === due.length) return;
    }
  }

  /** Spreads the work: so many a second, however many are due. */
  async function pace(rotations: number): Promise<void> {
    const now = clock.monotonic();
    paceAt = Math.max(paceAt, now) + (rotations / limits.rate) * 1000;
    await delay(paceAt - now, undefined, { signal: stop.signal }).catch(() => undefined);
  }

  function tell({ unusable: found, ...outcome }: ChunkOutcome): void {
    counts.add({ ...outcome, failed: outcome.failed + found.length });
    if (outcome.done + outcome.failed > 0)
      log(outcome.failed > 0 ? 'warn' : 'info', 'rotation.rotated', outcome);
    for (const keyId of found) {
      log('error', 'rotation.row-unusable', { key: keyId });
      if (unusable.size < unusableLimit) unusable.set(keyId, clock.monotonic());
    }
  }

  /** @returns milliseconds until there may be something to do */
  async function once(): Promise<number> {
    const now = await clock.now();
    if (!(await steadiness.isSteady())) return limits.pollMilliseconds;
    if (await reckon(now)) return 0;
    const { shards, nextAt } = await dueShards(now);
    for (const shard of shards) {
      if (stop.signal.aborted) break;
      await leases.during(
        `rotation/${shard}`,
        (lease, lost) => drain(shard, lease, lost),
        limits.leaseMilliseconds,
      );
    }
    first = (first + 1) % rotationShards;
    const wait = nextAt === undefined ? limits.pollMilliseconds : nextAt - (await clock.now());
    // What is due still is somebody else's, or cannot be used.
    return wait <= 0 ? limits.pollMilliseconds / 4 : Math.min(wait, limits.pollMilliseconds);
  }

  async function look(): Promise<void> {
    let wait: number;
    try {
      wait = await once();
      if (failures > 0) log('info', 'rotation.recovered', {});
      failures = 0;
    } catch (error) {
      // Said once, not with every look.
      if (failures === 0) log('warn', 'rotation.unavailable', { code: codeOf(error) });
      wait = Math.min(longestPauseMilliseconds, 500 * 2 ** Math.min(failures, 10));
      failures += isServiceError(error, 'lease/lost') ? 0 : 1;
    }
    if (started && !stop.signal.aborted) {
      clearTimeout(timer);
      timer = setTimeout(wake, Math.max(1, wait)).unref();
    }
  }

  let started = false;
  function wake(): void {
    looking ??= look().finally(() => {
      looking = undefined;
    });
  }

  return {
    start() {
      if (limits.rate === 0) return;
      started = true;
      wake();
    },
    async look() {
      if (limits.rate === 0) return;
      // One under way may have seen the database as it was before.
      await looking;
      wake();
      await looking;
    },
    async close() {
      stop.abort();
      clearTimeout(timer);
      // What is not done by then is done by others, from the beginning.
      await Promise.race([looking, delay(closeMilliseconds, undefined, { ref: false })]);
    },
  };
}

function createCounts(metrics: Metrics) {
  const rotations = metrics.counter({
    name: 'stathera_rotations_total',
    help: 'Rotations by date, by outcome',
    labels: ['outcome'],
  });
  const lag = metrics
    .gauge({
      name: 'stathera_rotation_lag_seconds',
      help: 'How long the rotation that waits longest is overdue',
    })
    .with({});
  const [done, failed, putOff] = ['done', 'failed', 'put-off'].map((outcome) => rotations.with({ outcome }));
  return {
    add(outcome: Pick<ChunkOutcome, 'done' | 'failed' | 'putOff'>) {
      done?.add(outcome.done);
      failed?.add(outcome.failed);
      putOff?.add(outcome.putOff);
    },
    lag: (seconds: number) => lag.set(seconds),
  };
}

function codeOf(error: unknown): string {
  return error instanceof ServiceError ? error.code : 'internal';
}
