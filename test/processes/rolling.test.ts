import { once } from 'node:events';
import { Agent, get } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { measurements, type StandIn, startStandIn } from './stand-in.ts';

const started: StandIn[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map((one) => one.dispose()));
});

async function start(...given: Parameters<typeof startStandIn>): Promise<StandIn> {
  const standIn = await startStandIn(...given);
  started.push(standIn);
  return standIn;
}

const soon = { timeout: 100_000, interval: 50 };
const rolled = (service: StandIn, times = 1) =>
  vi.waitFor(() => expect(service.events('processes.rolled')).toHaveLength(times), soon);

/** A client that asks again and again until it is told to end. */
interface Client {
  readonly answers: { readonly pid: number; readonly close: boolean }[];
  readonly errors: unknown[];
  end(): Promise<void>;
}

/** @param agent keeps connections open or not, @param path what is asked for, @param pauseMs between two requests */
function startClient(service: StandIn, agent: Agent, path: string, pauseMs: number): Client {
  const client = { answers: [] as Client['answers'][number][], errors: [] as unknown[] };
  let ending = false;
  const working = (async () => {
    while (!ending) {
      await ask(service, agent, path).then(
        (answer) => client.answers.push(answer),
        (error: unknown) => client.errors.push(error),
      );
      await delay(pauseMs);
    }
    agent.destroy();
  })();
  return {
    ...client,
    async end() {
      ending = true;
      await working;
    },
  };
}

async function ask({ url }: StandIn, agent: Agent, path: string) {
  const request = get(`${url}${path}`, { agent });
  const [response] = (await once(request, 'response')) as [
    NodeJS.ReadableStream & { statusCode: number; headers: object },
  ];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  if (response.statusCode !== 200) throw new Error(`${response.statusCode} ${text}`);
  const { connection } = response.headers as { connection?: string };
  return { pid: (JSON.parse(text) as { pid: number }).pid, close: connection === 'close' };
}

/** Guarantees that a rolling restart under load replaces every process without a refused, reset or refusing answer. */
test('replaces every process unnoticed', { timeout: 240_000 }, async () => {
  const service = await start({ processes: 2 });
  const before = await service.serving(2);
  const anew = () => new Agent({ keepAlive: false });
  const kept = () => new Agent({ keepAlive: true, maxSockets: 1 });
  const clients = [
    startClient(service, anew(), '/v1/work', 5),
    startClient(service, anew(), '/v1/work?ms=400', 0),
    startClient(service, kept(), '/v1/work', 10),
    startClient(service, kept(), '/v1/work?ms=300', 0),
    // Its connection is idle for long, and used again before its time is up.
    startClient(service, kept(), '/v1/work', 2_500),
    startClient(service, anew(), '/readyz', 50),
  ];
  // Readiness does not say who answers.
  const all = () => clients.slice(0, 5).flatMap(({ answers }) => answers);
  await vi.waitFor(() => expect(new Set(all().map(({ pid }) => pid))).toEqual(new Set(before)), soon);
  service.signal('SIGHUP');
  await rolled(service);
  const after = await service.serving(2);
  expect(after.filter((pid) => before.includes(pid))).toEqual([]);
  const asked = all().length;
  await vi.waitFor(() => expect(all().length).toBeGreaterThan(asked + 50), soon);
  await Promise.all(clients.map((client) => client.end()));
  expect(clients.map(({ errors }) => errors)).toEqual([[], [], [], [], [], []]);
  expect(new Set(all().map(({ pid }) => pid))).toEqual(new Set([...before, ...after]));
  // Those that kept their connections were told to leave, by an answer of an old process.
  for (const { answers } of clients.slice(2, 5)) {
    const last = answers.filter(({ pid }) => before.includes(pid)).at(-1);
    expect(last === undefined || last.close).toBe(true);
  }
  const page = await measurements(service.url);
  expect(page.get('stathera_process_restarts_total{reason="rolled"}')).toBe(2);
  expect(page.get('stathera_process_restarts_total{reason="ended"}')).toBe(0);
});

