import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { mayPass, parseRetryAfter, retryDefaults, waitMs } from '../../src/client/retries.ts';
import {
  answer,
  type FakeServer,
  failure,
  problem,
  type Respond,
  startFakeServer,
  token,
  transports,
} from './support.ts';

let server: FakeServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

const key = {
  ...{
    id: '01a20de5-0ca2-77f4-9509-990f50320ccc',
    name: 'payments',
    algorithm: 'aes-256-gcm',
    purpose: 'encrypt',
  },
  ...{ protection: 'hsm', origin: 'hsm', state: 'enabled', description: '', tags: {}, currentVersion: 1 },
  ...{ createdAt: '2026-11-24T00:00:00.000Z', updatedAt: '2026-11-24T00:00:00.000Z' },
};
const quick = { retries: 3, backoffMs: 1 };

describe.each(transports)('by %s', (_, createClient) => {
  async function start(respond: Respond) {
    server = await startFakeServer(respond);
    return { server, client: createClient({ url: server.url, credentials: token, retries: quick }) };
  }

  /** Guarantees that what passes is tried again, up to the limit and no further, and that the error says so. */
  test.each([
    'service/overloaded',
    'service/rate-limited',
    'hsm/unavailable',
    'audit/unavailable',
    'request/timeout',
  ])('tries %s again', async (code) => {
    const { server, client } = await start((response, request, attempt) =>
      answer(
        response,
        request,
        attempt < 3 || request.url.endsWith('never') ? 503 : 200,
        attempt < 3 || request.url.endsWith('never') ? problem(code) : key,
      ),
    );
    expect(await client.getKey({ key: 'payments' })).toEqual(key);
    expect(server.received).toHaveLength(3);
    expect(new Set(server.received.map(({ headers }) => headers['x-request-id'])).size).toBe(3);
    expect(await failure(client.getKey({ key: 'never' }))).toMatchObject({
      code,
      status: 503,
      attempts: 4,
    });
    expect(server.received).toHaveLength(7);
  });

  /** Guarantees that a refusal that will stay one is not repeated: neither the caller's faults nor unforeseen ones. */
  test.each([
    [400, 'envelope/decryption-failed'],
    [401, 'access/unauthenticated'],
    [403, 'access/denied'],
    [404, 'key/not-found'],
    [409, 'key/conflict'],
    [422, 'request/idempotency-conflict'],
    [500, 'internal'],
  ])('tries %i %s once', async (status, code) => {
    const { server, client } = await start((response, request) =>
      answer(response, request, status, problem(code)),
    );
    expect(await failure(client.rotateKey({ key: 'payments' }))).toMatchObject({ code, status, attempts: 1 });
    expect(server.received).toHaveLength(1);
  });

  /** Guarantees that a connection that is cut, before or in an answer, is no answer, and that the call goes on. */
  test('tries again when the connection is cut', async () => {
    const whole = JSON.stringify(key);
    const { server, client } = await start((response, request, attempt) => {
      if (attempt === 1) response.destroy();
      else if (attempt === 2) {
        const headers = {
          'content-length': String(whole.length),
          'x-request-id': String(request.headers['x-request-id']),
        };
        response.writeHead(200, { 'stathera-version': 'x', 'content-type': 'application/json', ...headers });
        response.write(whole.slice(0, 40), () => response.destroy());
      } else answer(response, request, 200, key);
    });
    expect(await client.getKey({ key: 'payments' })).toEqual(key);
    expect(server.received).toHaveLength(3);
  });

  /** Guarantees that what is made is asked for under one key in all attempts of a call, and each call has its own. */
  test('sends one Idempotency-Key a call', async () => {
    const { server, client } = await start((response, request, attempt) => {
      if (attempt % 3 === 0) answer(response, request, 201, key);
      else answer(response, request, 503, problem('store/unavailable'));
    });
    await client.createKey({ name: 'payments' });
    await client.createKey({ name: 'payments' });
    await client.createKey({ name: 'payments' }, { idempotencyKey: 'mine' });
    const keys = server.received.map(({ headers }) => headers['idempotency-key']);
    expect(keys[0]).toMatch(/^[0-9a-f]{32}$/);
    expect(keys.slice(0, 3)).toEqual([keys[0], keys[0], keys[0]]);
    expect(keys.slice(3, 6)).toEqual([keys[3], keys[3], keys[3]]);
    expect(keys[3]).not.toBe(keys[0]);
    expect(keys.slice(6)).toEqual(['mine', 'mine', 'mine']);
    await client.getKey({ key: 'payments' });
    expect(server.received.at(-1)?.headers['idempotency-key']).toBeUndefined();
  });

  /** Guarantees that the service's Retry-After is waited for, and that a call which has not that long gives up at once. */
  test.each([
    [503, 'service/overloaded'],
    [429, 'service/rate-limited'],
  ])('waits as long as it is told: %i %s', async (status, code) => {
    const { server, client } = await start((response, request, attempt) => {
      if (attempt === 1) answer(response, request, status, problem(code), { 'retry-after': '1' });
      else if (attempt === 2) answer(response, request, 200, key);
      else answer(response, request, status, problem(code), { 'retry-after': '600' });
    });
    await client.getKey({ key: 'payments' });
    const [first, second] = server.received;
    expect(second!.at - first!.at).toBeGreaterThanOrEqual(999);
    expect(await failure(client.getKey({ key: 'payments' }, { timeoutMs: 20_000 }))).toMatchObject({
      ...{ code, retryAfterSeconds: 600, attempts: 1 },
    });
  });

  /** Guarantees that a page of health is about this moment, not about a later one. */
  test('does not repeat health', async () => {
    const { server, client } = await start((response) => void response.destroy());
    expect(await failure(client.system.health())).toMatchObject({ code: 'client/unreachable', attempts: 1 });
    expect(server.received).toHaveLength(1);
  });
});

