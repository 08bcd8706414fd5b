import { type Attempt, type AttemptSettings, send } from './attempt.ts';
import { type Credentials, tokenOf } from './credentials.ts';
import { StatheraError } from './errors.ts';
import { callHook, type Hooks } from './hooks.ts';
import { type OperationId, type OperationRow, operations } from './operations.ts';
import type { EncodedRequest, Members } from './requests.ts';

/** What stays the same in all attempts of a call. */
export interface Call {
  readonly operationId: OperationId;
  readonly input: Members;
  readonly origin: URL;
  readonly target: string;
  readonly body: EncodedRequest['body'];
  readonly headers: Readonly<Record<string, string>>;
  /** Begins the request ids of all attempts. */
  readonly id: string;
}

/** Makes attempts: each with a token and seen by the hooks. */
export function createAttempts(credentials: Credentials, hooks: Hooks, settings: AttemptSettings) {
  /** One request with its token, seen by the hooks. */
  async function attemptOnce(
    call: Call,
    attempt: number,
    refresh: boolean,
    signal: AbortSignal,
  ): Promise<unknown> {
    const { operationId, input, origin, target, body } = call;
    const row: OperationRow = operations[operationId];
    const requestId = `${call.id}.${attempt}${refresh ? 'r' : ''}`;
    const token = row.open ? undefined : await tokenOf(credentials, { refresh, signal });
    const headers = {
      ...call.headers,
      'x-request-id': requestId,
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    };
    const sent: Attempt = {
      ...{ operationId, input, requestId, token },
      request: { method: row.method, origin, target, headers, body, signal },
    };
    const event = { operationId, method: row.method, path: row.path, attempt, requestId };
    callHook(hooks.onRequest, event);
    const started = performance.now();
    try {
      const { status, value } = await send(sent, settings);
      callHook(hooks.onAnswer, { ...event, status, durationMs: performance.now() - started });
      return value;
    } catch (error) {
      const known = error instanceof StatheraError ? error : undefined;
      callHook(hooks.onAnswer, {
        ...event,
        status: known?.status,
        code: known?.code ?? 'aborted',
        durationMs: performance.now() - started,
      });
      throw error;
    }
  }

  /** An attempt; when its token is refused, one more with a new one. */
  return async (call: Call, attempt: number, signal: AbortSignal): Promise<unknown> => {
    try {
      return await attemptOnce(call, attempt, false, signal);
    } catch (error) {
      const refused = error instanceof StatheraError && error.code === 'access/unauthenticated';
      if (!refused || typeof credentials === 'string') throw error;
      return attemptOnce(call, attempt, true, signal);
    }
  };
}
