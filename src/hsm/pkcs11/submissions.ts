import { wipe } from '../../core/bytes.ts';
import { ServiceError } from '../../core/errors.ts';
import { HsmRejected, type KeyRef } from '../hsm.ts';
import { failedOnce, unavailable } from './bring-up.ts';
import type { QueuedOperation } from './fast-lane.ts';
import type { HandleCache, HeldKey } from './handles.ts';
import { type ItemResult, mayRefuse, noHandle } from './packing.ts';
import type { Draft } from './requests.ts';
import type { TokenLink } from './token-link.ts';

/** Bytes of input held for operations in hand; with the count's bound, what the queue can weigh. */
const maxQueuedBytes = 64 * 1024 * 1024;

/** Admission to the adapter, and the way of a fast operation from its keys to its answer. */
export interface Submissions {
  /** Runs a draft under the keys it names, in order. */
  submit(draft: Draft, ...keys: readonly KeyRef[]): Promise<Uint8Array>;
  /** Runs other work within the same bounds. */
  admit<Result>(work: () => Promise<Result>): Promise<Result>;
  queued(): number;
  /**
   * Holds back what comes from now on, within the same bounds, until `resume`; resolves then, or before when
   * nothing else is in hand.
   */
  pause(): Promise<void>;
  /** Lets go what was held back: to the device, or to its refusal when that is away. */
  resume(): void;
  /** Refuses everything from now on; resolves when nothing is in hand or `ms` have passed. */
  drain(ms: number): Promise<void>;
}

export function createSubmissions(
  link: () => Pick<TokenLink, 'enqueue' | 'lost' | 'state' | 'unavailable'>,
  cache: HandleCache,
  maxQueued: number,
): Submissions {
  let queued = 0;
  let queuedBytes = 0;
  let closing = false;
  /** What is held back, while something is. */
  let held: (() => void)[] | undefined;
  /** Looks, whenever an operation ended, whether what is waited for has come. */
  const watches = new Set<() => void>();

  function refusal(bytes: number): ServiceError | undefined {
    if (closing) return unavailable('The HSM connection is closed.');
    if (link().state() !== 'ready') return link().unavailable();
    if (queued < maxQueued && queuedBytes + bytes <= maxQueuedBytes) return undefined;
    return new ServiceError('service/overloaded', 'Too many HSM operations are waiting.', {
      retryAfterSeconds: 1,
    });
  }

  function enter(bytes: number): void {
    queued += 1;
    queuedBytes += bytes;
  }

  function leave(bytes: number): void {
    queued -= 1;
    queuedBytes -= bytes;
    for (const look of watches) look();
  }

  function when(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve();
    return new Promise((resolve) => {
      const look = (): void => {
        if (condition() && watches.delete(look)) resolve();
      };
      watches.add(look);
    });
  }

  /** Starts now, or when nothing is held back any more. */
  function begin(work: () => void): void {
    if (held === undefined) work();
    else held.push(work);
  }

  function start(operation: Submission): void {
    const { keys } = operation;
    if (link().state() !== 'ready') {
      operation.onFailure(link().unavailable());
      return;
    }
    for (const key of keys) {
      const held = cache.tryHold(key);
      if (held === undefined) break;
      operation.held.push(held);
    }
    if (operation.held.length === keys.length) dispatch(operation);
    else void resolveKeys(operation);
  }

  async function resolveKeys(operation: Submission): Promise<void> {
    try {
      for (const key of operation.keys.slice(operation.held.length)) {
        operation.held.push(await cache.hold(key));
      }
    } catch (error) {
      operation.onFailure(error instanceof Error ? error : unavailable());
      return;
    }
    dispatch(operation);
  }

  function dispatch(operation: Submission): void {
    const [first, second] = operation.held;
    operation.generation = first?.generation ?? 0;
    operation.handle = first?.handle ?? noHandle;
    operation.secondHandle = second?.handle ?? noHandle;
    // Handles of two generations cannot work together; the older one is out of the cache by now.
    if (second !== undefined && second.generation !== operation.generation) retry(operation);
    else link().enqueue(operation);
  }

  function retry(operation: Submission): void {
    const held = operation.held.splice(0);
    for (const key of held) {
      cache.forget(key);
      cache.release(key);
    }
    operation.attempts += 1;
    if (operation.attempts > 1) operation.onFailure(link().lost(0));
    else start(operation);
  }

  function finish(operation: Submission): void {
    for (const key of operation.held.splice(0)) cache.release(key);
    wipe(operation.payload);
    leave(operation.payload.length);
  }

  return {
    submit(draft, ...keys) {
      const refused = refusal(draft.payload.length);
      if (refused !== undefined) {
        wipe(draft.payload);
        return Promise.reject(refused);
      }
      enter(draft.payload.length);
      return new Promise((resolve, reject) => {
        const operation: Submission = {
          ...draft,
          keys,
          held: [],
          attempts: 0,
          generation: 0,
          handle: noHandle,
          secondHandle: noHandle,
          onResult(result: ItemResult) {
            if (result.status === 'stale') {
              retry(operation);
              return;
            }
            finish(operation);
            if (result.status === 'ok') resolve(result.output);
            else if (result.status === 'rejected') reject(rejection(operation));
            else reject(link().lost(result.returnValue));
          },
          onFailure(error: Error) {
            finish(operation);
            reject(isTold(error) ? error : unavailable());
          },
        };
        begin(() => start(operation));
      });
    },
    async admit(work) {
      const refused = refusal(0);
      if (refused !== undefined) throw refused;
      enter(0);
      try {
        if (held !== undefined) await new Promise<void>(begin);
        return await work();
      } catch (error) {
        throw isTold(error) ? error : unavailable();
      } finally {
        leave(0);
      }
    },
    queued: () => queued,
    pause() {
      held ??= [];
      return when(() => held === undefined || queued === held.length);
    },
    resume() {
      const waiting = held ?? [];
      held = undefined;
      for (const work of waiting) work();
    },
    async drain(ms) {
      closing = true;
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise((resolve) => {
        timer = setTimeout(resolve, ms);
      });
      await Promise.race([when(() => queued === 0), late]);
      clearTimeout(timer);
    },
  };
}

interface Submission extends QueuedOperation {
  readonly keys: readonly KeyRef[];
  readonly held: HeldKey[];
  attempts: number;
}

/** A working device refused the input: a forgery, or one failure that is not the caller's. */
function rejection({ kind }: Submission): Error {
  return mayRefuse(kind) ? new HsmRejected() : failedOnce();
}

/** Errors callers are told as they are; of any other they learn only that the HSM is not available. */
function isTold(error: unknown): boolean {
  return error instanceof ServiceError || error instanceof HsmRejected || error instanceof RangeError;
}
