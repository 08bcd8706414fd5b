import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freshDataDir, removeDirectory, runMain } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { agesDataset, ask, makeContributors, settled } from './asking.ts';

const deadly = fileURLToPath(new URL('child.ts', import.meta.url));

let dataDir: string;
let dataset: string;
beforeAll(async () => {
  dataDir = await freshDataDir();
  const service = await startTestService({ dataDir });
  dataset = await agesDataset(service, await makeContributors(service, 5));
  await service.stop();
});
afterAll(() => removeDirectory(dataDir));

const query = { statistic: 'sum', column: 'age', epochs: [1], epsilon: 0.5 };
const numbers = () => join(dataDir, 'numbers');

/** A start of the service that kills itself at `point`. */
function deadlyService(point: 'asked' | 'computed' | 'answered'): Promise<TestService> {
  const env = { STATHERA_TEST_KILL: point, STATHERA_TEST_NUMBERS: numbers() };
  return startTestService({ dataDir, program: deadly, env });
}

/** Waits for the end of a process. */
async function ended(pid: number): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (isAlive(pid)) {
    if (Date.now() > deadline) throw new Error('it lives on');
    await delay(10);
  }
}

/** As if the time were over for which others leave a chunk to whoever was killed. */
function giveBackChunks(): void {
  const database = new Database(join(dataDir, 'stathera.db'));
  database.exec("update job_chunks set holder = null, quiet_milliseconds = 0 where state = 'open'");
  database.close();
}

/** The process that decrypts, of this service. */
async function decryptor(service: TestService): Promise<number> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const lines = execFileSync('ps', ['-eo', 'pid=,ppid=,args='], { encoding: 'utf8' }).split('\n');
    for (const line of lines) {
      const [pid, parent, ...args] = line.trim().split(/\s+/);
      if (Number(parent) === service.pid && args.join(' ').includes('decryptor-process')) return Number(pid);
    }
    if (Date.now() > deadline) throw new Error('nothing decrypts');
    await delay(2);
  }
}

/**
 * Guarantees a service killed at each step of an answer leaves nobody behind and in the end gives that answer, debited
 * and recorded once: what was computed before a kill is what is computed after it, to the last bit of the noise.
 */
test('kill -9 between every two steps', async () => {
  const asked = await deadlyService('asked');
  await ask(asked, dataset, query).catch(() => undefined);
  await asked.kill();

  const computed = await deadlyService('computed');
  await ended(computed.pid);
  const first = await readFile(numbers(), 'utf8');
  giveBackChunks();

  const decrypting = await startTestService({ dataDir });
  const pid = await decryptor(decrypting);
  // It alone, not its group.
  process.kill(decrypting.pid, 'SIGKILL');
  await ended(pid);
  await decrypting.kill();
  giveBackChunks();

  const answered = await deadlyService('answered');
  await ended(answered.pid);
  expect(await readFile(numbers(), 'utf8')).toBe(first);

  const service = await startTestService({ dataDir });
  const { body } = await service.call('GET', `/v1/datasets/${dataset}/queries`);
  const [own, ...others] = body['items'] as { id: string; state: string; results: { value: number }[] }[];
  expect(others).toEqual([]);
  expect(own?.state).toBe('answered');
  expect([[String(own?.results[0]?.value)]]).toEqual(JSON.parse(first));
  // Asked again, it is the same, and costs nothing.
  expect((await ask(service, dataset, query)).body).toEqual(own);
  expect((await service.call('GET', `/v1/datasets/${dataset}/budget`)).body).toMatchObject({
    ...{ answers: 1, spentEpsilon: query.epsilon },
  });
  const records = await service.call('GET', '/v1/audit/records?action=datasets.answer&outcome=allowed');
  expect(records.body['items']).toHaveLength(1);
  await service.stop();
});

/** Guarantees the process that decrypts, killed, takes nothing with it: the answer is computed again. */
test('kill -9 of the process that decrypts', async () => {
  const service = await startTestService({ dataDir });
  const next = { ...query, statistic: 'count', column: undefined };
  const { body } = await service.call('POST', `/v1/datasets/${dataset}/queries`, next);
  process.kill(await decryptor(service), 'SIGKILL');
  expect((await settled(service, dataset, String(body['id']))).body['state']).toBe('answered');
  await service.stop();
});

/** Guarantees the log of all of it verifies. */
test('the log', async () => {
  const { stdout } = await runMain(['audit', 'verify', '--json'], { STATHERA_DATA_DIR: dataDir });
  expect(JSON.parse(stdout)).toMatchObject({ ok: true });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