/** Guarantees that a request whose bytes come slowly is not cut off by a rolling restart, and ends its connection. */
test('waits for a request that is on its way', { timeout: 240_000 }, async () => {
  const service = await start({ processes: 2 });
  const [first] = await service.serving(2);
  const sockets = Array.from({ length: 4 }, () => connect(Number(new URL(service.url).port), '127.0.0.1'));
  const received = sockets.map(() => '');
  for (const [index, socket] of sockets.entries()) {
    socket.on('data', (chunk) => (received[index] += chunk.toString()));
    socket.write('GET /v1/work HTTP/1.1\r\nHost: x\r\n');
  }
  const closed = sockets.map((socket) => once(socket, 'close'));
  service.signal('SIGHUP');
  await vi.waitFor(() => expect(service.log().map(({ msg }) => msg)).toContain('processes.rolling'), soon);
  await vi.waitFor(() => expect(service.events('process.listening')).toHaveLength(3), soon);
  await delay(500);
  for (const socket of sockets) socket.write('Authorization: Bearer x\r\n\r\n');
  await Promise.all([rolled(service), ...closed]);
  for (const text of received) expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  // The one that is replaced first was waiting for its requests when they came.
  const awaited = received.filter((text) => text.includes(`"pid":${first}`));
  expect(awaited.length).toBeGreaterThan(0);
  for (const text of awaited) expect(text).toMatch(/connection: close/i);
});

/** Guarantees that a rolling restart ends where a new process does not come up, and that every old one goes on. */
test('keeps the old ones when the new one fails', { timeout: 240_000 }, async () => {
  const service = await start({ processes: 2 });
  const before = await service.serving(2);
  service.tell('fail');
  service.signal('SIGHUP');
  await vi.waitFor(() => expect(service.events('processes.roll-ended')).toHaveLength(1), soon);
  expect(await service.serving(2)).toEqual(before);
  expect(service.events('process.ended')).toMatchObject([{ reason: 'the stand-in was told to fail' }]);
  service.tell('');
  // Two at once, and one more in the middle: what is asked for while it goes on is done after it.
  service.signal('SIGHUP');
  await vi.waitFor(() => expect(service.events('processes.rolling')).toHaveLength(2), soon);
  service.signal('SIGHUP');
  await rolled(service, 2);
  expect((await service.serving(2)).filter((pid) => before.includes(pid))).toEqual([]);
});

/** Guarantees that the sums of the page of measurements do not go down when processes are replaced in order. */
test('goes on counting', { timeout: 240_000 }, async () => {
  const service = await start({ processes: 2 });
  await service.serving(2);
  const agent = new Agent({ keepAlive: false });
  const name = 'stathera_http_requests_total{operation="stand-in.work",status="2xx"}';
  const buckets = 'stathera_http_request_duration_seconds_count{operation="stand-in.work"}';
  for (let asked = 0; asked < 10; asked++) await ask(service, agent, '/v1/work');
  const before = await measurements(service.url);
  expect([before.get(name), before.get(buckets)]).toEqual([10, 10]);
  for (const number of [1, 2]) {
    expect(before.get(`process_resident_memory_bytes{process="${number}"}`)).toBeGreaterThan(1e6);
  }
  expect(before.get('stathera_processes_silent')).toBe(0);
  // Nobody reads these before their process ends.
  for (let asked = 0; asked < 10; asked++) await ask(service, agent, '/v1/work');
  service.signal('SIGHUP');
  await rolled(service);
  const after = await measurements(service.url);
  expect([after.get(name), after.get(buckets)]).toEqual([20, 20]);
});

/** Guarantees that a process that does not answer costs the page no sum and little time, and that the page says so. */
test('measures without a silent process', { timeout: 240_000 }, async () => {
  const service = await start({ processes: 2, limits: { hungAfterMs: 60_000, answerWithinMs: 500 } });
  const [victim = 0] = await service.serving(2);
  const agent = new Agent({ keepAlive: false });
  for (let asked = 0; asked < 10; asked++) await ask(service, agent, '/v1/work');
  const name = 'stathera_http_requests_total{operation="stand-in.work",status="2xx"}';
  expect((await measurements(service.url)).get(name)).toBe(10);
  process.kill(victim, 'SIGSTOP');
  // One connection may be on its way to the one that stands still.
  const pages = await Promise.all(
    [1, 2].map(() => Promise.race([measurements(service.url), delay(20_000).then(() => undefined)])),
  );
  const page = pages.find((one) => one !== undefined);
  expect(page?.get(name)).toBe(10);
  expect(page?.get('stathera_processes_silent')).toBe(1);
  expect(page?.has('process_resident_memory_bytes{process="1"}')).toBe(false);
  expect(page?.has('process_resident_memory_bytes{process="2"}')).toBe(true);
  process.kill(victim, 'SIGCONT');
});
