import { setTimeout as delay } from 'node:timers/promises';
import { expect, onTestFinished, test, vi } from 'vitest';
import { makeKey, plaintext, seal } from '../access/support.ts';
import { readDocument, tableRows } from '../docs/markdown.ts';
import { emptyDirectory, freshDataDir, removeDirectory, runMain } from '../support/data.ts';
import { startPostgres, whyNoPostgres } from '../support/postgres.ts';
import { startTestService } from '../support/service.ts';
import { isRunning } from './stand-in.ts';

const soon = { timeout: 100_000, interval: 100 };

async function startProcesses(processes: number, url?: string) {
  const dataDir = await (url === undefined ? freshDataDir() : emptyDirectory());
  const database = url === undefined ? {} : { STATHERA_DATABASE_URL: url };
  if (url !== undefined) await runMain(['init'], { ...database, STATHERA_DATA_DIR: dataDir });
  const env = { ...database, STATHERA_PROCESSES: String(processes) };
  const service = await startTestService({ dataDir, env });
  onTestFinished(async () => {
    await service.kill();
    await removeDirectory(dataDir);
  });
  const log = () =>
    service
      .stderr()
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
  const pids = (event: string) =>
    log().flatMap(({ msg, childPid }) => (msg === event ? [Number(childPid)] : []));
  await vi.waitFor(() => expect(pids('process.listening')).toHaveLength(processes), soon);
  return { service, log, pids, database };
}

/** Each on a connection of its own, so that every process has its turn. */
const alone = { headers: { connection: 'close' } };

/**
 * Guarantees that several processes are one service: what one made the others know, each answer has its record, a
 * rolling restart is felt by nobody, and the end is in order.
 */
test.for(['SQLite', 'PostgreSQL'])(
  'several processes are one service over %s',
  { timeout: 360_000 },
  async (kind, { skip }) => {
    skip(kind === 'PostgreSQL' && whyNoPostgres() !== undefined, whyNoPostgres());
    const postgres = kind === 'PostgreSQL' ? await startPostgres() : undefined;
    onTestFinished(() => postgres?.remove());
    const { service, log, pids, database } = await startProcesses(2, await postgres?.createDatabase());
    const before = pids('process.listening');
    const lines = service.stdout().split('\n');
    expect(lines.filter((line) => line.startsWith('stathera listening on '))).toHaveLength(1);
    const sealed: string[] = [];
    for (const name of ['first', 'second', 'third']) {
      await makeKey(service, name);
      for (let again = 0; again < 4; again++) sealed.push(await seal(service, name));
    }
    const failures: unknown[] = [];
    let opened = 0;
    let ending = false;
    const client = async () => {
      while (!ending) {
        const ciphertext = sealed[opened % sealed.length];
        const answer = await service
          .call('POST', '/v1/decrypt', { ciphertext }, alone)
          .catch((error: unknown) => error);
        if ((answer as { status?: number }).status === 200) opened++;
        else failures.push(answer);
        await delay(20);
      }
    };
    const clients = [client(), client()];
    process.kill(service.pid, 'SIGHUP');
    await vi.waitFor(() => expect(log().map(({ msg }) => msg)).toContain('processes.rolled'), soon);
    ending = true;
    await Promise.all(clients);
    expect(failures).toEqual([]);
    expect(before.map(isRunning)).toEqual([false, false]);
    const page = await service.call('GET', '/metrics', undefined, alone);
    const decrypts = /^stathera_http_requests_total\{operation="decrypt",status="2xx"\} (\d+)$/m;
    expect(Number(decrypts.exec(page.text)?.[1])).toBe(opened);
    for (const number of [1, 2]) expect(page.text).toContain(`stathera_hsm_ready{process="${number}"} 1\n`);
    for (const ciphertext of sealed) {
      const { body } = await service.call('POST', '/v1/decrypt', { ciphertext }, alone);
      expect(body).toMatchObject({ plaintext });
    }
    expect(await service.stop()).toBe(0);
    expect(log().filter(({ level }) => Number(level) >= 50)).toEqual([]);
    const verified = await runMain(['audit', 'verify', '--json'], {
      ...database,
      STATHERA_DATA_DIR: service.dataDir,
    });
    expect(verified.code).toBe(0);
  },
);

/** Guarantees that the page for operators explains each measurement of the supervisor, and no other. */
test('the supervisor’s measurements are explained', { timeout: 240_000 }, async () => {
  const { service } = await startProcesses(2);
  const { text } = await service.call('GET', '/metrics');
  const given = [...text.matchAll(/^# HELP (stathera_process\S*)/gm)].map(([, name]) => name);
  const rows = tableRows(readDocument('docs/operate.md'), 'of the supervisor');
  const explained = rows.flatMap(([names = '']) => names.match(/[a-z][a-z0-9_]+/g) ?? []);
  expect(new Set(explained)).toEqual(new Set(given));
});

/** Guarantees that a killed supervisor leaves nothing that keeps the next one from the data or the port. */
test('starts at once after its supervisor was killed', { timeout: 240_000 }, async () => {
  const { service, pids } = await startProcesses(2);
  await makeKey(service, 'kept');
  const ciphertext = await seal(service, 'kept');
  process.kill(service.pid, 'SIGKILL');
  const env = { STATHERA_PROCESSES: '2', STATHERA_LISTEN: new URL(service.url).host };
  const next = await startTestService({ dataDir: service.dataDir, env });
  onTestFinished(() => next.kill());
  const { body } = await next.call('POST', '/v1/decrypt', { ciphertext });
  expect(body).toMatchObject({ plaintext });
  const left = () => pids('process.listening').filter(isRunning);
  await expect.poll(left, { timeout: 50_000 }).toEqual([]);
});
