import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { askOnce, isRunning, measurements, type StandIn, startStandIn } from './stand-in.ts';

const started: StandIn[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map((one) => one.dispose()));
});

async function start(...given: Parameters<typeof startStandIn>): Promise<StandIn> {
  const standIn = await startStandIn(...given);
  started.push(standIn);
  return standIn;
}

const soon = { timeout: 60_000, interval: 50 };

/** Guarantees that one address has all processes behind it, and that each gets its share of the connections. */
test('hands connections out evenly', async () => {
  const service = await start({ processes: 3 });
  const pids = await service.serving(3);
  const answers = new Map(pids.map((pid) => [pid, 0]));
  for (let asked = 0; asked < 60; asked++) {
    const pid = await askOnce(service.url);
    answers.set(pid, (answers.get(pid) ?? 0) + 1);
  }
  expect(new Set(answers.keys())).toEqual(new Set(pids));
  for (const count of answers.values()) expect(count).toBeGreaterThanOrEqual(10);
});

/** Guarantees that a process that dies is replaced, that the others go on meanwhile, and that log and measurements say so. */
test('replaces a dead process', async () => {
  const service = await start({ processes: 2 });
  const [victim = 0, other] = await service.serving(2);
  process.kill(victim, 'SIGKILL');
  await vi.waitFor(() => expect(service.events('process.ended')).toHaveLength(1), soon);
  expect(await askOnce(service.url)).toBe(other);
  const pids = await service.serving(2);
  expect(pids).toContain(other);
  expect(pids).not.toContain(victim);
  expect(service.events('process.ended')).toMatchObject([
    { process: 1, childPid: victim, signal: 'SIGKILL', pid: service.pid },
  ]);
  const after = await measurements(service.url);
  expect(after.get('stathera_process_restarts_total{reason="ended"}')).toBe(1);
  expect(after.get('stathera_processes_running')).toBe(2);
});

/** Guarantees that a connection on its way to a process that is killed is another's, and never waits for ever. */
test('hands on what a dead process had not taken', async () => {
  const service = await start({ processes: 2 });
  const [victim = 0] = await service.serving(2);
  process.kill(victim, 'SIGSTOP');
  const asked = Array.from({ length: 8 }, () => askOnce(service.url));
  // All but the one that waits for the stopped process.
  await Promise.any(asked);
  await delay(500);
  process.kill(victim, 'SIGKILL');
  const answers = await Promise.race([Promise.all(asked), delay(20_000, 'a request is left waiting')]);
  expect(answers).toHaveLength(asked.length);
  expect(answers).not.toContain(victim);
});

/** Guarantees that a process that ends again and again is started with growing pauses, which log and measurements show. */
test('does not start a crash loop as fast as it can', async () => {
  const limits = { firstPauseMs: 100, lastPauseMs: 400 };
  const service = await start({ processes: 2, limits });
  const [victim = 0] = await service.serving(2);
  service.tell('die');
  process.kill(victim, 'SIGKILL');
  await vi.waitFor(() => expect(service.events('process.start-postponed').length).toBeGreaterThan(4), soon);
  const pauses = service.events('process.start-postponed').map(({ pauseMs }) => pauseMs);
  expect(pauses.slice(0, 5)).toEqual([100, 200, 400, 400, 400]);
  const during = await measurements(service.url);
  expect(during.get('stathera_processes_running')).toBe(1);
  expect(during.get('stathera_processes_wanted')).toBe(2);
  expect(during.get('stathera_process_restarts_total{reason="start-failed"}')).toBeGreaterThanOrEqual(4);
  service.tell('');
  await service.serving(2);
});

/** Guarantees that a process whose main thread stands still is killed and replaced, while the other answers all. */
test('replaces a hung process', async () => {
  const service = await start({ processes: 2, limits: { hungAfterMs: 2_000 } });
  const [victim = 0, other] = await service.serving(2);
  process.kill(victim, 'SIGSTOP');
  await vi.waitFor(() => expect(service.events('process.hung')).toHaveLength(1), soon);
  expect(service.events('process.hung')).toMatchObject([{ process: 1, childPid: victim }]);
  await vi.waitFor(() => expect(service.events('process.ended')).toHaveLength(1), soon);
  const pids = await service.serving(2);
  expect(pids).toContain(other);
  expect(isRunning(victim)).toBe(false);
  for (let asked = 0; asked < 4; asked++) expect(pids).toContain(await askOnce(service.url));
  const after = await measurements(service.url);
  expect(after.get('stathera_process_restarts_total{reason="hung"}')).toBe(1);
});

