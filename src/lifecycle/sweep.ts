import type { Clock } from '../core/clock.ts';
import { isServiceError, ServiceError } from '../core/errors.ts';
import { createLru } from '../core/lru.ts';
import type { Lease, Leases } from '../jobs/leases.ts';
import type { DestructionRow, RetentionRow } from '../store/lifecycle-rows.ts';
import type { Destruction } from './destruction.ts';
import type { RetentionWork, Work } from './retention-work.ts';
import type { LifecycleLimits } from './window.ts';

export type LifecycleLogger = (level: 'info' | 'warn' | 'error', event: string, fields: object) => void;

export interface Sweeper {
  start(): void;
  close(): Promise<void>;
}

const leaseMilliseconds = 5_000;
/** A wall clock that goes forward by more was set. */
const stepMilliseconds = 60_000;
/** So long nothing is done after it, for somebody to set it back. */
const distrustMilliseconds = 600_000;
/** After a failure; it doubles, up to an hour. */
const pauseMilliseconds = 60_000;
const longestPauseMilliseconds = 3_600_000;
const pausedLimit = 10_000;

/**
 * Does what is due, by one of all processes at a time. Which one does not matter: each destruction commits only while
 * the lease is held and the rows are still what was read, so each is done once, whoever is killed or stopped.
 */
export function createSweeper({
  clock,
  leases,
  log,
  destruction,
  retention,
  limits: { lookMilliseconds = 1_000 },
}: {
  clock: Clock;
  leases: Leases;
  log: LifecycleLogger;
  destruction: Destruction;
  retention: RetentionWork;
  limits: LifecycleLimits;
}): Sweeper {
  const stop = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let looking: Promise<void> = Promise.resolve();
  let broken = false;
  /** Wall clock less the one that never steps, when it was looked at last. */
  let offset = clock.now() - clock.monotonic();
  let trustedFrom = Number.NEGATIVE_INFINITY;
  /** Destructions that failed here, by id. */
  const paused = createLru<{ readonly until: number; readonly milliseconds: number }>();

  /** Whether the time is what it seems: what is done cannot be undone. */
  function isTrusted(): boolean {
    const now = clock.now() - clock.monotonic();
    if (now - offset > stepMilliseconds) {
      trustedFrom = clock.monotonic() + distrustMilliseconds;
      log('warn', 'lifecycle.clock-set-forward', { waitsMilliseconds: distrustMilliseconds });
    }
    offset = now;
    return clock.monotonic() >= trustedFrom;
  }

  const isReady = ({ id }: DestructionRow) => (paused.get(id)?.until ?? 0) <= clock.monotonic();

  /** Page by page, without those that failed a moment ago. */
  async function* due(): AsyncGenerator<DestructionRow> {
    for (let page = await destruction.due(); page.length > 0; page = await destruction.due(page.at(-1)))
      yield* page.filter(isReady);
  }

  async function isAnythingDue(): Promise<boolean> {
    for await (const _ of due()) return true;
    return (await retention.due()).length > 0;
  }

  /** One that cannot be destroyed must not keep the others. */
  async function destroyOne(row: DestructionRow, lease: Lease): Promise<void> {
    const fields = { key: row.key_id, version: row.ordinal };
    try {
      log('info', `lifecycle.destruction-${await destruction.destroy(row, leases, lease)}`, fields);
      paused.delete(row.id);
    } catch (error) {
      if (isServiceError(error, 'lease/lost', 'audit/unavailable', 'store/unavailable')) throw error;
      const before = paused.get(row.id)?.milliseconds ?? pauseMilliseconds / 2;
      const milliseconds = Math.min(2 * before, longestPauseMilliseconds);
      paused.set(row.id, { until: clock.monotonic() + milliseconds, milliseconds });
      if (paused.size > pausedLimit) paused.delete(paused.oldest() ?? '');
      log('warn', 'lifecycle.not-destroyed', { ...fields, code: codeOf(error) });
    }
  }

  async function applyOne(row: RetentionRow, work: Work): Promise<void> {
    try {
      await retention.apply(row, work);
    } catch (error) {
      if (isServiceError(error, 'lease/lost', 'audit/unavailable', 'store/unavailable')) throw error;
      log('warn', 'lifecycle.retention-failed', { key: row.key_id, code: codeOf(error) });
    }
    // One that cannot be applied must not keep the others, and is looked at again with them.
    if (!work.signal.aborted) await retention.rest(row);
  }

  async function look(): Promise<void> {
    if (!isTrusted() || !(await isAnythingDue())) return;
    await leases.during(
      'lifecycle/due',
      async (lease, lost) => {
        const signal = AbortSignal.any([lost, stop.signal]);
        for await (const row of due()) {
          if (signal.aborted) return;
          await destroyOne(row, lease);
        }
        for (const row of await retention.due()) {
          if (signal.aborted) return;
          await applyOne(row, { lease, leases, signal });
        }
      },
      leaseMilliseconds,
    );
  }

  async function lookAndSay(): Promise<void> {
    try {
      await look();
      if (broken) log('info', 'lifecycle.recovered', {});
      broken = false;
    } catch (error) {
      // Said once, not with every look.
      if (!broken && !isServiceError(error, 'lease/lost'))
        log('warn', 'lifecycle.unavailable', { code: codeOf(error) });
      broken = !isServiceError(error, 'lease/lost');
    }
    if (!stop.signal.aborted) timer = setTimeout(begin, lookMilliseconds).unref();
  }

  function begin(): void {
    looking = lookAndSay();
  }

  return {
    start: begin,
    async close() {
      stop.abort();
      clearTimeout(timer);
      await looking;
    },
  };
}

function codeOf(error: unknown): string {
  return error instanceof ServiceError ? error.code : 'internal';
}