/** Guarantees that waits grow up to their end, are spread down to zero, and never come before a Retry-After. */
test('waits are spread', () => {
  const settings = { retries: 10, backoffMs: 100, maxBackoffMs: 5_000, maxRetryAfterMs: 30_000 };
  expect([1, 2, 3, 4].map((attempt) => waitMs(attempt, undefined, settings, 1))).toEqual([
    100, 200, 400, 800,
  ]);
  expect(waitMs(1, undefined, settings, 0)).toBe(0);
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2_000 }),
      fc.option(fc.nat(), { nil: undefined }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (attempt, retryAfter, random) => {
        const ms = waitMs(attempt, retryAfter, settings, random);
        expect(ms).toBeGreaterThanOrEqual(Math.min(30_000, (retryAfter ?? 0) * 1000));
        expect(ms).toBeLessThanOrEqual(35_000);
      },
    ),
  );
});

/** Guarantees that Retry-After is read in both of its forms and that nonsense is none. */
test('Retry-After is read', () => {
  const now = Date.parse('2026-11-24T12:00:00Z');
  expect(parseRetryAfter('7', now)).toBe(7);
  expect(parseRetryAfter('Tue, 24 Nov 2026 12:00:09 GMT', now)).toBe(9);
  expect(parseRetryAfter('Tue, 24 Nov 2026 11:00:00 GMT', now)).toBe(0);
  for (const text of [undefined, '', '-1', '1.5', 'soon', '2026-11-24', '9'.repeat(20), 'x GMT']) {
    expect([text, parseRetryAfter(text, now)]).toEqual([text, undefined]);
  }
});

/** Guarantees that gateways that stand in for the service are waited for, and other strangers are not. */
test('gateways pass', async () => {
  server = await startFakeServer((response, request, attempt) => {
    if (attempt === 1) response.writeHead(502, { 'content-type': 'text/html' }).end('<h1>Bad gateway</h1>');
    else if (attempt === 2) answer(response, request, 200, key);
    else response.writeHead(404).end('not here');
  });
  const [, createClient] = transports[0];
  const client = createClient({ url: server.url, credentials: token, retries: quick });
  expect(await client.getKey({ key: 'payments' })).toEqual(key);
  const error = await failure(client.getKey({ key: 'payments' }));
  expect(error).toMatchObject({ code: 'client/not-stathera', status: 404, attempts: 1 });
  expect(mayPass(error)).toBe(false);
  expect(retryDefaults.retries).toBe(3);
});
