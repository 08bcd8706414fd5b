import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import type { JobChunkRow } from '../store/job-rows.ts';
import type { Store } from '../store/store.ts';
import { type AttemptLimits, attemptChunk, type Outcome } from './attempt.ts';
import { systemCaller } from './caller.ts';
import type { Chunks } from './chunks.ts';
import type { AnyKind } from './kinds.ts';
import { createObserver } from './observer.ts';
import type { Settlement } from './settle.ts';

export interface RunnerLimits extends AttemptLimits {
  /** Chunks at work at once in this process. */
  readonly concurrency: number;
  /** How often the database is asked at least, and, while nothing happens here, at most. */
  readonly pollMilliseconds: number;
  /** After so long a chunk lets other namespaces' go first. */
  readonly turnMilliseconds: number;
  /** How long a stop waits for handlers that do not heed it. */
  readonly closeMilliseconds: number;
}

export type JobLogger = (level: 'info' | 'warn' | 'error', event: string, fields: object) => void;

/** Works on the chunks of all processes' jobs when this one is free. */
export interface Runner {
  start(): void;
  /** Looks for work now. */
  wake(): void;
  running(): number;
  /** Gives back what is at work. */
  close(): Promise<void>;
}

interface Work {
  readonly namespaceId: string;
  readonly startedAt: number;
  readonly ended: Promise<void>;
}

/** Looked at in one namespace, to see whether their time is over. */
const watchedRows = 256;

