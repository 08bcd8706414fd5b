// What: keys that are due for rotation in the same minute, 2,000, with --full 100,000, rotated by two processes of one
// service, each with its record in the audit log, its place in the history and its next date; beside it encryptions of
// 1 KiB over HTTP, 100 a second by the clock. Then how long after a rotation by hand was answered another process still
// encrypts with the version before.
// Leaves out: TLS, a network, hardware HSMs, PostgreSQL, making the keys (support/seed-process.ts).
// Floor: the same rows written by one process with better-sqlite3 alone, 128 keys in a transaction: no HSM, no MACs, no
// audit log, nobody who encrypts. The encryptions' floor is their own time while nothing is due, in the same run.
// Run: node bench/rotation/due.bench.ts [--full] [--directory DIR]

import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import type { OpenLoad, OpenResult } from '../http/open-loop-process.ts';
import { type Bench, bench } from '../support/bench.ts';
import { requestBytes } from '../support/over-http.ts';
import { seed } from '../support/seed.ts';
import { type BenchService, initialize, startService } from '../support/service.ts';

const plaintextBytes = 1024;
const encryptionsPerSecond = 100;
const warmUpMilliseconds = 1_000;
const idleMilliseconds = 10_000;
const targetSeconds = 60;
const handRotations = 50;

async function encrypting(bench: Bench, service: BenchService, milliseconds: number): Promise<OpenResult> {
  const child = fork(fileURLToPath(new URL('../http/open-loop-process.ts', import.meta.url)));
  bench.atEnd(() => child.kill('SIGKILL'));
  const body = JSON.stringify({ plaintext: randomBytes(plaintextBytes).toString('base64') });
  const request = requestBytes(service, { path: '/v1/keys/bench/encrypt', body });
  const answered = once(child, 'message') as Promise<[OpenResult]>;
  const load: OpenLoad = {
    ...{ port: service.port, request: request.toString(), rate: encryptionsPerSecond },
    ...{ warmUpMilliseconds, milliseconds },
  };
  child.send(load);
  return (await answered)[0];
}

/** Until nothing is due. @returns milliseconds */
async function untilDone(service: BenchService, since: number): Promise<number> {
  for (;;) {
    const { items } = await service.call<{ items: { nextAt: string }[] }>(
      ...(['GET', '/v1/rotation/upcoming?limit=1&days=999'] as const),
    );
    if (items.every(({ nextAt }) => Date.parse(nextAt) > Date.now())) return performance.now() - since;
    await delay(100);
  }
}

/** Rotations a second that are nothing but rows. */
function floorOf(directory: string, keys: number): number {
  const database = new Database(join(directory, 'floor.db'));
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = FULL');
  const tables = ['keys', 'schedules', 'versions', 'usage', 'rotations', 'outbox'];
  for (const table of tables)
    database.exec(`create table ${table} (id text primary key, body blob, n integer)`);
  const inserts = tables.map((table) => database.prepare(`insert into ${table} values (?, ?, ?)`));
  const updates = tables
    .slice(0, 2)
    .map((table) => database.prepare(`update ${table} set body = ? where id = ?`));
  const body = randomBytes(300);
  database.transaction(() => {
    for (let key = 0; key < keys; key += 1)
      for (const at of [0, 1]) inserts[at]?.run(`key-${key}`, body, key);
  })();
  const since = performance.now();
  for (let from = 0; from < keys; from += 128) {
    database.transaction(() => {
      for (let key = from; key < Math.min(keys, from + 128); key += 1) {
        for (const update of updates) update.run(body, `key-${key}`);
        for (const insert of inserts.slice(2)) insert.run(`key-${key}`, body, key);
      }
    })();
  }
  const rate = (keys * 1000) / (performance.now() - since);
  database.close();
  return rate;
}

/** How long after the answer of each rotation the other process still encrypts with the version before. */
async function visibleAfter(bench: Bench, directory: string): Promise<number[]> {
  const alone = { STATHERA_PROCESSES: '1', STATHERA_ROTATION_RATE: '0' };
  const [one, other] = [
    await startService(bench, directory, alone),
    await startService(bench, directory, alone),
  ];
  const times: number[] = [];
  for (let count = 0; count < handRotations; count += 1) {
    const encrypt = () =>
      other.call<{ keyVersion: number }>('POST', '/v1/keys/bench/encrypt', { plaintext: '' });
    await encrypt();
    const { currentVersion } = await one.call<{ currentVersion: number }>(
      'POST',
      '/v1/keys/bench/rotate',
      {},
    );
    const since = performance.now();
    while ((await encrypt()).keyVersion !== currentVersion);
    times.push(performance.now() - since);
  }
  await one.stop();
  await other.stop();
  return times.toSorted((a, b) => a - b);
}

await bench('rotation/due', async (bench) => {
  const keys = bench.full ? 100_000 : 2_000;
  const directory = await initialize(bench);
  bench.progress(`making ${keys} keys`);
  await seed(bench, directory, { keys, versions: 1, dueAt: Date.now() });
  const idle = await startService(bench, directory, { STATHERA_PROCESSES: '2', STATHERA_ROTATION_RATE: '0' });
  await idle.call('POST', '/v1/keys', { name: 'bench' });
  const quiet = await encrypting(bench, idle, idleMilliseconds);
  await idle.stop();

  const service = await startService(bench, directory, { STATHERA_PROCESSES: '2' });
  const started = performance.now();
  const done = untilDone(service, started);
  const loads: OpenResult[] = [];
  let over = false;
  void done.then(() => {
    over = true;
  });
  const slice = bench.full ? 10_000 : 1_000;
  while (!over) loads.push(await encrypting(bench, service, slice));
  const seconds = (await done) / 1000;
  await service.stop();
  const busyP99 = Math.max(...loads.map(({ p99Ms }) => p99Ms));
  const floor = floorOf(bench.directory(), keys);
  const visible = await visibleAfter(bench, directory);
  const rate = keys / seconds;
  return {
    rows: [{ what: `rotations of ${keys} due keys`, rate, floor, ratio: rate / floor }],
    figures: [
      { what: 'all done', value: seconds, unit: 's', ...(bench.full && { targetBelow: targetSeconds }) },
      { what: 'encrypt, nothing due: p50', value: quiet.p50Ms, unit: 'ms' },
      { what: 'encrypt, nothing due: p99', value: quiet.p99Ms, unit: 'ms' },
      {
        what: 'encrypt, beside rotations: p50',
        value: Math.max(...loads.map(({ p50Ms }) => p50Ms)),
        unit: 'ms',
      },
      { what: 'encrypt, beside rotations: p99', value: busyP99, unit: 'ms', targetBelow: 2 * quiet.p99Ms },
      { what: 'rotation by hand, seen elsewhere: p50', value: visible[handRotations / 2] ?? 0, unit: 'ms' },
      {
        what: 'rotation by hand, seen elsewhere: most',
        value: visible.at(-1) ?? 0,
        unit: 'ms',
        targetBelow: 100,
      },
    ],
    setting: { keys, plaintextBytes, encryptionsPerSecond, idleMilliseconds, handRotations },
  };
});
