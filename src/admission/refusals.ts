import { ServiceError } from '../core/errors.ts';

export const refusalReasons = ['queue-full', 'too-slow', 'waited', 'caller-rate', 'namespace-rate'] as const;
export type RefusalReason = (typeof refusalReasons)[number];

const once = { retryAfterSeconds: 1 };

// Made once: a refusal must cost little, and a stack trace is most of what an error costs.
export const overloaded = new ServiceError('service/overloaded', 'Too many requests at once.', once);
export const rateLimited = new ServiceError(
  'service/rate-limited',
  'The caller or its namespace sends more requests than it may.',
  once,
);
