import { connect } from 'node:net';
import { expect, test, vi } from 'vitest';
import type { Principal } from '../../src/access/caller.ts';
import { ServiceError } from '../../src/core/errors.ts';
import { type DemoOptions, problem, raw, startDemo, statuses } from './demo.ts';

/** Any `Bearer NAMESPACE/CALLER` is one. */
async function authenticate(authorization: string | undefined): Promise<Principal> {
  const [, namespaceId, id] = /^Bearer (\w+)\/(\w+)$/.exec(authorization ?? '') ?? [];
  if (namespaceId === undefined || id === undefined) {
    throw new ServiceError('access/unauthenticated', 'No valid credential was presented.');
  }
  return { kind: 'token', id, name: id, namespaceId, scopes: new Set(), keyPatterns: undefined };
}

/** The demo with callers, most of whom wait longer than any test. */
async function start(limits: DemoOptions['limits']) {
  const demo = await startDemo({ authenticate, limits: { waitMs: 10_000, ...limits } });
  const as = (caller: string, path: string, init: RequestInit = {}) =>
    demo.call(path, { ...init, headers: { authorization: `Bearer ${caller}` } });
  const wait = (caller: string) => as(caller, '/v1/demo/wait', { method: 'POST' });
  const gauge = (name: string) =>
    Number(
      new RegExp(`^stathera_admission_${name}\\{lane="data"\\} (\\d+)$`, 'm').exec(demo.metrics.text())?.[1],
    );
  return { ...demo, as, wait, gauge };
}

type Started = Awaited<ReturnType<typeof start>>;

async function nothingIsLeft({ app, gauge }: Started): Promise<void> {
  await vi.waitFor(() => {
    expect([gauge('inside'), gauge('waiting')]).toEqual([0, 0]);
    expect([app.desk.active, app.desk.inFlight.size]).toEqual([0, 0]);
  }, 10_000);
}

/**
 * Guarantees that a caller who fills what it may have stops neither another caller nor another namespace, neither
 * operators (itself as one included), nor health and measurements; and that it is served itself as far as it waited.
 */
test('a flood stops nobody else', async () => {
  const demo = await start({ concurrent: 32, waiting: 64 });
  const { as, wait, gate, gauge, url } = demo;
  const flood = Array.from({ length: 200 }, () => wait('bank/flood'));
  await vi.waitFor(() => expect([gate.entered, gauge('waiting')]).toEqual([gauge('inside'), 49]), 10_000);
  expect(gauge('inside')).toBeLessThan(26);
  expect((await as('bank/quiet', '/v1/demo')).status).toBe(200);
  expect((await as('shop/quiet', '/v1/demo')).status).toBe(200);
  expect((await as('bank/flood', '/v1/demo/k', { method: 'DELETE' })).status).toBe(204);
  expect((await as('bank/flood', '/metrics')).status).toBe(200);
  for (const path of ['/healthz', '/readyz']) expect((await fetch(url + path)).status).toBe(200);
  gate.release();
  const counts = Map.groupBy(await Promise.all(flood), ({ status }) => status);
  expect(counts.get(200)?.length).toBeGreaterThanOrEqual(70);
  expect((counts.get(200)?.length ?? 0) + (counts.get(503)?.length ?? 0)).toBe(200);
  await nothingIsLeft(demo);
});

/** Guarantees that who is refused for overload is told when to come back, what the limit is, and finds no log line. */
test('overload tells when to come back', async () => {
  const { wait, gate, logs } = await start({ concurrent: 1, waiting: 0 });
  const working = wait('bank/anna');
  await vi.waitFor(() => expect(gate.entered).toBe(1), 20_000);
  const refused = await wait('bank/anna');
  expect(Object.fromEntries(refused.headers)).toMatchObject({
    'retry-after': '1',
    'ratelimit-policy': '"concurrency";q=1;qu="concurrent-requests"',
    ratelimit: '"concurrency";r=0;t=1',
  });
  expect((await problem(refused)).code).toBe('service/overloaded');
  expect(
    logs.filter((line) => line.includes('service/overloaded')).map((line) => JSON.parse(line).level),
  ).toEqual([20]);
  gate.release();
  const answered = await working;
  expect([answered.status, answered.headers.get('ratelimit')]).toEqual([200, null]);
});

