import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { z } from 'zod';
import { ServiceError } from '../../src/core/errors.ts';
import { lineLimits } from '../../src/http/lines.ts';
import { type AnyRoute, defineLinesRoute, type Line } from '../../src/http/route.ts';
import { authorized, type DemoOptions, problem, raw, startDemo, statuses } from './demo.ts';

interface Seen {
  readonly groups: (readonly Line[])[];
  lines: number;
  readonly aborted: unknown[];
}

/** Answers each line with what it is; fails where a line says so. */
function echo(seen: Seen): AnyRoute {
  return defineLinesRoute({
    method: 'post',
    path: '/v1/demo/lines',
    operationId: 'demo.lines',
    tag: 'demo',
    summary: 'Gives back lines',
    request: { body: z.unknown() },
    answer: { status: 200, description: 'The same.', body: z.unknown() },
    problems: ['key/not-found'],
    async handle({ group, signal }) {
      signal.addEventListener('abort', () => seen.aborted.push(signal.reason), { once: true });
      if (seen.groups.length < 50) seen.groups.push(group);
      seen.lines += group.length;
      return group.map((line) => {
        if ('error' in line) return { status: 'failed', code: line.error.code };
        if (line.value === 'fail') throw new ServiceError('key/not-found', 'There is no such key.');
        return { status: 'done', value: line.value };
      });
    },
  });
}

async function startLines(options: DemoOptions = {}) {
  const seen: Seen = { groups: [], lines: 0, aborted: [] };
  const demo = await startDemo({ ...options, more: [echo(seen)] });
  const headers = { 'content-type': 'application/x-ndjson' };
  const send = (body: string, more: object = {}) =>
    demo.call('/v1/demo/lines', { method: 'POST', body, headers: { ...headers, ...more } });
  return { ...demo, seen, send };
}

const head = `POST /v1/demo/lines HTTP/1.1\r\n${authorized}Content-Type: application/x-ndjson\r\n`;
const chunked = `${head}Transfer-Encoding: chunked\r\n\r\n`;
const chunk = (text: string) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
const linesOf = (text: string) =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
/** The lines in an answer in chunks, as they came over a socket. */
const linesIn = (received: string) =>
  linesOf([...received.matchAll(/^\{.*\}$/gm)].map(([line]) => line).join('\n'));

/** Guarantees an answer for each line, in order, that a bad one fails alone, and a last line that tells how many. */
test('answers line by line', async () => {
  const { send, seen } = await startLines();
  const long = `"${'x'.repeat(lineLimits.bytes)}"`;
  const body = ['1', '', ' \r', '{"a":"é"}\r', '{', '{"a":1,"a":2}', '\u{feff}1', long, '[]', '"end"'].join(
    '\n',
  );
  const answer = await send(body);
  expect(answer.status).toBe(200);
  expect(answer.headers.get('content-type')).toBe('application/x-ndjson');
  expect(linesOf(await answer.text())).toEqual([
    { line: 1, status: 'done', value: 1 },
    { line: 4, status: 'done', value: { a: 'é' } },
    { line: 5, status: 'failed', code: 'request/invalid' },
    { line: 6, status: 'failed', code: 'request/invalid' },
    { line: 7, status: 'failed', code: 'request/invalid' },
    { line: 8, status: 'failed', code: 'request/too-large' },
    { line: 9, status: 'done', value: [] },
    { line: 10, status: 'done', value: 'end' },
    { end: { lines: 8, done: 4, failed: 4 } },
  ]);
  // The longest line that is taken, and no body at all.
  const longest = `"${'x'.repeat(lineLimits.bytes - 2)}"`;
  expect(linesOf(await (await send(`${longest}\n`)).text())[1]).toEqual({ end: { lines: 1, done: 1 } });
  seen.groups.length = 0;
  expect(linesOf(await (await send('')).text())).toEqual([{ end: { lines: 0 } }]);
  expect(seen.groups).toEqual([[]]);
});

/** Guarantees that what is refused as a whole is a problem document, also after much of a body was sent. */
test('refuses as a whole', async () => {
  const { send, call, refusals, port } = await startLines();
  const path = '/v1/demo/lines';
  const refusal = async (answer: Promise<Response>) => {
    const { status, code } = await problem(await answer);
    return [status, code];
  };
  const many = '"fail"\n'.repeat(200_000);
  expect(await refusal(send('"fail"\n'))).toEqual([404, 'key/not-found']);
  // The connection serves on.
  const small = `${head}Content-Length: 9\r\n\r\n"fail"\n1\n`;
  const next = `GET /v1/demo HTTP/1.1\r\n${authorized}Connection: close\r\n\r\n`;
  expect(statuses(await raw(port, [`${small}${next}`]))).toEqual([404, 200]);
  expect(await refusal(send(many))).toEqual([404, 'key/not-found']);
  expect(await refusal(send(many, { authorization: 'Bearer no' }))).toEqual([401, 'access/unauthenticated']);
  expect(refusals).toHaveLength(1);
  const json = { 'content-type': 'application/json' };
  expect(await refusal(send('1\n', json))).toEqual([415, 'request/unsupported-media-type']);
  expect(await refusal(send('1\n', { 'content-encoding': 'gzip' }))).toEqual([
    415,
    'request/unsupported-media-type',
  ]);
  expect(await refusal(send('1\n', { 'content-digest': 'sha-256=:AA==:' }))).toEqual([
    400,
    'request/invalid',
  ]);
  expect(await refusal(call(`${path}?a=1`, { method: 'POST' }))).toEqual([400, 'request/invalid']);
});

