import { type ChildProcess, spawn } from 'node:child_process';
import { once as onceOf } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { Hsm } from '../../src/hsm/hsm.ts';
import type { Store } from '../../src/store/store.ts';
import { until } from '../jobs/support.ts';
import { childEnvironment, emptyDirectory, freshDataDir, removeDirectory, runMain } from '../support/data.ts';
import { startPostgres, type TestPostgres, whyNoPostgres } from '../support/postgres.ts';
import {
  makeDue,
  makeKey,
  type Opened,
  openHsm,
  openRotation,
  openStore,
  type Place,
  traces,
} from './support.ts';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';
const why = whyNoPostgres();

interface Child {
  readonly process: ChildProcess;
  readonly closed: Promise<unknown>;
  said(line: string): Promise<void>;
  /** Until nothing is due; `unleased`: as if no lease held. */
  work(how: 'scheduled' | 'unleased'): void;
}

function startChild(place: Place, point = ''): Child {
  const file = fileURLToPath(new URL('child.ts', import.meta.url));
  const child = spawn(process.execPath, [file, place.dataDir, place.databaseUrl ?? '', point], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: childEnvironment({}),
  });
  const closed = onceOf(child, 'close');
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await closed;
  });
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  return {
    process: child,
    closed,
    said: (line) => until(() => lines.includes(line)),
    work: (how) => void child.stdin.write(`${how}\n`),
  };
}

const databases = ['SQLite', ...(why === undefined ? ['PostgreSQL'] : [])];

describe.each(databases)('several processes over %s', (over) => {
  let server: TestPostgres | undefined;
  let place: Place;
  let hsm: Hsm;
  let store: Store;
  /** Makes keys and looks at them; rotates nothing. */
  let desk: Opened;
  /** Goes on with what others left. */
  let heir: Opened;
  beforeAll(async () => {
    if (over === 'SQLite') place = { dataDir: await freshDataDir() };
    else {
      server = await startPostgres();
      place = { dataDir: await emptyDirectory(), databaseUrl: await server.createDatabase() };
      const env = { STATHERA_DATA_DIR: place.dataDir, STATHERA_DATABASE_URL: place.databaseUrl ?? '' };
      await runMain(['init'], env);
    }
    hsm = await openHsm(place);
    store = await openStore(place);
    const parts = { hsm, store, clock: systemClock, directory: place.dataDir };
    desk = await openRotation({ ...parts, limits: { rate: 0 } });
    heir = await openRotation(parts);
  });
  afterAll(async () => {
    await heir.close();
    await desk.close();
    await store.close();
    await hsm.close();
    await server?.remove();
    await removeDirectory(place.dataDir);
  });

  let names = 0;
  async function dueKey(): Promise<string> {
    const { id } = await makeKey(desk, `key-${++names}`);
    await desk.policies.setPolicy(desk.caller(), id, { policy: { everyDays: 90 } });
    await makeDue(desk, id);
    return id;
  }

  /** One version more, its count, its place in the history and its record: each once. */
  const once = {
    ...{ ordinals: [1, 2], counts: 2, current: 2 },
    history: [{ to_ordinal: 2, cause: 'scheduled', due_at: expect.any(Number) as number }],
    records: [{ outcome: 'allowed', version: 2, by: 'rotation' }],
  };

  /** What a process left that was killed is moved to the log by another, within seconds. */
  async function recorded(id: string) {
    await until(async () => (await traces(desk, id)).records.length > 0);
    return await traces(desk, id);
  }

  /** Guarantees that of any number of processes one rotates a due key, with the lease and also where none would hold. */
  test.each(nightly ? [2, 4, 8] : [over === 'SQLite' ? 4 : 2])('%i race', async (processes) => {
    const children = Array.from({ length: processes }, () => startChild(place));
    await Promise.all(children.map((child) => child.said('ready')));
    for (const how of ['scheduled', 'unleased'] as const) {
      const ids = await Promise.all(Array.from({ length: 6 }, dueKey));
      for (const child of children) child.work(how);
      await Promise.all(children.map((child) => child.said(`done ${how}`)));
      for (const id of ids) expect(await recorded(id)).toEqual(once);
    }
  });

  const points = [
    'before a version is made',
    'after a version was made',
    'in the transaction',
    'after the commit',
    'after the record',
  ];

  /** Guarantees that a process killed at any point of a rotation leaves it undone or done and recorded, never between. */
  test.each(over === 'SQLite' || nightly ? points : ['after the commit'])('killed %s', async (point) => {
    const id = await dueKey();
    const victim = startChild(place, point);
    await victim.said('ready');
    victim.work('scheduled');
    const [, signal] = (await victim.closed) as [number | null, string | null];
    expect(signal).toBe('SIGKILL');
    await until(async () => {
      await heir.scheduler.look();
      return (await traces(desk, id)).current === 2;
    });
    expect(await recorded(id)).toEqual(once);
  });

  /** Guarantees that the log of all that is whole. */
  test('the log verifies', async () => {
    const env = {
      STATHERA_DATA_DIR: place.dataDir,
      ...(place.databaseUrl !== undefined && { STATHERA_DATABASE_URL: place.databaseUrl }),
    };
    const { code, stdout } = await runMain(['audit', 'verify'], env);
    expect([code, stdout]).toEqual([0, expect.any(String)]);
  });
});
