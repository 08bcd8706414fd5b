// What: empty chunks of one job claimed and finished a second, by one process and by two, two at a time each, over
// SQLite and over a PostgreSQL on this machine; and transactions a second of a process that has nothing to do.
// Leaves out: what chunks do, the HSM's time for MACs (they are made in process), TLS and a network to the database.
// Floor: one row updated and committed, one after the other, by one connection to the same database, in the same run.
// A chunk takes two such updates and several reads at least.
// Run: node bench/jobs/chunks.bench.ts [--directory DIR]
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { migrate } from '../../src/store/migrations.ts';
import type { Store } from '../../src/store/store.ts';
import { counting } from '../../test/jobs/kinds.ts';
import { callerWith, openJobs, openStore } from '../../test/jobs/support.ts';
import { startPostgres, whyNoPostgres } from '../../test/support/postgres.ts';
import { type Bench, bench } from '../support/bench.ts';
import type { Figure, RateRow } from '../support/report.ts';

const chunks = 200;
const floorMilliseconds = 1_000;
const idleMilliseconds = 5_000;

async function floorRate(store: Store): Promise<number> {
  const row = {
    name: 'bench',
    namespace_id: 'bench',
    holder: null,
    fence: 0,
    beat: 0,
    quiet_milliseconds: 0,
  };
  await store.db
    .insertInto('leases')
    .values(row)
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  const start = performance.now();
  let beat = 0;
  for (; performance.now() - start < floorMilliseconds; beat += 1)
    await store.db.updateTable('leases').set({ beat }).where('name', '=', 'bench').execute();
  return (beat * 1_000) / (performance.now() - start);
}

async function startWorker(
  bench: Bench,
  url: string,
  directory: string,
  name: string,
): Promise<ChildProcess> {
  const file = fileURLToPath(new URL('../../test/jobs/child.ts', import.meta.url));
  const child = spawn(process.execPath, [file, 'work', url, directory, name], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_NO_WARNINGS: '1' },
  });
  bench.atEnd(() => child.kill('SIGKILL'));
  await once(createInterface({ input: child.stdout }), 'line');
  return child;
}

async function measure(bench: Bench, database: string, url: string): Promise<RateRow[]> {
  const store = await openStore(url);
  await migrate(store.db, store.dialect, 1);
  const directory = bench.directory();
  const desk = await openJobs({ store, directory, writer: 'desk', kinds: [counting] });
  const run = async (): Promise<number> => {
    const pieces = Array.from({ length: chunks }, () => ({ from: 0, to: 0 }));
    const start = performance.now();
    const { id } = await desk.enqueue(counting.kind, {}, pieces);
    while ((await desk.jobs.get(callerWith(), id)).state !== 'done')
      await new Promise((next) => setTimeout(next, 20));
    return (chunks * 1_000) / (performance.now() - start);
  };
  const rows: RateRow[] = [];
  for (const processes of [1, 2]) {
    bench.progress(`${database}, ${processes} at work`);
    await startWorker(bench, url, directory, `w${processes}`);
    await run();
    const floor = await floorRate(store);
    const rate = await run();
    rows.push({ what: `${database}, ${processes} at work`, rate, floor, ratio: rate / floor });
  }
  await desk.close();
  await store.close();
  return rows;
}

await bench('jobs/chunks', async (bench) => {
  const rows = await measure(bench, 'SQLite', `sqlite:${join(bench.directory(), 'stathera.db')}`);
  const figures: Figure[] = [];
  const why = whyNoPostgres();
  if (why === undefined) {
    const server = await startPostgres();
    bench.atEnd(() => server.removeNow());
    rows.push(...(await measure(bench, 'PostgreSQL', `${await server.createDatabase()}?sslmode=disable`)));
    bench.progress('a process with nothing to do');
    figures.push(await idle(bench, server));
  } else bench.progress(`PostgreSQL left out: ${why}`);
  return { rows, figures, setting: { chunks, floorMilliseconds, idleMilliseconds } };
});

/** With the settings of the service, not those of the workers above. */
async function idle(bench: Bench, server: Awaited<ReturnType<typeof startPostgres>>): Promise<Figure> {
  const url = `${await server.createDatabase()}?sslmode=disable`;
  const store = await openStore(url);
  await migrate(store.db, store.dialect, 1);
  const { jobs } = await openJobs({
    ...{ store, directory: bench.directory(), writer: 'idle', kinds: [counting], limits: {} },
  });
  const name = new URL(url).pathname.slice(1);
  const count = async () => {
    const [row] = await server.query<{ xact_commit: string }>(
      `select xact_commit from pg_stat_database where datname = '${name}'`,
    );
    return Number(row?.xact_commit);
  };
  const over = async () => {
    const before = await count();
    await new Promise((next) => setTimeout(next, idleMilliseconds));
    return (await count()) - before;
  };
  // What the log, the caches and the server do beside it.
  await over();
  const without = await over();
  jobs.start();
  const value = ((await over()) - without) / (idleMilliseconds / 1_000);
  return { what: 'a process with nothing to do, PostgreSQL', value, unit: 'transactions/s' };
}
