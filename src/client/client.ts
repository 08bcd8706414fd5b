import { type Attempt, type AttemptSettings, send } from './attempt.ts';
import { type Credentials, tokenOf } from './credentials.ts';
import { StatheraError } from './errors.ts';
import { callHook, type Hooks } from './hooks.ts';
import { type Limit, startLimit } from './limits.ts';
import { createList } from './lists.ts';
import { type OperationId, type OperationRow, operations } from './operations.ts';
import { encodeRequest, type Members } from './requests.ts';
import { mayPass, type RetrySettings, retryDefaults, wait, waitMs } from './retries.ts';
import { createFetchTransport, type Transport } from './transport.ts';
import type { CallOptions, Operations } from './types.ts';
import { serviceUrl } from './url.ts';

export interface ClientOptions {
  /** `https://kms.example` or, on this machine, `http://127.0.0.1:8300`; with a path when a proxy has one. */
  readonly url: string;
  readonly credentials: Credentials;
  /** For all attempts of a call together. Default 30,000. */
  readonly timeoutMs?: number | undefined;
  /** For each. Default 15,000. */
  readonly attemptTimeoutMs?: number | undefined;
  /** Attempts more than the first, or all their settings. */
  readonly retries?: number | RetrySettings | undefined;
  readonly hooks?: Hooks | undefined;
  /** In place of the global one. */
  readonly fetch?: typeof fetch | undefined;
  /** Allows `http:` to another machine, where everyone between sees token and plaintext. */
  readonly allowCleartext?: boolean | undefined;
  /** Bytes of one answer at most. Default 64 MiB. */
  readonly maxAnswerBytes?: number | undefined;
  /** False where something between gives requests its own X-Request-Id. Default true. */
  readonly verifyRequestId?: boolean | undefined;
  /** In place of `fetch`. */
  readonly transport?: Transport | undefined;
}

export type Client = Operations;

/**
 * A client of one service. It holds no connection of its own and need not be closed.
 * @throws client/url-invalid, client/cleartext-refused
 */
export function createClient(options: ClientOptions): Client {
  const call = createCall(options);
  const client: Record<string, unknown> = {};
  for (const operationId of Object.keys(operations) as OperationId[]) {
    const row: OperationRow = operations[operationId];
    const [area, page] = operationId.split('.') as [string, string?];
    const bound = (input: Members = {}, callOptions?: CallOptions) => call(operationId, input, callOptions);
    if (page !== undefined) {
      const pages = (client[area] ??= {}) as Record<string, unknown>;
      pages[page] = (callOptions?: CallOptions) => call(operationId, {}, callOptions);
    } else client[operationId] = isList(row) ? createList(bound) : bound;
  }
  return client as unknown as Client;
}

function isList({ answer }: OperationRow): boolean {
  return typeof answer === 'object' && 'nextCursor?' in answer;
}

interface Call {
  readonly operationId: OperationId;
  readonly input: Members;
  readonly url: URL;
  readonly body: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** Begins the request ids of all attempts. */
  readonly id: string;
}

function createCall(options: ClientOptions) {
  const { credentials, hooks = {}, timeoutMs = 30_000, attemptTimeoutMs = 15_000 } = options;
  const base = serviceUrl(options.url, options.allowCleartext === true);
  const retries = retrySettings(options.retries);
  const settings: AttemptSettings = {
    transport: options.transport ?? createFetchTransport(options.fetch ?? fetch),
    maxAnswerBytes: options.maxAnswerBytes ?? 64 * 1024 * 1024,
    verifyRequestId: options.verifyRequestId ?? true,
  };

  /** One request with its token, seen by the hooks. */
  async function attemptOnce(
    call: Call,
    attempt: number,
    refresh: boolean,
    signal: AbortSignal,
  ): Promise<unknown> {
    const { operationId, input, url, body } = call;
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
      request: { method: row.method, url, headers, body, signal },
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
  async function attemptWithToken(call: Call, attempt: number, signal: AbortSignal): Promise<unknown> {
    try {
      return await attemptOnce(call, attempt, false, signal);
    } catch (error) {
      const refused = error instanceof StatheraError && error.code === 'access/unauthenticated';
      if (!refused || typeof credentials === 'string') throw error;
      return attemptOnce(call, attempt, true, signal);
    }
  }

  return async (
    operationId: OperationId,
    input: Members,
    callOptions: CallOptions = {},
  ): Promise<unknown> => {
    const call = prepare(base, operationId, input, callOptions);
    const { retry } = operations[operationId];
    const whole = startLimit(callOptions.signal, callOptions.timeoutMs ?? timeoutMs);
    try {
      for (let attempt = 1; ; attempt++) {
        try {
          return await limited(whole, attemptTimeoutMs, (signal) => attemptWithToken(call, attempt, signal));
        } catch (error) {
          if (whole.signal.aborted) throw placed(whole.signal.reason, operationId, attempt);
          if (!(error instanceof StatheraError)) throw error;
          const ms = waitMs(attempt, error.retryAfterSeconds, retries, Math.random());
          const again = retry !== 'never' && attempt <= retries.retries && mayPass(error);
          if (!again || ms >= whole.leftMs()) throw placed(error, operationId, attempt);
          await wait(ms, whole.signal).catch(() => {
            throw placed(whole.signal.reason, operationId, attempt);
          });
        }
      }
    } finally {
      whole.end();
    }
  };
}

async function limited<Value>(
  whole: Limit,
  attemptTimeoutMs: number,
  work: (signal: AbortSignal) => Promise<Value>,
): Promise<Value> {
  const limit = startLimit(whole.signal, attemptTimeoutMs);
  try {
    return await limit.race(work(limit.signal));
  } finally {
    limit.end();
  }
}

function prepare(base: string, operationId: OperationId, input: Members, options: CallOptions): Call {
  const row: OperationRow = operations[operationId];
  const { target, body } = encodeRequest(row, input);
  const headers = {
    accept: row.answer === 'text' ? 'text/plain' : 'application/json',
    ...(body !== undefined && { 'content-type': 'application/json' }),
    ...(row.retry === 'key' && { 'idempotency-key': options.idempotencyKey ?? randomId() }),
  };
  return { operationId, input, url: new URL(base + target), body, headers, id: randomId() };
}

/** An error as the caller gets it: it says of which call, and after how many attempts. */
function placed(error: unknown, operationId: OperationId, attempts: number): unknown {
  if (!(error instanceof StatheraError)) return error;
  const { code, detail, status, requestId, errors, retryAfterSeconds } = error;
  return new StatheraError(code, detail, {
    ...{ status, requestId, errors, retryAfterSeconds, operationId, attempts },
  });
}

function retrySettings(given: number | RetrySettings | undefined): typeof retryDefaults {
  const settings = typeof given === 'number' ? { retries: given } : given;
  const set = Object.entries(settings ?? {}).filter(([, value]) => value !== undefined);
  return { ...retryDefaults, ...Object.fromEntries(set) };
}

/** 128 random bits; crypto.randomUUID is not there in pages without TLS. */
function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, '0'),
  ).join('');
}
