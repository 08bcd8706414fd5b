import { ServiceError } from '../core/errors.ts';

/** Between a destruction's being scheduled and its being done: up to 30 days, which is the default. */
export const mostWindowSeconds = 30 * 86_400;

export interface LifecycleLimits {
  /** Of the window. */
  readonly leastWindowSeconds: number;
  /** How often retention is looked at. */
  readonly retentionCheckSeconds: number;
  /** Between two looks for what is due. Default 1,000. */
  readonly lookMilliseconds?: number;
}

/** @throws request/invalid */
export function requireWindow(seconds: number, { leastWindowSeconds }: LifecycleLimits): void {
  if (seconds >= leastWindowSeconds && seconds <= mostWindowSeconds) return;
  const detail = `must be a whole number from ${leastWindowSeconds} to ${mostWindowSeconds}`;
  throw new ServiceError('request/invalid', 'The request breaks the rules listed in errors.', {
    errors: [{ pointer: '/windowSeconds', detail }],
  });
}
