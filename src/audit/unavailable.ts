import { ServiceError } from '../core/errors.ts';

/** The one error of a log that cannot be used; `detail` is public. */
export function unavailable(detail: string, cause?: unknown): ServiceError {
  return new ServiceError('audit/unavailable', detail, { cause, retryAfterSeconds: 1 });
}

export const cannotWrite = 'The audit log cannot be written right now.';
