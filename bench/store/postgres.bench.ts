// What: the service over a PostgreSQL on this machine: POST encrypt of 1 KiB, 64 connections, and rotations, 16
// connections, each a transaction. One service process each.
// Leaves out: TLS and a network to the database, a database with other work, a synchronous standby, several
// service processes, keys that are not in memory.
// Floor: the same service over SQLite, in the same run, rounds taking turns. PostgreSQL, both services and the
// load generator share this machine's cores.
// Run: node bench/store/postgres.bench.ts [--directory DIR]
import { randomBytes } from 'node:crypto';
import { startPostgres, whyNoPostgres } from '../../test/support/postgres.ts';
import { type Bench, bench } from '../support/bench.ts';
import { generateCleanly, requestBytes, roundMilliseconds, targetOf } from '../support/over-http.ts';
import type { RateRow } from '../support/report.ts';
import { medianRound, rounds } from '../support/rounds.ts';
import { type BenchService, initialize, startService } from '../support/service.ts';
import { costOf } from '../support/usage.ts';

const plaintextBytes = 1024;
/** Rotated in turn: no two requests in flight are for the same one. */
const keys = 100;

interface Load {
  readonly what: string;
  readonly connections: number;
  readonly next: (service: BenchService) => () => Buffer;
  readonly targetRatio?: number;
}

async function compare(
  bench: Bench,
  { postgres, sqlite }: { postgres: BenchService; sqlite: BenchService },
  { what, connections, next, targetRatio }: Load,
): Promise<RateRow> {
  bench.progress(what);
  const load = (service: BenchService, milliseconds = roundMilliseconds) =>
    generateCleanly({ target: targetOf(service), connections, milliseconds, next: next(service) });
  for (const service of [sqlite, postgres]) await load(service, roundMilliseconds / 2);
  const row = await medianRound(async () => {
    const floor = await load(sqlite);
    return { ...(await costOf(postgres.pid, () => load(postgres))), floor: floor.rate };
  });
  return { what, ...row, targetRatio };
}

await bench('store/postgres', async (bench) => {
  const why = whyNoPostgres();
  if (why !== undefined) {
    bench.progress(`left out: ${why}`);
    return { rows: [], setting: { leftOut: why } };
  }
  const server = await startPostgres();
  bench.atEnd(() => server.removeNow());
  const env = { STATHERA_DATABASE_URL: await server.createDatabase() };
  const postgres = await startService(bench, await initialize(bench, env), env);
  const sqlite = await startService(bench, await initialize(bench));
  for (const service of [postgres, sqlite]) {
    await service.call('POST', '/v1/keys', { name: 'bench' });
    for (let key = 0; key < keys; key += 1) await service.call('POST', '/v1/keys', { name: `key-${key}` });
  }
  const body = JSON.stringify({ plaintext: randomBytes(plaintextBytes).toString('base64') });
  let turn = 0;
  const rows = [
    await compare(
      bench,
      { postgres, sqlite },
      {
        what: `encrypt ${plaintextBytes} B, 64 connections`,
        connections: 64,
        next: (service) => {
          const request = requestBytes(service, { path: '/v1/keys/bench/encrypt', body });
          return () => request;
        },
        targetRatio: 0.8,
      },
    ),
    await compare(
      bench,
      { postgres, sqlite },
      {
        what: 'rotations, 16 connections',
        connections: 16,
        next: (service) => () => {
          turn = (turn + 1) % keys;
          return requestBytes(service, { path: `/v1/keys/key-${turn}/rotate`, body: '{}' });
        },
      },
    ),
  ];
  return { rows, setting: { plaintextBytes, rounds, roundMilliseconds } };
});
