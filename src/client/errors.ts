import type { ErrorCode, Violation } from '../core/errors.ts';

/** What goes wrong before or beside an answer of the service. */
export const clientErrorCodes = [
  'client/url-invalid',
  'client/cleartext-refused',
  'client/token-invalid',
  'client/unreachable',
  'client/untrusted',
  'client/timeout',
  'client/not-stathera',
  'client/answer-invalid',
  'client/answer-too-large',
  'client/manifest-invalid',
  'client/manifest-refused',
  'client/encryption-failed',
] as const;

export type ClientErrorCode = (typeof clientErrorCodes)[number];

export interface StatheraErrorInit {
  readonly status?: number | undefined;
  readonly requestId?: string | undefined;
  readonly errors?: readonly Violation[] | undefined;
  readonly retryAfterSeconds?: number | undefined;
  readonly operationId?: string | undefined;
  readonly attempts?: number | undefined;
}

/**
 * A call that did not succeed. Decide by `code`: the service's are those of /docs/problems, a newer service may
 * have more; those of `client/` are this client's own. It holds no token and nothing of a request's or an answer's
 * body but the problem's own texts, and has no `cause`: causes carry addresses and headers.
 */
export class StatheraError extends Error {
  readonly code: ErrorCode | ClientErrorCode;
  /** What happened and what to do next. */
  readonly detail: string;
  /** Of the answer; undefined when there was none. */
  readonly status: number | undefined;
  /** Names the last request in the service's log, if it got there; undefined when none was sent. */
  readonly requestId: string | undefined;
  /** The rules a request broke, by JSON Pointer. */
  readonly errors: readonly Violation[] | undefined;
  readonly retryAfterSeconds: number | undefined;
  readonly operationId: string | undefined;
  /** Requests sent for the call. */
  readonly attempts: number | undefined;

  constructor(code: ErrorCode | ClientErrorCode, detail: string, init: StatheraErrorInit = {}) {
    super(`${code}: ${detail}`);
    this.name = 'StatheraError';
    this.code = code;
    this.detail = detail;
    this.status = init.status;
    this.requestId = init.requestId;
    this.errors = init.errors;
    this.retryAfterSeconds = init.retryAfterSeconds;
    this.operationId = init.operationId;
    this.attempts = init.attempts;
  }
}

/** True for a StatheraError with one of `codes` (any, when none is given). */
export function isStatheraError(
  error: unknown,
  ...codes: readonly (ErrorCode | ClientErrorCode)[]
): error is StatheraError {
  return error instanceof StatheraError && (codes.length === 0 || codes.includes(error.code));
}
