import { StatheraError } from './errors.ts';

/** Timers take no more: they would fire at once. 24 days. */
const longestMs = 2 ** 31 - 1;

/** How long something may take, and who else may end it. */
export interface Limit {
  /** Aborted with client/timeout when the time is up, or as the outer signal is. */
  readonly signal: AbortSignal;
  leftMs(): number;
  /** What the work gives, or the signal's reason: also of work that does not listen to signals. */
  race<Value>(work: Promise<Value>): Promise<Value>;
  /** Nothing is left of it then. */
  end(): void;
}

/** @throws the reason of an outer signal that is aborted already */
export function startLimit(outer: AbortSignal | undefined, limitMs: number): Limit {
  outer?.throwIfAborted();
  const ms = Math.min(limitMs, longestMs);
  const controller = new AbortController();
  const { signal } = controller;
  const endsAt = performance.now() + ms;
  const timer = setTimeout(() => {
    controller.abort(new StatheraError('client/timeout', `No answer came within ${Math.round(ms)} ms.`));
  }, ms);
  const abort = () => controller.abort(outer?.reason);
  outer?.addEventListener('abort', abort, { once: true });
  return {
    signal,
    leftMs: () => endsAt - performance.now(),
    async race(work) {
      const aborted = Promise.withResolvers<never>();
      const reject = () => aborted.reject(signal.reason as Error);
      signal.addEventListener('abort', reject, { once: true });
      try {
        return await Promise.race([work, aborted.promise]);
      } finally {
        signal.removeEventListener('abort', reject);
      }
    },
    end() {
      clearTimeout(timer);
      outer?.removeEventListener('abort', abort);
    },
  };
}
