import type { ErrorCode } from '../core/errors.ts';
import type { ClientErrorCode } from './errors.ts';
import type { OperationId } from './operations.ts';

/** What a hook sees of a request: no token, no name, no member of a body. */
export interface RequestEvent {
  readonly operationId: OperationId;
  readonly method: string;
  /** As the interface writes it: `/v1/keys/{key}/encrypt`. */
  readonly path: string;
  /** 1 for the first. */
  readonly attempt: number;
  /** Names the attempt in the service's log. */
  readonly requestId: string;
}

export interface AnswerEvent extends RequestEvent {
  /** Undefined when no answer came. */
  readonly status?: number | undefined;
  /** Undefined for a success. */
  readonly code?: ErrorCode | ClientErrorCode | 'aborted' | undefined;
  readonly durationMs: number;
}

/** Told of each attempt, for measurements and logs. What a hook throws is dropped: it must not cost an answer. */
export interface Hooks {
  readonly onRequest?: ((event: RequestEvent) => void) | undefined;
  readonly onAnswer?: ((event: AnswerEvent) => void) | undefined;
}

export function callHook<Event>(hook: ((event: Event) => void) | undefined, event: Event): void {
  try {
    hook?.(event);
  } catch {
    // See `Hooks`.
  }
}
