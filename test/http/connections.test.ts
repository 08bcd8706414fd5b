import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import type { ServiceError } from '../../src/core/errors.ts';
import { listen } from '../../src/http/listen.ts';
import { authorized, problem, raw, startDemo, statuses } from './demo.ts';

const list = `GET /v1/demo HTTP/1.1\r\n${authorized}`;
const seal = `POST /v1/demo/k/seal HTTP/1.1\r\n${authorized}Content-Type: application/json\r\n`;
const good = '{"plaintext":"AAEC"}';

/** Guarantees that headers that trickle in are given up after the time allowed, with a problem document. */
test('bounds slow headers', async () => {
  const { port, refusals } = await startDemo({ listen: { limits: { headersTimeoutMs: 200 } } });
  const started = performance.now();
  const received = await raw(
    port,
    ['GET /v1/demo HTTP/1.1\r\n', ...Array<string>(100).fill('X-A: b\r\n')],
    40,
  );
  expect(statuses(received)).toEqual([408]);
  expect(received).toContain('"code":"request/timeout"');
  expect(performance.now() - started).toBeLessThan(2_500);
  expect(refusals).toEqual([['127.0.0.1', 'request/timeout']]);
});

/** Guarantees that an idle connection is closed after the time allowed, before and after a request. */
test('bounds idle connections', async () => {
  const { port } = await startDemo({
    listen: { limits: { headersTimeoutMs: 200, keepAliveTimeoutMs: 100 } },
  });
  const started = performance.now();
  expect(statuses(await raw(port, [`${list}\r\n`]))).toEqual([200]);
  expect(statuses(await raw(port, ['']))).toEqual([408]);
  expect(performance.now() - started).toBeLessThan(5_000);
});

/** Guarantees that headers beyond 16 KiB are refused with a problem document. */
test('limits headers', async () => {
  const { port } = await startDemo();
  expect(
    statuses(await raw(port, [`${list}X-A: ${'b'.repeat(15_000)}\r\nConnection: close\r\n\r\n`])),
  ).toEqual([200]);
  const received = await raw(port, [`${list}X-A: ${'b'.repeat(17_000)}\r\n\r\n`]);
  expect(statuses(received)).toEqual([413]);
  expect(received).toContain('application/problem+json');
  expect(statuses(await raw(port, [`GET /${'a'.repeat(17_000)} HTTP/1.1\r\nHost: x\r\n\r\n`]))).toEqual([
    413,
  ]);
});

/** Guarantees that a request with more headers than are kept is refused: one of them might matter. */
test('limits the number of headers', async () => {
  const { port, refusals } = await startDemo();
  const many = (count: number) => Array.from({ length: count }, (_, index) => `X-${index}: a\r\n`).join('');
  expect(statuses(await raw(port, [`${list}${many(90)}Connection: close\r\n\r\n`]))).toEqual([200]);
  expect(statuses(await raw(port, [`${list}${many(100)}\r\n`]))).toEqual([413]);
  expect(refusals).toEqual([['127.0.0.1', 'request/too-large']]);
});