/** Guarantees that a supervisor that stood still itself does not take it out on its processes. */
test('kills nobody for its own absence', async () => {
  const service = await start({ processes: 2, limits: { hungAfterMs: 2_000 } });
  const pids = await service.serving(2);
  service.signal('SIGSTOP');
  await delay(4_000);
  service.signal('SIGCONT');
  // Three more looks.
  await delay(2_000);
  expect(service.events('process.hung')).toEqual([]);
  expect(pids.map(isRunning)).toEqual([true, true]);
  expect(pids).toContain(await askOnce(service.url));
});

/** Guarantees that processes end with their supervisor: none is left that holds the port or a place in the log. */
test('leaves no process behind', async () => {
  const service = await start({ processes: 3 });
  const pids = await service.serving(3);
  service.signal('SIGKILL');
  await vi.waitFor(() => expect(pids.map(isRunning)).toEqual([false, false, false]), soon);
  expect(await service.ended).toEqual({ code: null, signal: 'SIGKILL' });
  await expect(fetch(service.url)).rejects.toThrow();
});

/** Guarantees that a first process that cannot start ends all: with what it said, once, and without another try. */
test('does not insist where nothing ever worked', async () => {
  const failing = await start({ processes: 3 }, { order: 'fail' });
  expect(await failing.ended).toEqual({ code: 1, signal: null });
  expect(failing.output.stdout).toBe('not started: the stand-in was told to fail\n');
  expect(failing.events('process.ended')).toHaveLength(1);
  const dying = await start({ processes: 3 }, { order: 'die' });
  expect(await dying.ended).toEqual({ code: 1, signal: null });
  expect(dying.output.stdout).toMatch(/^not started: a process ended with signal SIGKILL before it listened/);
});

/** Guarantees that all processes finish what is in progress when all are told to stop, and that the end is a success. */
test('stops in order', async () => {
  const service = await start({ processes: 2 });
  const pids = await service.serving(2);
  const asked = [1, 2, 3, 4].map(() => askOnce(service.url, '/v1/work?ms=1500'));
  await delay(500);
  service.signal('SIGTERM');
  expect((await Promise.all(asked)).every((pid) => pids.includes(pid))).toBe(true);
  expect(await service.ended).toEqual({ code: 0, signal: null });
  expect(pids.map(isRunning)).toEqual([false, false]);
});

/** Guarantees that at the limit of connections one more is closed at once, instead of going round between processes. */
test('refuses connections beyond the limit of all', async () => {
  const service = await start({ processes: 2, maxConnections: 1 });
  await service.serving(2);
  const held = [askOnce(service.url, '/v1/work?ms=3000'), askOnce(service.url, '/v1/work?ms=3000')];
  await delay(1_000);
  const begun = performance.now();
  await expect(fetch(service.url)).rejects.toThrow();
  expect(performance.now() - begun).toBeLessThan(1_500);
  expect(new Set(await Promise.all(held)).size).toBe(2);
});

/** Guarantees that the lines of many processes arrive whole, however long they are and however slowly they are read. */
test('mixes no lines', async () => {
  const service = await start({ processes: 3 });
  await service.serving(3);
  await Promise.all(Array.from({ length: 9 }, () => askOnce(service.url, '/v1/lines?count=3000')));
  const complete = () => {
    expect(service.output.stderr.match(/"msg":"line"\}\n/g) ?? []).toHaveLength(27_000);
    expect(service.output.stderr.endsWith('\n')).toBe(true);
  };
  await vi.waitFor(complete, soon);
  // Each line is JSON: `events` throws otherwise.
  const lines = service.events('line');
  expect(lines).toHaveLength(27_000);
  expect(new Set(lines.map(({ process: number }) => number))).toEqual(new Set([1, 2, 3]));
  expect(lines.every(({ pid }) => typeof pid === 'number')).toBe(true);
});
