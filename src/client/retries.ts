import type { StatheraError } from './errors.ts';

export interface RetrySettings {
  /** Requests more than the first, at most. Default 3; 0 sends each once. */
  readonly retries?: number | undefined;
  /** Before the first of them up to so long, doubled for each that follows. Default 100. */
  readonly backoffMs?: number | undefined;
  /** What the doubling ends at. Default 5,000. */
  readonly maxBackoffMs?: number | undefined;
  /** What a Retry-After counts for at most. Default 30,000. */
  readonly maxRetryAfterMs?: number | undefined;
}

export const retryDefaults = { retries: 3, backoffMs: 100, maxBackoffMs: 5_000, maxRetryAfterMs: 30_000 };

/** The service did not do it, or may not have: the same request may do better. */
const passing: ReadonlySet<string> = new Set([
  'client/unreachable',
  'client/timeout',
  'request/timeout',
  'audit/unavailable',
  'hsm/unavailable',
  'store/unavailable',
  'service/overloaded',
  'service/rate-limited',
  'service/shutting-down',
]);

/** Answers of what stands in front of the service, while it is being restarted. */
const gatewayStatuses: ReadonlySet<number | undefined> = new Set([502, 503, 504]);

export function mayPass({ code, status }: StatheraError): boolean {
  return passing.has(code) || (code === 'client/not-stathera' && gatewayStatuses.has(status));
}

/**
 * How long to wait before the next attempt: a random part of the doubled back-off, so that those who were refused
 * together do not come back together; and after what the service asked for, not instead of it.
 * @param attempt how many were made
 * @param random from 0 to 1
 */
export function waitMs(
  attempt: number,
  retryAfterSeconds: number | undefined,
  settings: typeof retryDefaults,
  random: number,
): number {
  const backoff = Math.min(settings.maxBackoffMs, settings.backoffMs * 2 ** (attempt - 1));
  const asked = Math.min(settings.maxRetryAfterMs, (retryAfterSeconds ?? 0) * 1000);
  return asked + random * backoff;
}

/** Seconds of a Retry-After, which has a number of them or a date (RFC 9110 §10.2.3). */
export function parseRetryAfter(text: string | undefined, nowMs: number): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  const date = text.endsWith(' GMT') ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, Math.ceil((date - nowMs) / 1000));
}

/** Rejects with the signal's reason when it is aborted first. */
export async function wait(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  const abort = () => reject(signal.reason as Error);
  signal.addEventListener('abort', abort, { once: true });
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
  }
}
