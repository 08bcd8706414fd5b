import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { lengthPrefixed } from '../../src/core/bytes.ts';
import { ServiceError } from '../../src/core/errors.ts';
import { isId } from '../../src/core/ids.ts';
import { problem, raw, startDemo, statuses, token } from './demo.ts';

const seal = '/v1/demo/k/seal';

/** Guarantees that a good request reaches its handler decoded, and that every answer has the common fields. */
test('serves a route', async () => {
  const { post, call } = await startDemo();
  const response = await post(seal, { plaintext: 'AAEC', context: { a: 'é' }, at: '2026-11-24T10:00:00.5Z' });
  expect(response.status).toBe(200);
  const text = await response.text();
  expect(JSON.parse(text)).toEqual({
    plaintext: 'AAEC',
    key: 'k',
    context: { a: 'é' },
    at: '2026-11-24T10:00:00.500Z',
    source: '127.0.0.1',
  });
  expect(response.headers.get('content-length')).toBe(String(Buffer.byteLength(text)));
  for (const answer of [response, await call('/nothing'), await call('/healthz'), await call('/v1/demo')]) {
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
    expect(answer.headers.get('stathera-version')).toBe('2026-11-24');
    expect(isId(answer.headers.get('x-request-id') ?? '')).toBe(true);
    expect(answer.headers.get('server')).toBeNull();
    expect(answer.headers.get('x-powered-by')).toBeNull();
  }
});

/** Guarantees that a client's request id is kept when it has the form, and replaced when it has not. */
test('keeps request ids', async () => {
  const { call } = await startDemo();
  const kept = await call('/nothing', { headers: { 'x-request-id': 'a.B-c_9' } });
  expect(kept.headers.get('x-request-id')).toBe('a.B-c_9');
  expect((await problem(kept)).requestId).toBe('a.B-c_9');
  for (const sent of ['a b', 'x'.repeat(65), 'a\tb', '{}', 'é']) {
    const replaced = await call('/nothing', { headers: { 'x-request-id': sent } });
    expect(isId(replaced.headers.get('x-request-id') ?? '')).toBe(true);
  }
});

/** Guarantees that strangers get 401 with a challenge, before their body is looked at, and are counted. */
test('refuses strangers', async () => {
  const { url, refusals } = await startDemo();
  for (const authorization of [undefined, 'Bearer other', `Basic ${token}`, token]) {
    const response = await fetch(`${url}${seal}`, {
      method: 'POST',
      body: '{',
      ...(authorization !== undefined && { headers: { authorization } }),
    });
    expect(response.status).toBe(401);
    expect(response.headers.get('www-authenticate')).toBe('Bearer');
    expect((await problem(response)).code).toBe('access/unauthenticated');
  }
  expect(refusals).toEqual(Array(4).fill(['127.0.0.1', 'access/unauthenticated']));
});

/** Guarantees that a credential sent twice is not taken for its first value. */
test('refuses two credentials', async () => {
  const { port } = await startDemo();
  const received = await raw(port, [
    `GET /v1/demo HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n\r\n`,
  ]);
  expect(statuses(received)).toEqual([401]);
});