export function createRunner({
  store,
  clock,
  chunks,
  settlement,
  kinds,
  limits,
  log,
  onOutcome,
}: {
  store: Store;
  clock: Clock;
  chunks: Chunks;
  settlement: Settlement;
  kinds: ReadonlyMap<string, AnyKind>;
  limits: RunnerLimits;
  log: JobLogger;
  onOutcome: (outcome: Outcome) => void;
}): Runner {
  const observer = createObserver(clock);
  const stop = new AbortController();
  const working = new Map<string, Work>();
  let timer: NodeJS.Timeout | undefined;
  let looking: Promise<void> | undefined;
  let again = false;
  let started = false;
  /** Whose turn was last. */
  let lastNamespace = '';
  /** Namespaces that had work left when this process had no place for it. */
  let crowded: ReadonlySet<string> = new Set();
  let broken = false;
  let settledAt = Number.NEGATIVE_INFINITY;

  function wake(): void {
    if (!started || stop.signal.aborted) return;
    if (looking) {
      again = true;
      return;
    }
    clearTimeout(timer);
    again = false;
    looking = lookAndSay().then((nextMilliseconds) => {
      looking = undefined;
      if (stop.signal.aborted) return;
      if (again) wake();
      else timer = setTimeout(wake, nextMilliseconds).unref();
    });
  }

  async function lookAndSay(): Promise<number> {
    try {
      const next = await look();
      if (broken) log('info', 'jobs.recovered', {});
      broken = false;
      return next;
    } catch (error) {
      // Said once, not with every look.
      if (!broken) log('warn', 'jobs.unavailable', { code: codeOf(error) });
      broken = true;
      return limits.pollMilliseconds;
    }
  }

  /** @returns when to look again at the latest, if nothing happens before */
  async function look(): Promise<number> {
    const names = [...kinds.keys()];
    const namespaces = await chunks.namespaces(names, lastNamespace);
    if (namespaces.length === 0) {
      lastNamespace = '';
      crowded = new Set();
      return limits.pollMilliseconds;
    }
    if (clock.monotonic() - settledAt >= limits.pollMilliseconds) {
      settledAt = clock.monotonic();
      await settlement.finishLeft(names);
    }
    const places = limits.concurrency - working.size;
    crowded = new Set(places > 0 ? [] : namespaces);
    if (places <= 0) return limits.pollMilliseconds;
    const { queues, nextMilliseconds } = await candidates(namespaces, names, places);
    await takeInTurn(queues, places);
    return nextMilliseconds;
  }

  interface Candidate {
    readonly row: JobChunkRow;
    readonly askedAt: number;
  }

  async function candidates(namespaces: readonly string[], names: readonly string[], places: number) {
    const queues: Candidate[][] = [];
    let nextMilliseconds = limits.pollMilliseconds;
    for (const namespaceId of namespaces) {
      if (queues.length >= places) break;
      const askedAt = clock.monotonic();
      const free = await chunks.free(namespaceId, names, places);
      const watched = await chunks.watched(namespaceId, names, watchedRows);
      const over = watched.filter((row) => {
        const name = nameOf(row);
        const version = `${row.fence}.${row.beat}.${row.revision}`;
        const left = row.quiet_milliseconds - observer.quietMilliseconds(name, version, askedAt);
        if (left > 0 && !working.has(name)) nextMilliseconds = Math.min(nextMilliseconds, Math.ceil(left));
        return left <= 0 && !working.has(name);
      });
      // What was left lying comes before what nobody has begun.
      const queue = [...over, ...free].map((row) => ({ row, askedAt }));
      if (queue.length > 0) queues.push(queue);
    }
    return { queues, nextMilliseconds: Math.max(1, nextMilliseconds) };
  }

  /** One of each namespace, then another of each, while there is place. */
  async function takeInTurn(queues: readonly Candidate[][], places: number): Promise<void> {
    let left = places;
    for (let turn = 0; left > 0; turn += 1) {
      const round = queues.flatMap((queue) => queue[turn] ?? []);
      if (round.length === 0) return;
      for (const candidate of round) {
        if (left <= 0 || stop.signal.aborted) return;
        const { namespace_id: namespaceId } = candidate.row;
        if (await take(candidate)) left -= 1;
        lastNamespace = namespaceId;
      }
    }
  }

  async function take({ row }: Candidate): Promise<boolean> {
    const name = nameOf(row);
    if (working.has(name)) return false;
    const claimedAt = clock.monotonic();
    try {
      const held = await chunks.claim(row, limits.leaseMilliseconds);
      if (!held) return false;
      const job = await settlement.begin(row.job_id);
      const kind = job && kinds.get(job.kind);
      // Cancelled a moment ago; what it had is withdrawn.
      if (!job || !kind || job.namespace_id !== row.namespace_id) return false;
      const startedAt = clock.monotonic();
      const attempt = attemptChunk({
        ...{ store, clock, chunks, limits, job, kind, held, claimedAt, stop: stop.signal },
        caller: systemCaller(job, kind.scopes),
        turnIsOver: () =>
          clock.monotonic() - startedAt >= limits.turnMilliseconds &&
          [...crowded].some((waiting) => ![...working.values()].some((work) => work.namespaceId === waiting)),
        failed: (code, error) =>
          log('warn', 'jobs.attempt-failed', {
            ...{ job: job.id, kind: job.kind, chunk: row.ordinal, attempt: held.row.attempts, code },
            class: error instanceof Error ? error.constructor.name : typeof error,
          }),
      });
      working.set(name, { namespaceId: row.namespace_id, startedAt, ended: ended(name, row, attempt) });
      return true;
    } catch (error) {
      // One row that cannot be used must not keep the others from their turn.
      if (error instanceof ServiceError && error.code !== 'internal') throw error;
      log('error', 'jobs.chunk-unusable', { job: row.job_id, chunk: row.ordinal, code: codeOf(error) });
      return false;
    }
  }

  async function ended(name: string, row: JobChunkRow, attempt: Promise<Outcome>): Promise<void> {
    const outcome = await attempt;
    onOutcome(outcome);
    try {
      if (outcome === 'done' || outcome === 'failed') await settlement.finish(row.job_id);
    } catch (error) {
      log('warn', 'jobs.not-finished', { job: row.job_id, code: codeOf(error) });
    } finally {
      working.delete(name);
      wake();
    }
  }

  return {
    start() {
      started = true;
      wake();
    },
    wake,
    running: () => working.size,
    async close() {
      stop.abort(new ServiceError('service/shutting-down', 'The service is shutting down.'));
      clearTimeout(timer);
      await looking;
      const all = Promise.all([...working.values()].map((work) => work.ended));
      await Promise.race([all, delay(limits.closeMilliseconds, undefined, { ref: false })]);
    },
  };
}

function nameOf(row: JobChunkRow): string {
  return `${row.job_id}/${row.ordinal}`;
}

function codeOf(error: unknown): string {
  return error instanceof ServiceError ? error.code : 'internal';
}