/** Guarantees that a wait ends in its time with 503, before a byte of the body was asked for. */
test('bounds the wait', async () => {
  const demo = await start({ concurrent: 1, waitMs: 100 });
  const { wait, gate, port, metrics } = demo;
  const working = wait('bank/anna');
  await vi.waitFor(() => expect(gate.entered).toBe(1), 20_000);
  const head = 'POST /v1/demo/k/seal HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bank/anna\r\n';
  const started = performance.now();
  const received = await raw(port, [
    `${head}Expect: 100-continue\r\nConnection: close\r\nContent-Length: 20\r\n\r\n`,
  ]);
  expect(statuses(received)).toEqual([503]);
  const tookMs = performance.now() - started;
  expect(tookMs).toBeGreaterThanOrEqual(99);
  // The gate is shut: without a bound this would never end.
  expect(tookMs).toBeLessThan(15_000);
  expect(metrics.text()).toContain('stathera_admission_refused_total{lane="data",reason="waited"} 1');
  gate.release();
  await working;
  await nothingIsLeft(demo);
});

/** Guarantees that rates are held with 429, `Retry-After` and what is left, and that operators are not counted. */
test('limits rates', async () => {
  const { as, metrics } = await start({ callerRate: 1, namespaceRate: 100 });
  const answers: Response[] = [];
  for (let count = 0; count < 20; count += 1) answers.push(await as('bank/anna', '/v1/demo'));
  const [first] = answers;
  const limited = answers.find(({ status }) => status === 429);
  expect(first?.headers.get('ratelimit-policy')).toBe('"caller";q=10;w=10, "namespace";q=1000;w=10');
  expect(first?.headers.get('ratelimit')).toBe('"caller";r=9;t=1, "namespace";r=999;t=1');
  expect(limited?.headers.get('retry-after')).toBe('1');
  expect(limited?.headers.get('ratelimit')).toMatch(/^"caller";r=0;t=1, /);
  expect(limited && (await problem(limited)).code).toBe('service/rate-limited');
  expect(metrics.text()).toMatch(/refused_total\{lane="data",reason="caller-rate"\} [1-9]/);
  expect((await as('bank/bert', '/v1/demo')).status).toBe(200);
  for (let count = 0; count < 20; count += 1) {
    expect((await as('bank/anna', '/v1/demo/k', { method: 'DELETE' })).status).toBe(204);
  }
});

const seal =
  'POST /v1/demo/k/seal HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bank/anna\r\nContent-Type: application/json\r\n';
const wholeSeal = `${seal}Content-Length: 20\r\n\r\n{"plaintext":"AAEC"}`;

/** Guarantees that a client that goes away leaves no slot taken and no place, whatever it had sent, whether it worked or waited. */
test.each([
  ['free', 8],
  ['taken', 1],
])('clients go away at any point, slots %s', async (_, concurrent) => {
  const demo = await start({ concurrent, waiting: 400 });
  const { wait, gate, port, as } = demo;
  const working = wait('bank/holds');
  await vi.waitFor(() => expect(gate.entered).toBe(1), 20_000);
  const waits = 'POST /v1/demo/wait HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bank/anna\r\n\r\n';
  const cuts = Array.from({ length: wholeSeal.length }, (_unused, index) => index + 1).filter(
    (cut) => cut % 3 === 0,
  );
  const sockets = [...cuts.map((cut) => wholeSeal.slice(0, cut)), wholeSeal, waits, waits + waits].map(
    (text, index) => {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => {});
      // Half of them end in order, half are reset, some right after what they sent and some later.
      socket.write(text, () => {
        if (index % 4 === 0) socket.destroy();
        if (index % 4 === 1) socket.resetAndDestroy();
      });
      return socket;
    },
  );
  await vi.waitFor(
    () => expect(sockets.filter(({ bytesWritten }) => bytesWritten > 0).length).toBe(sockets.length),
    20_000,
  );
  for (const [index, socket] of sockets.entries()) {
    if (index % 4 === 2) socket.destroy();
    if (index % 4 === 3) socket.resetAndDestroy();
  }
  gate.release();
  expect((await working).status).toBe(200);
  await nothingIsLeft(demo);
  expect((await as('bank/anna', '/v1/demo')).status).toBe(200);
});

/** Guarantees that who waits while the service drains is served in the grace, or told that it shuts down. */
test.each([
  ['served', true, [200, 200]],
  ['told', false, [503, 503]],
])('draining: who waits is %s', async (_, released, expected) => {
  const { wait, gate, gauge, listener } = await start({ concurrent: 1 });
  const first = wait('bank/anna');
  await vi.waitFor(() => expect(gate.entered).toBe(1), 20_000);
  const second = wait('bank/anna');
  await vi.waitFor(() => expect(gauge('waiting')).toBe(1), 20_000);
  const closed = listener.close(released ? 10_000 : 100);
  if (released) gate.release();
  const answers = await Promise.all([first, second]);
  expect(answers.map(({ status }) => status)).toEqual(expected);
  if (!released) expect((await problem(answers[1])).code).toBe('service/shutting-down');
  await closed;
  gate.release();
  await vi.waitFor(() => expect([gauge('inside'), gauge('waiting')]).toEqual([0, 0]), 20_000);
});
