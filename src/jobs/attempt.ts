import type { Caller } from '../access/caller.ts';
import type { Clock } from '../core/clock.ts';
import { isServiceError, ServiceError } from '../core/errors.ts';
import type { JobRow } from '../store/job-rows.ts';
import type { Store } from '../store/store.ts';
import { type Chunks, type HeldChunk, nothingMore } from './chunks.ts';
import { type AnyKind, type ChunkContext, type Json, jobLimits, type Step } from './kinds.ts';
import { keepAlive, leaseLost } from './leases.ts';

/** How an attempt ended. `given-back`: for no fault of its own; somebody goes on from its cursor. */
export type Outcome = 'done' | 'failed' | 'retried' | 'given-back' | 'lost';

export interface AttemptLimits {
  readonly leaseMilliseconds: number;
  /** Without a commit. */
  readonly stallMilliseconds: number;
  /** The first pause after a failure; it doubles, up to 5 minutes. */
  readonly backoffMilliseconds: number;
}

export interface AttemptOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly chunks: Chunks;
  readonly limits: AttemptLimits;
  readonly job: JobRow;
  readonly kind: AnyKind;
  readonly held: HeldChunk;
  /** `monotonic()` before the claim. */
  readonly claimedAt: number;
  readonly caller: Caller;
  /** The process stops. */
  readonly stop: AbortSignal;
  /** Asked after each commit: others wait for their turn. */
  turnIsOver(): boolean;
  failed(code: string, error: unknown): void;
}

/** The attempt ends here, and another goes on from its cursor. */
class GivenBack extends Error {}

const mostAttempts = 5;
const longestPauseMilliseconds = 300_000;

/** Works on a chunk until it is done or ends in another way; commits how. Does not reject. */
export async function attemptChunk(options: AttemptOptions): Promise<Outcome> {
  const { clock, chunks, limits, kind, job, held, claimedAt, stop } = options;
  const milliseconds = limits.leaseMilliseconds;
  const keeper = keepAlive({ clock, milliseconds, claimedAt, renew: () => chunks.renew(held) });
  const work = createContext(options, keeper.signal);
  const attempts = kind.attempts ?? mostAttempts;
  try {
    // Its last attempts ended with their processes, which could not say so.
    if (held.row.attempts > attempts) throw new Error('given up before');
    const result = await orGone(
      work.gone,
      async () =>
        await kind.run(
          {
            ...{ jobId: job.id, namespaceId: job.namespace_id, ordinal: held.row.ordinal },
            input: kind.input.parse(JSON.parse(job.input)) as never,
            piece: kind.piece.parse(JSON.parse(held.row.piece)) as never,
            ...{ cursor: held.row.cursor ?? undefined, done: held.row.done },
          },
          work.context,
        ),
    );
    work.end();
    await end(options, { state: 'done', result: boundedJson(result), error_code: null });
    return 'done';
  } catch (error) {
    work.end();
    return await settleFailure(options, error, attempts).catch(() => 'lost');
  } finally {
    work.end();
    keeper.end();
  }

  async function settleFailure({ failed }: AttemptOptions, error: unknown, most: number): Promise<Outcome> {
    if (isServiceError(error, 'lease/lost')) return 'lost';
    if (error instanceof GivenBack || stop.aborted) {
      await end(options, { attempts: Math.max(0, held.row.attempts - 1) }, 0);
      return 'given-back';
    }
    const own = error instanceof ServiceError ? error.code : 'internal';
    const code = held.row.attempts > most ? (held.row.error_code ?? own) : own;
    failed(code, error);
    if (held.row.attempts >= most) {
      await end(options, { state: 'failed', error_code: code });
      return 'failed';
    }
    const pause = limits.backoffMilliseconds * 2 ** Math.max(0, held.row.attempts - 1);
    await end(options, { error_code: code }, Math.min(pause, longestPauseMilliseconds));
    return 'retried';
  }
}

async function end(
  { store, chunks, held }: AttemptOptions,
  change: Parameters<Chunks['change']>[1],
  quiet = nothingMore,
): Promise<void> {
  const prepared = await chunks.change(held, change, quiet);
  await prepared.write(store.db);
}

function createContext(options: AttemptOptions, lost: AbortSignal) {
  const { store, chunks, clock, limits, held, stop } = options;
  const stalled = new AbortController();
  let over = false;
  /** After a commit of unknown outcome nothing can be built on what was there before. */
  let unsure = false;
  let committedAt = clock.monotonic();
  const watch = setInterval(
    () => {
      if (clock.monotonic() - committedAt < limits.stallMilliseconds) return;
      stalled.abort(new ServiceError('request/timeout', 'The work got nowhere for too long.'));
    },
    Math.max(10, Math.ceil(limits.stallMilliseconds / 20)),
  ).unref();

  const write: ChunkContext['commit'] = async (
    step,
    apply,
    within = { change: (work) => store.transaction(work) },
  ) => {
    if (over || unsure || lost.aborted) throw leaseLost();
    if (stop.aborted) throw new GivenBack();
    const prepared = await chunks.change(held, stepColumns(step));
    unsure = true;
    const answer = await within
      .change(async (tx) => {
        // First: the transaction begins with a change, so that no other comes between what it reads and writes.
        await prepared.write(tx);
        return await apply(tx);
      })
      .catch((error: unknown) => {
        unsure = isServiceError(error, 'store/unavailable', 'audit/unavailable');
        throw error;
      });
    unsure = false;
    held.row = prepared.row;
    committedAt = clock.monotonic();
    return answer;
  };

  const context: ChunkContext = {
    caller: options.caller,
    signal: AbortSignal.any([lost, stop, stalled.signal]),
    async commit(step, apply, within) {
      const answer = await write(step, apply, within);
      if (options.turnIsOver()) throw new GivenBack();
      return answer;
    },
    report: (step) => write(step, async () => undefined),
  };

  return {
    context,
    /** Not waited for: what does not heed its signal must not keep the place of others. */
    gone: AbortSignal.any([lost, stalled.signal]),
    end() {
      over = true;
      clearInterval(watch);
    },
  };
}

function stepColumns({ cursor, done, total }: Step) {
  if (cursor !== undefined && cursor.length > jobLimits.cursorCharacters) {
    throw new RangeError('cursor: more than 1,024 characters');
  }
  return {
    ...(cursor !== undefined && { cursor }),
    done,
    ...(total !== undefined && { total }),
    // It gets on: what went wrong before is no matter any more.
    ...{ attempts: 0, error_code: null },
  };
}

/** @throws RangeError for more than 16 KiB */
export function boundedJson(value: Json | undefined): string | null {
  if (value === undefined) return null;
  const text = JSON.stringify(value);
  if (text.length > jobLimits.jsonCharacters) throw new RangeError('JSON: more than 16,384 characters');
  return text;
}

function orGone<T>(gone: AbortSignal, work: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(gone.reason as Error);
    if (gone.aborted) return abort();
    gone.addEventListener('abort', abort, { once: true });
    work()
      .then(resolve, reject)
      .finally(() => gone.removeEventListener('abort', abort));
  });
}
