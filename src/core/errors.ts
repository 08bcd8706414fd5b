/**
 * Every error code a client can meet. The code is part of the interface: it never changes its meaning.
 * `http/problem.ts` is the only place that maps a code to a status.
 */
export const errorCodes = [
  'request/invalid',
  'request/not-found',
  'request/method-not-allowed',
  'request/too-large',
  'request/unsupported-media-type',
  'request/digest-mismatch',
  'request/timeout',
  'request/idempotency-conflict',
  'request/already-completed',
  'access/unauthenticated',
  'access/denied',
  'access/namespace-not-found',
  'access/namespace-exists',
  'access/token-not-found',
  'key/not-found',
  'key/exists',
  'key/disabled',
  'key/version-disabled',
  'key/usage-exhausted',
  'key/wrong-purpose',
  'key/version-expired',
  'key/external',
  'key/nothing-imported',
  'key/version-state',
  'key/version-in-use',
  'key/conflict',
  'envelope/decryption-failed',
  'coverage/too-many',
  'exchange/refused',
  'signature/invalid',
  'fields/schema-not-found',
  'fields/schema-exists',
  'fields/schema-invalid',
  'fields/conflict',
  'fields/value-refused',
  'fields/decryption-failed',
  'lease/lost',
  'mac/invalid',
  'import/not-found',
  'import/refused',
  'dataset/not-found',
  'dataset/exists',
  'dataset/conflict',
  'dataset/epoch-not-found',
  'dataset/epoch-closed',
  'dataset/epoch-shredded',
  'dataset/epoch-open',
  'dataset/query-not-found',
  'dataset/query-refused',
  'dataset/budget-exhausted',
  'contribution/refused',
  'contribution/exists',
  'contribution/too-many',
  'webhook/not-found',
  'webhook/address-refused',
  'webhook/too-many',
  'job/not-found',
  'job/finished',
  'job/too-many',
  'audit/unavailable',
  'hsm/unavailable',
  'store/unavailable',
  'service/overloaded',
  'service/rate-limited',
  'service/shutting-down',
  'internal',
] as const;

export type ErrorCode = (typeof errorCodes)[number];

/** One violated rule of a request; `pointer` is an RFC 6901 JSON Pointer into the body (or `#query/…`). */
export interface Violation {
  readonly pointer: string;
  readonly detail: string;
}

export interface ServiceErrorOptions {
  readonly cause?: unknown;
  readonly errors?: readonly Violation[];
  /** Seconds after which trying again makes sense. */
  readonly retryAfterSeconds?: number;
}

/**
 * The only error that may reach a client. `detail` is public: no key bytes, tokens, SQL or PKCS#11 text;
 * those belong in `cause`, which is logged by class and code only.
 */
export class ServiceError extends Error {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly errors: readonly Violation[] | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, detail: string, options: ServiceErrorOptions = {}) {
    super(`${code}: ${detail}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'ServiceError';
    this.code = code;
    this.detail = detail;
    this.errors = options.errors;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** True for a ServiceError with one of `codes` (any, when none is given). */
export function isServiceError(error: unknown, ...codes: ErrorCode[]): error is ServiceError {
  return error instanceof ServiceError && (codes.length === 0 || codes.includes(error.code));
}
