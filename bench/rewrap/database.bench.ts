// What: rows of 64 B that a key encrypted, in a PostgreSQL on this machine, moved to the key's next version by what
// `stathera rewrap --database-url` runs (20,000 rows, with --full 1,000,000); how its memory grows; and a scan.
// Leaves out: TLS and a network to the database and the service, an application beside it, several service processes,
// long rows, the scans after it and what is waited for before them.
// Floor: the same rows read by the same pages and updated to what they are, four updates under way, in the same run.
// Run: node bench/rewrap/database.bench.ts [--full] [--directory DIR]
import pg from 'pg';
import type { Column, ColumnName, Id } from '../../src/cli/database/column.ts';
import { type Reading, rewrapAll, scan } from '../../src/cli/database/passes.ts';
import { openPostgresColumn } from '../../src/cli/database/postgres-column.ts';
import { readVersions } from '../../src/cli/database/target.ts';
import { type Client, createClient } from '../../src/client/node/index.ts';
import { postgresSettings, startPostgres, whyNoPostgres } from '../../test/support/postgres.ts';
import { type Bench, bench } from '../support/bench.ts';
import type { Figure, RateRow } from '../support/report.ts';
import { initialize, startService } from '../support/service.ts';

const plaintextBytes = 64;
const pageRows = 500;
const updatesAtWork = 4;
const seedRows = 1_000;
const key = 'bench';

const name: ColumnName = {
  ...{ table: 'payments', column: 'card', idColumns: ['id'], contextColumns: ['id'], path: undefined },
};

async function seed(pool: pg.Pool, client: Client, rows: number): Promise<void> {
  await pool.query('create table payments (id bigint primary key, card bytea)');
  for (let from = 0; from < rows; from += seedRows) {
    const ids = Array.from({ length: Math.min(seedRows, rows - from) }, (_, at) => from + at);
    const operations = ids.map((id) => ({
      ...{ operation: 'encrypt' as const, key, plaintext: Buffer.alloc(plaintextBytes, id) },
      context: { table: 'payments', row: String(id) },
    }));
    const { results } = await client.batch({ operations });
    const cards = results.map((result) => {
      if ('problem' in result) throw new Error(result.problem.code);
      return Buffer.from(result.ciphertext);
    });
    await pool.query('insert into payments select * from unnest($1::bigint[], $2::bytea[])', [ids, cards]);
  }
  await pool.query('vacuum analyze payments');
}

/** Reads and updates every row, and changes none. @returns rows a second */
async function plainRate(column: Column, rows: number): Promise<number> {
  const started = performance.now();
  const atWork: Promise<unknown>[] = [];
  for (let after: Id | undefined; ; ) {
    const page = await column.page(after, pageRows);
    after = page.at(-1)?.id;
    if (after === undefined) break;
    atWork.push(
      column.update(
        page.flatMap(({ id, start, length }) =>
          start === null ? [] : [{ id, from: start, to: start, whole: length }],
        ),
      ),
    );
    if (atWork.length >= updatesAtWork) await atWork.shift();
  }
  await Promise.all(atWork);
  return (rows * 1_000) / (performance.now() - started);
}

/** @returns rows a second, and how far memory rose above what it was after the first tenth */
async function rewrapRate(reading: Reading, client: Client, rows: number): Promise<[number, number]> {
  await client.rotateKey({ key });
  const { current, ordinalOf } = await readVersions(client, key);
  const started = performance.now();
  let [done, moved, settled, most] = [0, 0, 0, 0];
  const target = { ...reading.target, current, ordinalOf };
  await rewrapAll({ ...reading, target, client }, undefined, (_, found) => {
    done += found.rows;
    for (const count of found.rewrapped.values()) moved += count;
    const { rss } = process.memoryUsage();
    if (done <= rows / 10) settled = Math.max(settled, rss);
    most = Math.max(most, rss);
  });
  if (moved !== rows) throw new Error(`${moved} of ${rows} rows were moved`);
  return [(rows * 1_000) / (performance.now() - started), (most - settled) / 1024 ** 2];
}

async function measure(bench: Bench): Promise<{ rows: RateRow[]; figures: Figure[]; count: number }> {
  const count = bench.full ? 1_000_000 : 20_000;
  const rounds = bench.full ? 1 : 3;
  const service = await startService(bench, await initialize(bench));
  const client = createClient({ url: `http://127.0.0.1:${service.port}`, credentials: service.token });
  await client.createKey({ name: key });
  const server = await startPostgres();
  bench.atEnd(() => server.removeNow());
  const url = await server.createDatabase();
  const pool = new pg.Pool({ connectionString: url });
  bench.progress(`seeding ${count} rows`);
  await seed(pool, client, count);
  await pool.end();
  const column = await openPostgresColumn(postgresSettings(url), name);
  const versions = await readVersions(client, key);
  const reading: Reading = {
    ...{ column, pageRows, rate: undefined, signal: new AbortController().signal },
    target: { ...versions, context: { table: 'payments' }, contextNames: ['row'] },
    progress: { update: () => undefined, clear: () => undefined },
  };
  const found: { rate: number; floor: number; grown: number }[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    bench.progress(`round ${round} of ${rounds}`);
    const floor = await plainRate(column, count);
    const [rate, grown] = await rewrapRate(reading, client, count);
    found.push({ rate, floor, grown });
  }
  const started = performance.now();
  await scan(reading);
  const scanned = (count * 1_000) / (performance.now() - started);
  await column.close();
  await service.stop();
  const median = found.toSorted((a, b) => a.rate / a.floor - b.rate / b.floor)[rounds >> 1];
  if (!median) throw new Error('nothing was measured');
  const { rate, floor } = median;
  return {
    count,
    rows: [
      { what: `rewrap ${count} rows`, rate, floor, ratio: rate / floor, targetRatio: 0.4 },
      { what: 'scan', rate: scanned },
    ],
    figures: [
      {
        what: 'memory grown',
        value: Math.max(...found.map(({ grown }) => grown)),
        unit: 'MiB',
        targetBelow: 100,
      },
    ],
  };
}

await bench('rewrap/database', async (bench) => {
  const why = whyNoPostgres();
  if (why !== undefined) {
    bench.progress(`left out: ${why}`);
    return { setting: { leftOut: why } };
  }
  const { count, ...found } = await measure(bench);
  return { ...found, setting: { rows: count, plaintextBytes, pageRows, updatesAtWork } };
});
