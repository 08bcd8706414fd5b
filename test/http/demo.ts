import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import pino from 'pino';
import { onTestFinished } from 'vitest';
import { z } from 'zod';
import type { Principal } from '../../src/access/caller.ts';
import { toBase64 } from '../../src/core/bytes.ts';
import { errorCodes, ServiceError } from '../../src/core/errors.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import { type ListenOptions, listen } from '../../src/http/listen.ts';
import { type AnyRoute, defineRoute } from '../../src/http/route.ts';
import { createHttpApp, type HttpAppOptions } from '../../src/http/server.ts';
import {
  base64Bytes,
  base64Text,
  contextSchema,
  keyNameSchema,
  keyRefSchema,
  listQuery,
  plainText,
  tagsSchema,
  timestamp,
  timestampText,
  toTimestamp,
} from '../../src/http/validation.ts';

export const token = 'demo-token';
export const bodyLimit = 4096;

const principal: Principal = {
  kind: 'token',
  id: '0190a000-0000-7000-8000-000000000001',
  name: 'demo',
  namespaceId: '0190a000-0000-7000-8000-000000000002',
  scopes: new Set(),
  keyPatterns: undefined,
};

/** Work that is released by the test, and what became of its signal. */
export interface Gate {
  entered: number;
  readonly aborted: unknown[];
  release(): void;
}

export function demoRoutes(gate: Gate & { readonly opened: Promise<void> }): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/demo/{key}/seal',
      operationId: 'demo.seal',
      tag: 'demo',
      summary: 'Gives back what it got',
      bodyLimitBytes: bodyLimit,
      idempotent: true,
      request: {
        params: z.strictObject({ key: keyRefSchema }),
        body: z.strictObject({
          plaintext: base64Bytes({ min: 1, max: 1024 }),
          context: contextSchema.optional(),
          tags: tagsSchema.optional(),
          name: keyNameSchema.optional(),
          note: plainText({ max: 20 }).optional(),
          at: timestamp.optional(),
          mode: z.enum(['fast', 'slow']).optional(),
          count: z.int().min(1).max(9).optional(),
          operations: z
            .array(z.strictObject({ operation: z.enum(['a', 'b']), id: z.string().optional() }))
            .max(30)
            .optional(),
        }),
      },
      answer: {
        status: 200,
        description: 'The same.',
        body: z.object({
          plaintext: base64Text,
          key: z.string(),
          context: contextSchema.optional(),
          at: timestampText.optional(),
          source: z.string(),
          idempotencyKey: z.string().optional(),
          fingerprint: z.string().optional(),
        }),
      },
      problems: ['key/not-found'],
      example: { plaintext: 'AAECAw==' },
      handle: async ({ caller, params, body }) => ({
        plaintext: toBase64(body.plaintext),
        key: params.key,
        ...(body.context && { context: body.context }),
        ...(body.at !== undefined && { at: toTimestamp(body.at) }),
        source: caller.source ?? '',
        ...(caller.idempotency && {
          idempotencyKey: caller.idempotency.key,
          fingerprint: toBase64(caller.idempotency.fingerprint),
        }),
      }),
    }),
    defineRoute({
      method: 'get',
      path: '/v1/demo',
      operationId: 'demo.list',
      tag: 'demo',
      summary: 'Lists',
      request: { query: listQuery },
      answer: {
        status: 200,
        description: 'A page.',
        body: z.object({ items: z.array(z.string()), limit: z.int(), nextCursor: z.string().optional() }),
      },
      problems: [],
      handle: async ({ query, caller }) => ({
        items: [],
        limit: query.limit,
        ...(caller.idempotency && { nextCursor: 'must not be set' }),
      }),
    }),
    defineRoute({
      method: 'delete',
      path: '/v1/demo/{key}',
      operationId: 'demo.delete',
      operator: true,
      tag: 'demo',
      summary: 'Deletes',
      request: { params: z.strictObject({ key: keyRefSchema }) },
      answer: { status: 204, description: 'Gone.' },
      problems: ['key/not-found'],
      handle: async () => undefined,
    }),
    defineRoute({
      method: 'post',
      path: '/v1/demo/fail',
      operationId: 'demo.fail',
      tag: 'demo',
      summary: 'Fails as it is told',
      request: { body: z.strictObject({ code: z.enum([...errorCodes, 'unknown']), secret: z.string() }) },
      answer: { status: 200, description: 'Never.', body: z.object({}) },
      problems: errorCodes,
      handle: ({ body: { code, secret } }) => {
        const cause = Object.assign(new TypeError(`${secret}\n    at ${secret} (/x.ts:1:1)`), {
          code: 'E_SECRET',
        });
        if (code === 'unknown')
          throw new Error(`no: ${secret}\n    at ${secret} (file:///x.ts:1:1)`, { cause });
        throw new ServiceError(code, 'A fixed text.', { cause, retryAfterSeconds: 7 });
      },
    }),
    waiting(gate, 'wait', 30),
    waiting(gate, 'hurry', 0.2),
  ];
}

