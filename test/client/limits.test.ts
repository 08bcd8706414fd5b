import { once } from 'node:events';
import { createServer } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { StatheraError } from '../../src/client/index.ts';
import {
  answer,
  type FakeServer,
  failure,
  problem,
  type Respond,
  reason,
  startFakeServer,
  token,
  transports,
} from './support.ts';

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});

async function start(respond: Respond): Promise<FakeServer> {
  const server = await startFakeServer(respond);
  open.push(server.close);
  return server;
}

const silent: Respond = () => undefined;

describe.each(transports)('by %s', (_, createClient) => {
  const clientOf = ({ url }: { url: string }, options: object = {}) =>
    createClient({ url, credentials: token, retries: { retries: 5, backoffMs: 1 }, ...options });

  /** Guarantees that a server that never answers costs the time of the call and no more, whatever the attempts. */
  test('ends when the time is up', async () => {
    const server = await start(silent);
    const client = clientOf(server, { timeoutMs: 400, attemptTimeoutMs: 150 });
    const error = await failure(client.random({ bytes: 1 }));
    expect(error).toMatchObject({ code: 'client/timeout', status: undefined, operationId: 'random' });
    expect(error.message).toMatch(/within (?:400|150) ms/);
    expect(server.received.map(({ headers }) => headers['x-request-id'])).toContain(error.requestId);
    expect(server.received.length).toBeGreaterThanOrEqual(2);
    expect(await failure(client.random({ bytes: 1 }, { timeoutMs: 20 }))).toMatchObject({
      code: 'client/timeout',
    });
  });

  /** Guarantees that a time beyond what timers take, or none, is a long time. */
  test('takes any time', async () => {
    const server = await start((response, request) => answer(response, request, 200, { bytes: 'AA==' }));
    for (const timeoutMs of [2 ** 40, Number.POSITIVE_INFINITY]) {
      const client = clientOf(server, { timeoutMs, attemptTimeoutMs: timeoutMs });
      expect((await client.random({ bytes: 1 })).bytes).toHaveLength(1);
    }
  });

  /** Guarantees that a body that trickles in is held to the same time as one that does not come. */
  test('ends slow answers', async () => {
    const server = await start((response, request) => {
      const headers = { 'stathera-version': 'x', 'x-request-id': String(request.headers['x-request-id']) };
      response.writeHead(200, { 'content-type': 'application/json', ...headers });
      const timer = setInterval(() => response.write(' '), 10);
      response.on('close', () => clearInterval(timer));
    });
    const client = clientOf(server, { timeoutMs: 200 });
    expect(await failure(client.random({ bytes: 1 }))).toMatchObject({ code: 'client/timeout' });
  });

  /** Guarantees that a signal ends a call at once with its own reason: before it, in it, and while it waits. */
  test('ends when it is told', async () => {
    const gone = Promise.withResolvers<void>();
    const server = await start((response, request) => {
      if (request.body === '{"bytes":1}') response.on('close', () => gone.resolve());
      else answer(response, request, 503, problem('service/overloaded'), { 'retry-after': '20' });
    });
    const client = clientOf(server);
    const why = new Error('the user went away');
    expect(await reason(client.random({ bytes: 1 }, { signal: AbortSignal.abort(why) }))).toBe(why);
    expect(server.received).toHaveLength(0);

    const during = new AbortController();
    const call = reason(client.random({ bytes: 1 }, { signal: during.signal }));
    await waitUntil(() => server.received.length === 1);
    during.abort();
    expect(await call).toMatchObject({ name: 'AbortError' });
    await gone.promise;

    const ofTheirs = new StatheraError('client/timeout', 'of another client');
    const theirs = AbortSignal.any([AbortSignal.abort(ofTheirs)]);
    expect(await reason(client.random({ bytes: 1 }, { signal: theirs }))).toBe(ofTheirs);

    const waiting = new AbortController();
    const late = reason(client.random({ bytes: 2 }, { signal: waiting.signal }));
    await waitUntil(() => server.received.length === 2);
    setTimeout(() => waiting.abort(why), 50);
    expect(await late).toBe(why);
    expect(server.received).toHaveLength(2);
  });

  /** Guarantees that an answer is read up to the limit: however long it says it is, or does not say. */
  test.each(['with its length', 'without'])('reads no huge answer, %s', async (how) => {
    const gone = Promise.withResolvers<void>();
    const server = await start((response, request) => {
      response.on('close', () => gone.resolve());
      const headers = { 'stathera-version': 'x', 'x-request-id': String(request.headers['x-request-id']) };
      const length = how === 'without' ? {} : { 'content-length': 2 ** 40 };
      response.writeHead(200, { 'content-type': 'application/json', ...headers, ...length });
      const block = Buffer.alloc(16 * 1024, ' ');
      const more = () => {
        while (!response.destroyed && response.write(block));
        if (!response.destroyed) response.once('drain', more);
      };
      more();
    });
    const client = clientOf(server, { maxAnswerBytes: 100_000 });
    expect(await failure(client.random({ bytes: 1 }))).toMatchObject({
      ...{ code: 'client/answer-too-large', attempts: 1 },
    });
    await gone.promise;
  });

  /** Guarantees that a place where no service is, or where something else than HTTP is spoken, is told as it is. */
  test('says who is not there', async () => {
    const gone = await startFakeServer(silent);
    await gone.close();
    const client = clientOf(gone, { retries: 1 });
    expect(await failure(client.random({ bytes: 1 }))).toMatchObject({
      ...{ code: 'client/unreachable', attempts: 2 },
      message: expect.stringContaining('ECONNREFUSED'),
    });
    const babble = createServer((socket) =>
      socket.on('error', () => undefined).write('SSH-2.0-x\r\n'),
    ).listen(0, '127.0.0.1');
    await once(babble, 'listening');
    open.push(async () => void babble.close());
    const { port } = babble.address() as { port: number };
    expect(await failure(clientOf({ url: `http://127.0.0.1:${port}` }).random({ bytes: 1 }))).toMatchObject({
      ...{ code: 'client/not-stathera', attempts: 1 },
    });
  });
});

async function waitUntil(holds: () => boolean): Promise<void> {
  const ends = Date.now() + 20_000;
  while (!holds()) {
    if (Date.now() > ends) throw new Error('it never came');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