/** Guarantees that a client that does not read its answers is dropped, and one whose work takes long is not. */
test('bounds stalled connections', async () => {
  const { port, gate, app } = await startDemo({ listen: { limits: { stallTimeoutMs: 400 } } });
  const socket = connect(port, '127.0.0.1', () => {
    socket.pause();
    socket.write(`GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(8));
  });
  await vi.waitFor(() => expect(app.desk.inFlight.size).toBeGreaterThan(0), 20_000);
  await vi.waitFor(() => expect(app.desk.inFlight.size).toBe(0), 20_000);
  socket.destroy();
  const patient = raw(port, [`POST /v1/demo/wait HTTP/1.1\r\n${authorized}Connection: close\r\n\r\n`]);
  await vi.waitFor(() => expect(gate.entered).toBe(1), 20_000);
  await delay(1_000);
  gate.release();
  expect(statuses(await patient)).toEqual([200]);
});

/** Guarantees that connections beyond the limit are closed at once and counted, and that their places are free again. */
test('limits connections', async () => {
  const { port, metrics } = await startDemo({ listen: { limits: { maxConnections: 3 } } });
  const held = Array.from({ length: 3 }, () => connect(port, '127.0.0.1'));
  await Promise.all(held.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
  expect(await raw(port, [`${list}\r\n`])).toBe('');
  expect(metrics.text()).toContain('stathera_http_connections_dropped_total 1');
  for (const socket of held) socket.destroy();
  await vi.waitFor(async () => {
    expect(statuses(await raw(port, [`${list}Connection: close\r\n\r\n`]))).toEqual([200]);
  }, 20_000);
});

/** Guarantees that headers that trickle in hold places no longer than their time: then others get in. */
test('slow headers at the limit of connections', async () => {
  const { port } = await startDemo({ listen: { limits: { maxConnections: 3, headersTimeoutMs: 1_000 } } });
  const trickle = ['GET /v1/demo HTTP/1.1\r\n', ...Array<string>(400).fill('X-A: b\r\n')];
  const slow = Array.from({ length: 3 }, () => raw(port, trickle, 20));
  // Connections are taken in the order in which they were made.
  expect(await raw(port, [`${list}\r\n`])).toBe('');
  await vi.waitFor(async () => {
    expect(statuses(await raw(port, [`${list}Connection: close\r\n\r\n`]))).toEqual([200]);
  }, 10_000);
  for (const received of await Promise.all(slow)) expect(statuses(received)).toEqual([408]);
});

/** Guarantees that a message whose end could be read in two ways is refused and its connection closed. */
test.each([
  ['length and chunks', 'Content-Length: 20\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['chunks and length', 'Transfer-Encoding: chunked\r\nContent-Length: 20\r\n\r\n0\r\n\r\n'],
  ['two lengths', 'Content-Length: 20\r\nContent-Length: 21\r\n\r\n'],
  ['the same length twice', 'Content-Length: 20\r\nContent-Length: 20\r\n\r\n'],
  ['a list of lengths', 'Content-Length: 20, 20\r\n\r\n'],
  ['a signed length', 'Content-Length: +20\r\n\r\n'],
  ['a negative length', 'Content-Length: -1\r\n\r\n'],
  ['a hexadecimal length', 'Content-Length: 0x14\r\n\r\n'],
  ['a coding that is not last', 'Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n'],
  ['two codings', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['a hidden coding', 'Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n'],
  ['space before the colon', 'Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n'],
  ['a folded header', 'X-A: b\r\n Content-Length: 20\r\n\r\n'],
  ['a bare carriage return', 'X-A: b\rContent-Length: 20\r\n\r\n'],
  ['a bad chunk size', 'Transfer-Encoding: chunked\r\n\r\nzz\r\n'],
  ['a negative chunk size', 'Transfer-Encoding: chunked\r\n\r\n-1\r\n'],
  ['a chunk without its end', 'Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n'],
])('refuses %s', async (_name, framing) => {
  const { port, gate } = await startDemo();
  // What a smuggled request would be: it must never be answered.
  const received = await raw(port, [`${seal}${framing}POST /v1/demo/wait HTTP/1.1\r\n${authorized}\r\n`]);
  expect(statuses(received)).toEqual([400]);
  expect(received).toMatch(/connection: close/i);
  expect(received).toContain('application/problem+json');
  expect(gate.entered).toBe(0);
});

/** Guarantees that a body in another transfer coding is refused although its chunks are sound. */
test('knows one transfer coding', async () => {
  const { port } = await startDemo();
  const framing = 'Transfer-Encoding: gzip, chunked\r\n\r\n14\r\n{"plaintext":"AAEC"}\r\n0\r\n\r\n';
  const received = await raw(port, [`${seal}${framing}`]);
  expect(statuses(received)).toEqual([400]);
  expect(received).toContain('transfer coding');
});

/** Guarantees that what is not HTTP, or lacks its target or Host, gets one problem document and the end. */
test.each([
  ['no HTTP', 'hello\r\n\r\n'],
  ['TLS', '\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003'],
  ['another version', 'GET / HTTP/9.9\r\nHost: x\r\n\r\n'],
  ['no Host', 'GET /healthz HTTP/1.1\r\n\r\n'],
  ['two Hosts', 'GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'],
  ['a bad Host', 'GET /healthz HTTP/1.1\r\nHost: a/b@c\r\n\r\n'],
  ['an asterisk', 'GET * HTTP/1.1\r\nHost: x\r\n\r\n'],
  ['a NUL', 'GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: \u0000\r\n\r\n'],
])('answers %s', async (_name, text) => {
  const { port } = await startDemo();
  const received = await raw(port, [Buffer.from(text, 'latin1')]);
  expect(statuses(received)).toEqual([400]);
  expect(received).toContain('"code":"request/invalid"');
});

/** Guarantees that pipelined requests are answered in order, each with its own answer. */
test('answers pipelined requests in order', async () => {
  const { port } = await startDemo();
  const one = (id: string) => `${seal}X-Request-Id: ${id}\r\nContent-Length: 20\r\n\r\n${good}`;
  const received = await raw(port, [
    `${one('a')}${one('b')}${list}X-Request-Id: c\r\nConnection: close\r\n\r\n`,
  ]);
  expect(statuses(received)).toEqual([200, 200, 200]);
  expect([...received.matchAll(/X-Request-Id: (\w)\r\n/gi)].map((match) => match[1])).toEqual([
    'a',
    'b',
    'c',
  ]);
});

/** Guarantees that garbage behind a request is answered after it: its refusal is not taken for the answer. */
test('keeps the answers of a connection apart', async () => {
  const { port, gate } = await startDemo();
  const received = raw(port, [`POST /v1/demo/wait HTTP/1.1\r\n${authorized}\r\nGARBAGE\r\n\r\n`]);
  await vi.waitFor(() => expect(gate.entered).toBe(1), 20_000);
  await delay(50);
  gate.release();
  const text = await received;
  expect(statuses(text)).toEqual([200, 400]);
  expect(text.indexOf('{"done":true}')).toBeLessThan(text.indexOf('request/invalid'));
});

/** Guarantees that work beyond the limit is refused at once and told when to come back; health is not. */
test('limits concurrent work', async () => {
  const { call, gate, port, app } = await startDemo({ limits: { concurrent: 2, waiting: 0 } });
  const working = [1, 2].map(() => call('/v1/demo/wait', { method: 'POST' }));
  await vi.waitFor(() => expect(gate.entered).toBe(2), 20_000);
  const refused = await call('/v1/demo');
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
  expect((await problem(refused)).code).toBe('service/overloaded');
  expect(
    statuses(await raw(port, ['GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'])),
  ).toEqual([200]);
  expect((await call('/metrics')).status).toBe(200);
  gate.release();
  for (const response of await Promise.all(working)) expect(response.status).toBe(200);
  expect((await call('/v1/demo')).status).toBe(200);
  await vi.waitFor(() => expect([app.desk.active, app.desk.inFlight.size]).toEqual([0, 0]), 20_000);
});

/** Guarantees that work that takes too long is answered 408 and told to stop, and counts until it has stopped. */
test('bounds the time of work', async () => {
  const { call, gate, app } = await startDemo();
  const response = await call('/v1/demo/hurry', { method: 'POST' });
  expect([response.status, (await problem(response)).code]).toEqual([408, 'request/timeout']);
  expect(gate.aborted).toHaveLength(1);
  expect((gate.aborted[0] as ServiceError).code).toBe('request/timeout');
  expect(app.desk.active).toBe(1);
  gate.release();
  await vi.waitFor(() => expect([app.desk.active, app.desk.inFlight.size]).toEqual([0, 0]), 20_000);
});

/** Guarantees that a client going away aborts the work it asked for, pipelined or not, and nothing is kept of it. */
test('notices that a client went away', async () => {
  const { port, gate, app } = await startDemo();
  const wait = `POST /v1/demo/wait HTTP/1.1\r\n${authorized}\r\n`;
  const socket = connect(port, '127.0.0.1', () => socket.write(wait + wait));
  await vi.waitFor(() => expect(gate.entered).toBe(2), 20_000);
  socket.destroy();
  await vi.waitFor(() => expect(gate.aborted).toHaveLength(2), 20_000);
  expect(app.desk.active).toBe(2);
  gate.release();
  await vi.waitFor(() => expect([app.desk.active, app.desk.inFlight.size]).toEqual([0, 0]), 20_000);
});

/** Guarantees that a client that leaves in the middle of its body leaves nothing behind. */
test('survives bodies cut short', async () => {
  const { port, app, call } = await startDemo();
  for (const framing of ['Content-Length: 100', 'Transfer-Encoding: chunked']) {
    const socket = connect(port, '127.0.0.1', () => socket.write(`${seal}${framing}\r\n\r\n5\r\n{"a"`));
    await vi.waitFor(() => expect(app.desk.active).toBe(1), 20_000);
    socket.resetAndDestroy();
    await vi.waitFor(() => expect([app.desk.active, app.desk.inFlight.size]).toEqual([0, 0]), 20_000);
  }
  expect((await call('/v1/demo')).status).toBe(200);
});

/** Guarantees that a request in progress is finished while closing, that readiness turns first, and nothing is accepted. */
test('finishes what is in progress', async () => {
  const { call, gate, listener, url } = await startDemo();
  const working = call('/v1/demo/wait', { method: 'POST' });
  await vi.waitFor(() => expect(gate.entered).toBe(1), 20_000);
  const closed = listener.close(30_000, { noticeMs: 2_000 });
  const ready = await fetch(`${url}/readyz`);
  expect([ready.status, ready.headers.get('connection')]).toEqual([503, 'close']);
  expect((await call('/v1/demo')).status).toBe(200);
  await vi.waitFor(() => expect(fetch(`${url}/healthz`)).rejects.toThrow(), 20_000);
  gate.release();
  const response = await working;
  expect([response.status, response.headers.get('connection')]).toEqual([200, 'close']);
  await closed;
});

/** Guarantees that closing ends in its time: idle and half-open connections do not hold it, and work that stays is told and answered. */
test('closes in time', async () => {
  const { call, gate, listener, port } = await startDemo();
  const idle = raw(port, ['']);
  const half = raw(port, ['GET / HTTP/1.1\r\nHost']);
  await delay(50);
  let started = performance.now();
  const other = await startDemo();
  await other.listener.close(60_000);
  expect(performance.now() - started).toBeLessThan(15_000);
  const working = call('/v1/demo/wait', { method: 'POST' });
  await vi.waitFor(() => expect(gate.entered).toBe(1), 20_000);
  started = performance.now();
  // The gate is shut: without a bound this would never end.
  await listener.close(200);
  expect(performance.now() - started).toBeLessThan(15_000);
  const response = await working;
  expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1']);
  expect((await problem(response)).code).toBe('service/shutting-down');
  expect((gate.aborted[0] as ServiceError).code).toBe('service/shutting-down');
  await Promise.all([idle, half]);
});

/** Guarantees that no listener others can reach goes without TLS unless that is allowed in so many words. */
test('refuses to listen in clear', async () => {
  const { app } = await startDemo();
  for (const host of ['0.0.0.0', '::', '192.0.2.1', '::ffff:10.0.0.1', 'example.org', '0', '']) {
    await expect(listen(app, { host, port: 0, allowCleartext: false })).rejects.toThrow(/without TLS/);
  }
  for (const [host, allowCleartext] of [
    ['127.0.0.1', false],
    ['localhost', false],
    ['0.0.0.0', true],
  ] as const) {
    const listener = await listen(app, { host, port: 0, allowCleartext });
    await listener.close(0);
  }
});

/** Guarantees that a port that is taken is an error to the caller, not an exception to the process. */
test('reports a port that is taken', async () => {
  const { app, port } = await startDemo();
  await expect(listen(app, { host: '127.0.0.1', port, allowCleartext: false })).rejects.toThrow(/EADDRINUSE/);
});