/** Guarantees that what a schema does not know, or knows otherwise, is refused with a pointer to it. */
test.each([
  [{ plaintext: 'AAEC', other: 1 }, ''],
  [{}, '/plaintext'],
  [{ plaintext: 1 }, '/plaintext'],
  [{ plaintext: null }, '/plaintext'],
  [{ plaintext: ['AAEC'] }, '/plaintext'],
  [{ plaintext: '' }, '/plaintext'],
  [{ plaintext: 'A'.repeat(1372) }, '/plaintext'],
  [{ plaintext: 'AAEC', context: [] }, '/context'],
  [{ plaintext: 'AAEC', context: 'x' }, '/context'],
  [{ plaintext: 'AAEC', context: { a: 1 } }, '/context'],
  [{ plaintext: 'AAEC', context: { '': 'x' } }, '/context'],
  [{ plaintext: 'AAEC', context: { ['n'.repeat(129)]: 'x' } }, '/context'],
  [{ plaintext: 'AAEC', context: { a: 'x'.repeat(1025) } }, '/context'],
  [
    { plaintext: 'AAEC', context: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${i}`, ''])) },
    '/context',
  ],
  [{ plaintext: 'AAEC', context: { a: '\ud800' } }, '/context'],
  [{ plaintext: 'AAEC', context: { '\udc00': 'a' } }, '/context'],
  [{ plaintext: 'AAEC', tags: { a: 'x'.repeat(257) } }, '/tags'],
  [{ plaintext: 'AAEC', note: 'x\ud800' }, '/note'],
  [{ plaintext: 'AAEC', note: 'x'.repeat(21) }, '/note'],
  [{ plaintext: 'AAEC', name: '0190a000-0000-7000-8000-000000000001' }, '/name'],
  [{ plaintext: 'AAEC', name: 'Upper' }, '/name'],
  [{ plaintext: 'AAEC', name: '-a' }, '/name'],
  [{ plaintext: 'AAEC', name: 'a\n' }, '/name'],
  [{ plaintext: 'AAEC', name: 'a'.repeat(64) }, '/name'],
  [{ plaintext: 'AAEC', mode: 'other' }, '/mode'],
  [{ plaintext: 'AAEC', count: 0 }, '/count'],
  [{ plaintext: 'AAEC', count: 1.5 }, '/count'],
  [{ plaintext: 'AAEC', count: '1' }, '/count'],
  [{ plaintext: 'AAEC', at: '2026-02-30T00:00:00Z' }, '/at'],
  [{ plaintext: 'AAEC', at: '2026-11-24T00:00:00+01:00' }, '/at'],
  [{ plaintext: 'AAEC', at: '2026-11-24' }, '/at'],
  [{ plaintext: 'AAEC', at: '2026-11-24T25:00:00Z' }, '/at'],
  [{ plaintext: 'AAEC', at: 1 }, '/at'],
  [{ plaintext: 'AAEC', operations: [{ operation: 'a' }, { operation: 'c' }] }, '/operations/1/operation'],
  [{ plaintext: 'AAEC', operations: [{ operation: 'a', secret: 1 }] }, '/operations/0'],
  [[], ''],
  ['"x"', ''],
  ['1', ''],
  ['null', ''],
])('refuses %j', async (body, pointer) => {
  const { post } = await startDemo();
  const response = await post(seal, body);
  expect(response.status).toBe(400);
  const { code, errors, type } = await problem(response);
  expect(code).toBe('request/invalid');
  expect(type).toBe('/docs/problems#request/invalid');
  expect(errors?.map((error) => error.pointer)).toEqual([pointer]);
});

/** Guarantees that bytes have one accepted form: padded standard base64, canonical to the last bit. */
test('accepts one form of base64', async () => {
  const { post } = await startDemo();
  const good = ['AA==', 'AAA=', 'AAAA', '+/+/', '/w=='];
  for (const plaintext of good) expect((await post(seal, { plaintext })).status).toBe(200);
  const bad = [
    'A',
    'AA',
    'AAA',
    'AA=',
    'AAAA=',
    'AAAA====',
    '====',
    '-_-_',
    'AB==',
    'AAB=',
    ' AAA',
    'AA\nA',
    'AAA\u0000',
    'AA==AAAA',
    'ÀAAA',
    'A=AA',
    '$$$$',
  ];
  for (const plaintext of bad)
    expect([plaintext, (await post(seal, { plaintext })).status]).toEqual([plaintext, 400]);
});

/** Guarantees that at most 20 violations are listed. */
test('limits the list of violations', async () => {
  const { post } = await startDemo();
  const response = await post(seal, { plaintext: 'AAEC', operations: Array(30).fill({ operation: 'z' }) });
  expect((await problem(response)).errors).toHaveLength(20);
});

/** Guarantees that a query is decoded strictly: known names, once each, in their form. */
test('decodes queries', async () => {
  const { call, url } = await startDemo();
  const limit = async (query: string) =>
    ((await (await call(`/v1/demo${query}`)).json()) as { limit: number }).limit;
  expect([
    await limit(''),
    await limit('?'),
    await limit('?limit=1'),
    await limit('?limit=1000&cursor=x'),
  ]).toEqual([100, 100, 1, 1000]);
  for (const query of [
    'limit=0',
    'limit=1001',
    'limit=01',
    'limit=1e2',
    'limit=',
    'limit=%20',
    'limit=1&limit=1',
    'x=1',
    '__proto__=1',
    'constructor=1',
    'cursor=',
    `cursor=${'x'.repeat(513)}`,
    'limit=1&%6cimit=2',
    '&&x',
  ]) {
    expect([query, (await call(`/v1/demo?${query}`)).status]).toEqual([query, 400]);
  }
  expect((await problem(await call('/v1/demo?limit=0'))).errors?.[0]?.pointer).toBe('#query/limit');
  const health = await fetch(`${url}/healthz?x=1`);
  expect(health.status).toBe(200);
  const none = await call('/v1/demo/k?x=1', { method: 'DELETE' });
  expect(none.status).toBe(400);
});

/** Guarantees that path members are checked after decoding, and that a 204 has no body. */
test('decodes paths', async () => {
  const { call } = await startDemo();
  const status = async (key: string) => (await call(`/v1/demo/${key}`, { method: 'DELETE' })).status;
  expect(await status('key.a_b-1')).toBe(204);
  expect(await status('0190a000-0000-7000-8000-000000000001')).toBe(204);
  expect(await status('%6bey')).toBe(204);
  for (const key of ['K', 'a%2fb', 'a%00', '%zz', '..%2fx', 'a'.repeat(64), '%c0%80'])
    expect([key, await status(key)]).toEqual([key, 400]);
  const response = await call('/v1/demo/K', { method: 'DELETE' });
  expect((await problem(response)).errors).toEqual([
    { pointer: '#path/key', detail: 'does not have the required form' },
  ]);
});

/** Guarantees that an idempotency key reaches routes that take one with a fingerprint of the request, and no other. */
test('passes idempotency keys on', async () => {
  const { post, call } = await startDemo();
  const body = '{"plaintext":"AAEC"}';
  const answer = async (path: string, text: string) =>
    (await (await post(path, text, { 'idempotency-key': 'order 7'.replace(' ', '-') })).json()) as Record<
      string,
      string
    >;
  const first = await answer(seal, body);
  expect(first['idempotencyKey']).toBe('order-7');
  const expected = createHash('sha256')
    .update(lengthPrefixed('POST', seal, body))
    .digest('base64');
  expect(first['fingerprint']).toBe(expected);
  expect((await answer(seal, `${body} `))['fingerprint']).not.toBe(expected);
  expect((await answer('/v1/demo/j/seal', body))['fingerprint']).not.toBe(expected);
  for (const key of ['', 'a b', 'x'.repeat(129), 'é']) {
    expect([key, (await post(seal, body, { 'idempotency-key': key })).status]).toEqual([key, 400]);
  }
  const list = await call('/v1/demo', { headers: { 'idempotency-key': 'a b' } });
  expect(await list.json()).toEqual({ items: [], limit: 100 });
});

/** Guarantees that unknown paths get 404, known ones with another method 405 and Allow, and OPTIONS the same list. */
test('knows its paths and methods', async () => {
  const { call, refusals } = await startDemo();
  expect((await problem(await call('/v1/nothing'))).code).toBe('request/not-found');
  expect((await call('/v1/demo/')).status).toBe(404);
  expect((await call('//v1/demo')).status).toBe(404);
  for (const method of ['PUT', 'PATCH', 'PROPFIND']) {
    const response = await call('/v1/demo', { method });
    expect(response.status).toBe(405);
    expect(response.headers.get('allow')).toBe('GET, HEAD, OPTIONS');
    expect((await problem(response)).code).toBe('request/method-not-allowed');
  }
  const options = await call('/v1/demo/k', { method: 'OPTIONS' });
  expect([options.status, options.headers.get('allow')]).toEqual([204, 'DELETE, OPTIONS']);
  const head = await call('/v1/demo', { method: 'HEAD' });
  expect([head.status, await head.text()]).toEqual([200, '']);
  expect(refusals).toContainEqual(['127.0.0.1', 'request/not-found']);
});

/** Guarantees the status, Retry-After and text of each kind of failure, and that Retry-After is at least 1. */
test('answers failures', async () => {
  const { post } = await startDemo();
  const conflict = await post('/v1/demo/fail', { code: 'key/exists', secret: '' });
  expect([conflict.status, conflict.headers.get('retry-after')]).toEqual([409, null]);
  const down = await post('/v1/demo/fail', { code: 'hsm/unavailable', secret: '' });
  expect([down.status, down.headers.get('retry-after')]).toEqual([503, '7']);
  expect((await problem(down)).detail).toBe('A fixed text.');
});

/** Guarantees that health needs nobody, readiness tells why not, and metrics need a credential. */
test('tells its state', async () => {
  let ready = true;
  const { url, call } = await startDemo({
    ready: async () => {
      if (!ready) throw new ServiceError('store/unavailable', 'secret');
      return { ready, checks: { demo: 'ok' } };
    },
  });
  expect(await (await fetch(`${url}/healthz`)).json()).toEqual({ status: 'ok' });
  const good = await fetch(`${url}/readyz`);
  expect([good.status, await good.json()]).toEqual([200, { status: 'ready', checks: { demo: 'ok' } }]);
  ready = false;
  const bad = await fetch(`${url}/readyz`);
  expect([bad.status, await bad.json()]).toEqual([
    503,
    { status: 'unavailable', checks: { service: 'unavailable' } },
  ]);
  expect((await fetch(`${url}/metrics`)).status).toBe(401);
  const metrics = await call('/metrics');
  expect(metrics.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  expect(await metrics.text()).toContain(
    'stathera_http_requests_total{operation="system.health",status="2xx"} 1',
  );
});