function waiting(
  gate: Gate & { readonly opened: Promise<void> },
  name: string,
  timeoutSeconds: number,
): AnyRoute {
  return defineRoute({
    method: 'post',
    path: `/v1/demo/${name}`,
    operationId: `demo.${name}`,
    tag: 'demo',
    summary: 'Waits for the test',
    timeoutSeconds,
    request: {},
    answer: { status: 200, description: 'Done.', body: z.object({ done: z.boolean() }) },
    problems: [],
    async handle({ signal }) {
      gate.entered++;
      signal.addEventListener('abort', () => gate.aborted.push(signal.reason));
      await gate.opened;
      return { done: true };
    },
  });
}

export interface DemoOptions extends Partial<Omit<HttpAppOptions, 'routes'>> {
  readonly listen?: Partial<ListenOptions>;
  /** Besides the demo's. */
  readonly more?: readonly AnyRoute[];
  readonly logLevel?: string;
}

/** The demo routes behind a real port; closed when the test ends. */
export async function startDemo({
  listen: listenOptions = {},
  more = [],
  logLevel = 'debug',
  ...options
}: DemoOptions = {}) {
  const { promise: opened, resolve: release } = Promise.withResolvers<void>();
  const gate: Gate & { opened: Promise<void> } = { entered: 0, aborted: [], release, opened };
  const logs: string[] = [];
  const refusals: [string | undefined, string][] = [];
  const metrics = createMetrics();
  const app = createHttpApp({
    routes: [...demoRoutes(gate), ...more],
    async authenticate(authorization) {
      if (authorization === `Bearer ${token}`) return principal;
      throw new ServiceError('access/unauthenticated', 'No valid credential was presented.');
    },
    onRefused: (source, code) => refusals.push([source, code]),
    ready: async () => ({ ready: true, checks: { demo: 'ok' } }),
    metricsHandler: async () => metrics.text(),
    metrics,
    log: pino({ level: logLevel }, { write: (line: string) => void logs.push(line) }),
    version: '0.0.0-demo',
    ...options,
  });
  const listener = await listen(app, { host: '127.0.0.1', port: 0, allowCleartext: false, ...listenOptions });
  onTestFinished(async () => {
    release();
    await listener.close(0);
  });
  const call = (path: string, init: RequestInit = {}) =>
    fetch(`${listener.url}${path}`, {
      ...init,
      headers: { authorization: `Bearer ${token}`, ...(init.headers as Record<string, string>) },
    });
  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    call(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' || body instanceof Uint8Array ? (body as string) : JSON.stringify(body),
    });
  return { app, listener, url: listener.url, port: listener.port, gate, logs, refusals, metrics, call, post };
}

/** A problem document's members, once its form has been checked. */
export async function problem(response: Response) {
  if (response.headers.get('content-type') !== 'application/problem+json') {
    throw new Error(`no problem document: ${response.status} ${await response.text()}`);
  }
  return (await response.json()) as {
    status: number;
    code: string;
    detail: string;
    title: string;
    type: string;
    requestId: string;
    errors?: { pointer: string; detail: string }[];
  };
}

/** Writes `parts` to the port, `pauseMs` apart, and gives everything that comes until the other side ends. */
export function raw(port: number, parts: readonly (string | Uint8Array)[], pauseMs = 0): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let received = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      received += text;
    });
    socket.on('error', () => {}).on('close', () => resolve(received));
    const write = async (): Promise<void> => {
      for (const part of parts) {
        if (socket.destroyed) break;
        socket.write(part);
        await delay(pauseMs);
      }
    };
    socket.on('connect', () => void write());
  });
}

export const authorized = `Host: x\r\nAuthorization: Bearer ${token}\r\n`;

/** The status lines of the answers in what came over a connection. */
export function statuses(received: string): number[] {
  return [...received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]));
}

export function sha(algorithm: 'sha-256' | 'sha-512', body: string): string {
  return `${algorithm}=:${createHash(algorithm.replace('-', '')).update(body).digest('base64')}:`;
}
