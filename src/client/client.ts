import type { AttemptSettings } from './attempt.ts';
import { type Call, createAttempts } from './attempts.ts';
import { fromBase64, toBase64 } from './bytes.ts';
import type { Credentials } from './credentials.ts';
import { StatheraError } from './errors.ts';
import type { Hooks } from './hooks.ts';
import { type Limit, startLimit } from './limits.ts';
import { createLines } from './lines.ts';
import { createList } from './lists.ts';
import { type OperationId, type OperationRow, operations } from './operations.ts';
import { type EncodedRequest, encodeRequest, type Members } from './requests.ts';
import { mayPass, type RetrySettings, retryDefaults, wait, waitMs } from './retries.ts';
import { createFetchTransport, type Platform } from './transport.ts';
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
}

export type Client = Operations;

/**
 * A client of one service. It holds no connection of its own and need not be closed.
 * @throws client/url-invalid, client/cleartext-refused
 */
export function createClient(options: ClientOptions): Client {
  const transport = createFetchTransport(options.fetch ?? fetch);
  return createClientOn({ transport, base64: { fromBase64, toBase64 } }, options);
}

export function createClientOn(platform: Platform, options: ClientOptions): Client {
  const call = createCall(platform, options);
  const client: Record<string, unknown> = {};
  for (const operationId of Object.keys(operations) as OperationId[]) {
    const row: OperationRow = operations[operationId];
    const [area, page] = operationId.split('.') as [string, string?];
    const bound = (input: Members = {}, callOptions?: CallOptions) => call(operationId, input, callOptions);
    if (page !== undefined) {
      const pages = (client[area] ??= {}) as Record<string, unknown>;
      pages[page] = (callOptions?: CallOptions) => call(operationId, {}, callOptions);
    } else if (row.answer === 'lines') client[operationId] = createLines(bound);
    else client[operationId] = isList(row) ? createList(bound) : bound;
  }
  return client as unknown as Client;
}

function isList({ answer }: OperationRow): boolean {
  return typeof answer === 'object' && 'nextCursor?' in answer;
}

function createCall(platform: Platform, options: ClientOptions) {
  const { credentials, hooks = {}, timeoutMs = 30_000, attemptTimeoutMs = 15_000 } = options;
  const { origin, prefix } = serviceUrl(options.url, options.allowCleartext === true);
  const retries = retrySettings(options.retries);
  const settings: AttemptSettings = {
    ...platform,
    maxAnswerBytes: options.maxAnswerBytes ?? 64 * 1024 * 1024,
    verifyRequestId: options.verifyRequestId ?? true,
  };

  const clientId = randomId(10);
  let calls = 0;
  const attemptWithToken = createAttempts(credentials, hooks, settings);

  return async (
    operationId: OperationId,
    input: Members,
    callOptions: CallOptions = {},
  ): Promise<unknown> => {
    const row: OperationRow = operations[operationId];
    const { target, body } = encodeRequest(row, input, platform.base64);
    const call: Call = {
      ...{ operationId, input, origin, target: prefix + target, body },
      headers: headersOf(row, body, callOptions),
      id: `${clientId}-${(++calls).toString(36)}`,
    };
    const whole = startLimit(callOptions.signal, callOptions.timeoutMs ?? timeoutMs);
    try {
      for (let attempt = 1; ; attempt++) {
        try {
          return await limited(whole, attemptTimeoutMs, (signal) => attemptWithToken(call, attempt, signal));
        } catch (error) {
          if (whole.signal.aborted) throw ended(call, attempt, whole.signal, callOptions.signal);
          if (!(error instanceof StatheraError)) throw error;
          const ms = waitMs(attempt, error.retryAfterSeconds, retries, Math.random());
          const again = row.retry !== 'never' && attempt <= retries.retries && mayPass(error);
          if (!again || ms >= whole.leftMs()) throw placed(error, call, attempt);
          await wait(ms, whole.signal).catch(() => {
            throw ended(call, attempt, whole.signal, callOptions.signal);
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

/** @throws TypeError for an idempotency key that no header can carry */
function headersOf(
  { answer, retry, raw }: OperationRow,
  body: EncodedRequest['body'],
  { idempotencyKey }: CallOptions,
): Readonly<Record<string, string>> {
  if (idempotencyKey !== undefined && !/^[!-~]{1,128}$/.test(idempotencyKey)) {
    throw new TypeError('idempotencyKey must be 1 to 128 visible ASCII characters');
  }
  const json = answer === 'lines' ? 'application/x-ndjson' : 'application/json';
  return {
    accept: answer === 'text' ? 'text/plain' : json,
    ...(body !== undefined && { 'content-type': raw ? 'application/octet-stream' : json }),
    ...(retry === 'key' && { 'idempotency-key': idempotencyKey ?? randomId(16) }),
  };
}

/** What a call that is ended rejects with: the caller's own reason as it is, or that the time is up. */
function ended(call: Call, attempts: number, { reason }: AbortSignal, callers?: AbortSignal): unknown {
  return reason === callers?.reason || !(reason instanceof StatheraError)
    ? reason
    : placed(reason, call, attempts);
}

/** An error as the caller gets it: it says of which call, after how many attempts, and what to look for in the log. */
function placed(error: StatheraError, { operationId, id }: Call, attempts: number): StatheraError {
  const { code, detail, status, errors, retryAfterSeconds } = error;
  const sent = code === 'client/token-invalid' ? undefined : `${id}.${attempts}`;
  const requestId = error.requestId ?? sent;
  return new StatheraError(code, detail, {
    ...{ status, requestId, errors, retryAfterSeconds, operationId, attempts },
  });
}

function retrySettings(given: number | RetrySettings | undefined): typeof retryDefaults {
  const settings = typeof given === 'number' ? { retries: given } : given;
  const set = Object.entries(settings ?? {}).filter(([, value]) => value !== undefined);
  return { ...retryDefaults, ...Object.fromEntries(set) };
}

/** Random bytes in hex; crypto.randomUUID is not there in pages without TLS. */
function randomId(bytes: number): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (byte) =>
    byte.toString(16).padStart(2, '0'),
  ).join('');
}
