import { createHash } from 'node:crypto';
import type { Context } from 'hono';
import type { z } from 'zod';
import type { Caller, IdempotencyKey, Principal } from '../access/caller.ts';
import { lengthPrefixed } from '../core/bytes.ts';
import { ServiceError } from '../core/errors.ts';
import { announcedBytes, type BodyLimits, checkMediaType, readBody } from './body.ts';
import { decoded, decodedQuery } from './decoding.ts';
import { checkContentDigest } from './digest.ts';
import type { Answer, Desk, Exchange, RouteWork } from './exchange.ts';
import { parseJson } from './json.ts';
import { linesWork } from './lines-work.ts';
import type { AnyRoute } from './route.ts';

export type Authenticate = (authorization: string | undefined) => Promise<Principal>;

const defaultBodyLimitBytes = 1024 * 1024;
export const defaultTimeoutSeconds = 30;

/** Bytes of body a route accepts. */
export function bodyLimitBytes(route: AnyRoute): number {
  return route.request.body === undefined ? 0 : (route.bodyLimitBytes ?? defaultBodyLimitBytes);
}

export interface RouteSurroundings {
  readonly authenticate: Authenticate;
  readonly desk: Pick<Desk, 'admission' | 'deadlines'>;
  /** Until a body is complete. */
  readonly bodyTimeoutMs: number;
  /** While nothing comes of a body in lines. */
  readonly lineTimeoutMs: number;
}

/**
 * What a route does with a request, in one function without middleware: who calls, is there room, decode, handle,
 * encode. Strangers, and who comes when there is too much, are refused before a byte of their body is read.
 */
export function serveRoute(
  route: AnyRoute,
  { authenticate, desk, bodyTimeoutMs, lineTimeoutMs }: RouteSurroundings,
): (exchange: Exchange, context: Context) => Promise<Answer> {
  const { admission, deadlines } = desk;
  const work =
    route.lines === true
      ? linesWork(route, { stallMs: lineTimeoutMs, deadlines })
      : workOf(route, { bytes: bodyLimitBytes(route), milliseconds: bodyTimeoutMs, deadlines });
  return async (exchange, context) => {
    const principal = await authenticate(exchange.incoming.headers.authorization);
    exchange.principal = principal;
    const entered =
      route.operator === true
        ? admission.enterAsOperator(principal, exchange)
        : admission.enter(principal, exchange, announcedBytes(exchange.incoming));
    const place = entered instanceof Promise ? await entered : entered;
    try {
      return await work(exchange, context, principal);
    } finally {
      place.leave();
    }
  };
}

function workOf(route: AnyRoute, limits: BodyLimits): RouteWork {
  const { params: paramsSchema, query: querySchema, body: bodySchema } = route.request;
  const { status } = route.answer;
  return async (exchange, context, principal) => {
    const { incoming, outgoing } = exchange;
    const params = paramsSchema && decoded(paramsSchema, context.req.param(), '#path');
    const query = decodedQuery(querySchema, incoming.url ?? '');
    const raw = await readBody(incoming, outgoing, limits);
    try {
      exchange.bytesIn = raw.length;
      const digest = incoming.headers['content-digest'];
      if (digest !== undefined) checkContentDigest(String(digest), raw);
      const caller: Caller = {
        principal,
        requestId: exchange.requestId,
        source: exchange.source,
        idempotency: route.idempotent === true ? idempotencyOf(exchange, context.req.path, raw) : undefined,
      };
      const body = bodySchema && decodedBody(bodySchema, exchange, raw, route);
      const input = new Input(exchange, caller, params, query, body);
      if (route.stream && accepts(incoming, 'text/event-stream')) {
        const lastEventId = incoming.headers['last-event-id'];
        const given = typeof lastEventId === 'string' ? lastEventId : undefined;
        return { status, type: 'text/event-stream', body: await route.stream(input, given) };
      }
      const value = await route.handle(input);
      return { status, type: 'application/json', body: status === 204 ? undefined : JSON.stringify(value) };
    } finally {
      // It may hold plaintext; the strings made of it cannot be wiped.
      raw.fill(0);
    }
  };
}

/** As a browser's EventSource says it. */
function accepts({ headers, method }: Exchange['incoming'], type: string): boolean {
  if (method !== 'GET') return false;
  return headers.accept?.split(',').some((each) => each.split(';')[0]?.trim() === type) ?? false;
}

/** What a handler gets. A class, for an accessor in a literal costs V8 a new shape a request (10 µs measured). */
class Input {
  readonly caller: Caller;
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
  readonly #exchange: Exchange;

  constructor(exchange: Exchange, caller: Caller, params: unknown, query: unknown, body: unknown) {
    this.#exchange = exchange;
    this.caller = caller;
    this.params = params;
    this.query = query;
    this.body = body;
  }

  get signal(): AbortSignal {
    return this.#exchange.signal;
  }
}

function decodedBody(
  schema: z.ZodType,
  { incoming }: Exchange,
  raw: Buffer,
  { mediaType = 'application/json', bodyValues: values, exactNumbers: exact = false }: AnyRoute,
): unknown {
  if (raw.length > 0) {
    checkMediaType(incoming, mediaType);
    if (mediaType === 'application/octet-stream') return decoded(schema, raw, '');
    return decoded(schema, parseJson(raw, { ...(values !== undefined && { values }), exact }), '');
  }
  const result = schema.safeParse(undefined);
  if (!result.success) throw new ServiceError('request/invalid', 'This operation needs a body.');
  return result.data;
}

const visibleAscii = /^[!-~]{1,128}$/;

/** The Idempotency-Key and what it stands for: the request's method, path and body as they were sent. */
function idempotencyOf(exchange: Exchange, path: string, raw: Buffer): IdempotencyKey | undefined {
  const key = exchange.incoming.headers['idempotency-key'];
  if (key === undefined) return undefined;
  if (typeof key !== 'string' || !visibleAscii.test(key)) {
    throw new ServiceError(
      'request/invalid',
      'The Idempotency-Key must be 1 to 128 visible ASCII characters.',
      {
        errors: [{ pointer: '#header/Idempotency-Key', detail: 'must be 1 to 128 visible ASCII characters' }],
      },
    );
  }
  const method = exchange.incoming.method ?? '';
  return {
    key,
    fingerprint: createHash('sha256')
      .update(lengthPrefixed(method, path, raw))
      .digest(),
  };
}