/** Guarantees that a line that comes alone is answered before the next, and that a stream outlasts a request's time. */
test('answers while lines come', async () => {
  const { port, listener } = await startLines({ listen: { limits: { requestTimeoutMs: 300 } } });
  const socket = connect(port, '127.0.0.1');
  let received = '';
  socket.setEncoding('utf8').on('data', (text: string) => {
    received += text;
  });
  socket.write(chunked);
  for (let count = 1; count <= 4; count += 1) {
    socket.write(chunk(`${count}\n`));
    await vi.waitFor(() => expect(linesIn(received)).toHaveLength(count), 20_000);
    await delay(150);
  }
  // One that comes in two pieces.
  socket.write(chunk('"a'));
  socket.write(chunk('b"'));
  socket.write('0\r\n\r\n');
  await vi.waitFor(() => expect(received).toContain('0\r\n\r\n'), 20_000);
  expect(linesIn(received).slice(-2)).toEqual([
    { line: 5, status: 'done', value: 'ab' },
    { end: { lines: 5, done: 5 } },
  ]);
  // The connection serves on; a request that is never complete does not hold it.
  received = '';
  socket.write(`POST /v1/demo/wait HTTP/1.1\r\n${authorized}Content-Length: 5\r\n\r\n`);
  await once(socket, 'close');
  expect(statuses(received)).toEqual([413]);
  expect(listener.url).toContain('http');
});

/** Writes for as long as the other side takes it. @returns lines written */
async function flood(socket: Socket, piece: string, lines: number, pieces: number): Promise<number> {
  let written = 0;
  for (let count = 0; count < pieces; count += 1) {
    written += lines;
    if (socket.write(piece)) continue;
    const drained = once(socket, 'drain').then(
      () => true,
      () => false,
    );
    if (!(await Promise.race([drained, delay(500, false)]))) break;
  }
  return written;
}

/** Guarantees that a client that writes and does not read is not read from: nothing piles up, and nothing is lost. */
test('holds a writer back who does not read', async () => {
  const { port, seen } = await startLines();
  const socket = connect(port, '127.0.0.1');
  socket.pause();
  socket.write(chunked);
  const text = `"${'x'.repeat(500)}"\n`.repeat(200);
  const written = await flood(socket, chunk(text), 200, 10_000);
  expect(written).toBeLessThan(1_000_000);
  const held = seen.lines;
  expect(held).toBeLessThanOrEqual(written);
  let received = '';
  socket.setEncoding('utf8').on('data', (piece: string) => {
    received = `${received}${piece}`.slice(-2_000);
  });
  socket.resume();
  socket.end('0\r\n\r\n');
  await vi.waitFor(
    () => expect(received).toContain(`{"end":{"lines":${written},"done":${written}}}`),
    60_000,
  );
});

/** Guarantees that a client that goes away ends its work and gives its place back, in the middle of either direction. */
test.each(['while it sends', 'while it should read'])('a client that goes %s', async (when) => {
  const { port, seen, app } = await startLines();
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(chunked);
  if (when === 'while it should read') {
    socket.pause();
    await flood(socket, chunk(`"${'x'.repeat(500)}"\n`.repeat(200)), 200, 10_000);
  } else {
    socket.write(chunk('1\n'));
    await vi.waitFor(() => expect(seen.lines).toBe(1), 20_000);
  }
  expect(app.desk.active).toBe(1);
  socket.destroy();
  await vi.waitFor(() => expect([app.desk.active, app.desk.inFlight.size]).toEqual([0, 0]), 20_000);
  expect(seen.aborted.length).toBeGreaterThan(0);
});

/** Guarantees that what ends an answer in its middle is told in its last line, and that the connection ends with it. */
test('fails in the middle', async () => {
  const { port, logs, app } = await startLines();
  const received = await raw(port, [chunked, chunk('1\n'), chunk('2\n'), chunk('"fail"\n3\n')], 200);
  const [first, second, last, ...rest] = linesIn(received);
  expect([first?.['line'], second?.['line'], rest]).toEqual([1, 2, []]);
  expect(last?.['end']).toMatchObject({ lines: 2, done: 2, problem: { code: 'key/not-found', status: 404 } });
  expect(logs.join('')).toContain('"code":"key/not-found"');
  await vi.waitFor(() => expect(app.desk.active).toBe(0), 20_000);
});

/** Guarantees that neither a sender nor a reader that stands still keeps its place for ever. */
test('bounds what stands still', async () => {
  const { port, app } = await startLines({ lineTimeoutMs: 300 });
  const silent = await raw(port, [chunked, chunk('1\n')]);
  expect(linesIn(silent).at(-1)?.['end']).toMatchObject({ problem: { code: 'request/timeout' } });
  expect(statuses(await raw(port, [chunked]))).toEqual([408]);
  const deaf = connect(port, '127.0.0.1');
  deaf.on('error', () => undefined).pause();
  deaf.write(chunked);
  await flood(deaf, chunk(`"${'x'.repeat(500)}"\n`.repeat(200)), 200, 10_000);
  await vi.waitFor(() => expect(app.desk.active).toBe(0), 20_000);
});

/** Guarantees that a service that stops ends answers between two lines and says so. */
test('ends with the service', async () => {
  const { port, listener } = await startLines();
  const parts = [chunked, ...Array.from({ length: 400 }, (_, index) => chunk(`${index}\n`))];
  const receiving = raw(port, parts, 20);
  await delay(200);
  await listener.close(20_000);
  const lines = linesIn(await receiving);
  const code = 'service/shutting-down';
  expect(lines.at(-1)).toMatchObject({ end: { lines: lines.length - 1, problem: { code } } });
});
