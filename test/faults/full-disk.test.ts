import { spawnSync } from 'node:child_process';
import { readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, onTestFinished, test, vi } from 'vitest';
import { plaintext, recordsOnDisk } from '../access/support.ts';
import { emptyDirectory, removeDirectory, runMain } from '../support/data.ts';
import { type Answer, startTestService, type TestService } from '../support/service.ts';

const processes = 3;
const soon = { timeout: 90_000, interval: 100 };

/** A small file system, gone with the test; undefined where a test may not make one. */
async function smallDisk(megabytes: number): Promise<string | undefined> {
  const directory = await emptyDirectory();
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', directory]);
  onTestFinished(async () => {
    if (mounted.status === 0) spawnSync('umount', ['-l', directory]);
    await removeDirectory(directory);
  });
  return mounted.status === 0 ? directory : undefined;
}

/** To the last byte. */
function fill(ballast: string): void {
  for (const bytes of [1_048_576, 4_096, 1]) {
    try {
      for (;;) writeFileSync(ballast, Buffer.alloc(bytes), { flag: 'a' });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
  }
}

interface Done {
  readonly id: string;
  readonly begun: number;
  readonly milliseconds: number;
  readonly what: 'key' | 'token' | 'encrypt';
  readonly name: string;
  readonly answer: Answer | undefined;
}

/** Clients of all processes in a closed loop; half of what they do changes something. */
function load(service: TestService) {
  const done: Done[] = [];
  let [going, count] = [true, 0];
  const one = async () => {
    while (going) {
      count += 1;
      const [id, name] = [`load-${count}`, `made-${count}`];
      const what = (['encrypt', 'key', 'encrypt', 'token'] as const)[count % 4] ?? 'key';
      const [path, body] = {
        encrypt: ['/v1/keys/key/encrypt', { plaintext }],
        key: ['/v1/keys', { name }],
        token: ['/v1/access/tokens', { name, scopes: ['keys:encrypt'] }],
      }[what] as [string, object];
      const begun = performance.now();
      const headers = { 'x-request-id': id, connection: 'close' };
      const answer = await service.call('POST', path, body, { headers }).catch(() => undefined);
      done.push({ id, begun, milliseconds: performance.now() - begun, what, name, answer });
      if (answer?.status !== 200) await delay(5);
    }
  };
  const clients = Array.from({ length: 9 }, one);
  const stop = async () => {
    going = false;
    await Promise.all(clients);
  };
  onTestFinished(stop);
  return { done, stop };
}

/**
 * Guarantees, with several processes that write one database and a log each, on a disk that is full to the last byte:
 * everything is refused, soon; a process that ends meanwhile is replaced when there is room; all of them work again by
 * themselves then; what was acknowledged is there, and on record once.
 */
test('a full disk under several processes', { timeout: 300_000 }, async ({ skip }) => {
  const dataDir = await smallDisk(24);
  if (dataDir === undefined) return skip('needs the right to mount a small file system');
  await runMain(['init'], { STATHERA_DATA_DIR: dataDir });
  const service = await startTestService({ dataDir, env: { STATHERA_PROCESSES: String(processes) } });
  onTestFinished(() => service.kill());
  const log = () =>
    service
      .stderr()
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
  const pids = () =>
    log().flatMap(({ msg, childPid }) => (msg === 'process.listening' ? [Number(childPid)] : []));
  await vi.waitFor(() => expect(pids()).toHaveLength(processes), soon);
  expect((await service.call('POST', '/v1/keys', { name: 'key' })).status).toBe(201);
  const { done, stop } = load(service);
  const since = (moment: number, kind: (status: number) => boolean, what?: Done['what']) =>
    done.filter(
      (one) =>
        one.begun > moment &&
        one.answer &&
        kind(one.answer.status) &&
        (what === undefined || one.what === what),
    );
  await vi.waitFor(() => expect(since(0, (status) => status < 300).length).toBeGreaterThan(60), soon);

  const ballast = join(dataDir, 'ballast');
  const full = performance.now();
  fill(ballast);
  for (const what of ['encrypt', 'key', 'token'] as const)
    await vi.waitFor(
      () => expect(since(full, (status) => status === 503, what).length).toBeGreaterThan(20),
      soon,
    );
  // What a login leaves that SoftHSM began when there was no room: it cuts the token's file first.
  for (const token of readdirSync(join(dataDir, 'hsm/tokens')))
    truncateSync(join(dataDir, 'hsm/tokens', token, 'token.object'));
  fill(ballast);
  const killed = performance.now();
  process.kill(pids()[1] ?? 0, 'SIGKILL');
  await vi.waitFor(() => expect(log().map(({ msg }) => msg)).toContain('process.start-postponed'), soon);
  expect(pids()).toHaveLength(processes);
  expect(since(killed, (status) => status < 300)).toEqual([]);
  const room = performance.now();
  rmSync(ballast);
  await vi.waitFor(() => expect(since(room, (status) => status < 300).length).toBeGreaterThan(60), soon);
  await vi.waitFor(() => expect(pids().length).toBeGreaterThan(processes), soon);
  await vi.waitFor(async () => {
    for (let look = 0; look < 3 * processes; look += 1) {
      const { status } = await service.call('GET', '/readyz', undefined, {
        headers: { connection: 'close' },
      });
      expect(status).toBe(200);
    }
  }, soon);
  await stop();

  const refused = done.filter(({ answer }) => answer && answer.status >= 300);
  for (const { answer } of refused)
    expect(answer?.body, answer?.text).toMatchObject({
      status: 503,
      code: expect.stringMatching(/^(store|audit|hsm)\/unavailable$/),
    });
  // Of the process that was killed.
  expect(done.filter(({ answer }) => !answer).length).toBeLessThan(10);
  expect(Math.max(...done.map(({ milliseconds }) => milliseconds))).toBeLessThan(20_000);
  const acknowledged = done.filter(({ answer }) => answer && answer.status < 300);
  const made = (what: Done['what']) => acknowledged.flatMap((one) => (one.what === what ? [one.name] : []));
  const operations = made('key').map((key) => ({ operation: 'encrypt', key, plaintext }));
  const { body: used } = await service.call('POST', '/v1/batch', { operations });
  expect(used['results']).toEqual(operations.map(() => expect.objectContaining({ status: 200 })));
  const { body: listed } = await service.call('GET', '/v1/access/tokens?limit=1000');
  const names = (listed['items'] as { name: string }[]).map(({ name }) => name);
  expect(names).toEqual(expect.arrayContaining(made('token')));
  const told = log().flatMap(({ msg }) => (msg === 'request' ? [] : [String(msg)]));
  expect(told).toContain('hsm.token-restored');
  // Said once by each process, however long it lasts.
  expect(told.filter((msg) => msg === 'audit.outbox-kept').length).toBeLessThan(20);
  expect(await service.stop()).toBe(0);
  const verified = await runMain(['audit', 'verify', '--with-token'], { STATHERA_DATA_DIR: dataDir });
  expect(verified.stdout).toMatch(/^ok$/m);
  const times = new Map<string, number>();
  for (const { requestId } of await recordsOnDisk(dataDir))
    times.set(requestId, (times.get(requestId) ?? 0) + 1);
  expect(acknowledged.filter(({ id }) => times.get(id) !== 1)).toEqual([]);
});
