// What: audit records appended durably, 64 in flight, one process, one segment, HMAC in process.
// Leaves out: HTTP, making the records' ids, the HSM's time for a MAC (one a group), changes and their database commits, other load.
// Floors: in the same run, rounds taking turns, a WAL database committing 64 rows of the same bytes at a time
// with FULL synchronisation; a file taking 64 records of the same bytes in one write and fdatasync.
// Run: node bench/audit/append.bench.ts [--directory DIR, default the system's temporary one: use a real disk]
import { createHmac, createSecretKey, randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { AuditLog } from '../../src/audit/audit.ts';
import type { AuditEntry } from '../../src/audit/entry.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { systemClock } from '../../src/core/clock.ts';
import { newId } from '../../src/core/ids.ts';
import { migrate } from '../../src/store/migrations.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { bench } from '../support/bench.ts';
import { medianRound, rounds } from '../support/rounds.ts';

const inFlight = 64;
const roundMs = 900;
const namespaceId = newId();
const principal = { kind: 'token' as const, id: newId(), name: 'orders-service' };
const target = { kind: 'key' as const, id: newId(), name: 'orders', version: 3 };

const ids = Array.from({ length: 4_096 }, newId);
let made = 0;

function entry(): AuditEntry {
  made += 1;
  const id = ids[made % ids.length] ?? '';
  return {
    id,
    time: Date.now(),
    namespaceId,
    requestId: id,
    principal,
    source: '10.20.30.40',
    action: 'envelope.encrypt',
    target,
    outcome: 'allowed',
  };
}

const line = Buffer.from(`${JSON.stringify({ sequence: 1_000_000, ...entry() })}\n`);

interface Measured {
  readonly rate: number;
  /** CPU time of the main thread for one record. */
  readonly mainMicros: number;
  /** Latency of one append. */
  readonly p50Ms: number;
  readonly p99Ms: number;
}

async function measureLog(log: AuditLog): Promise<Measured> {
  const latencies: number[] = [];
  const start = performance.now();
  const cpuBefore = process.threadCpuUsage();
  async function client(): Promise<void> {
    for (let before = performance.now(); before - start < roundMs; before = performance.now()) {
      await log.append(entry());
      latencies.push(performance.now() - before);
    }
  }
  await Promise.all(Array.from({ length: inFlight }, client));
  const cpu = process.threadCpuUsage(cpuBefore);
  const rate = (latencies.length * 1_000) / (performance.now() - start);
  latencies.sort((a, b) => a - b);
  const at = (share: number) => latencies[Math.floor(latencies.length * share)] ?? 0;
  return { rate, mainMicros: (cpu.user + cpu.system) / latencies.length, p50Ms: at(0.5), p99Ms: at(0.99) };
}

/** Rows a second, `inFlight` a commit. */
function measureSqlite(file: string): number {
  const database = new Database(file);
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = FULL');
  database.exec('create table if not exists records (id integer primary key, line blob not null)');
  const insert = database.prepare('insert into records (line) values (?)');
  const commit = database.transaction(() => {
    for (let row = 0; row < inFlight; row += 1) insert.run(line);
  });
  const start = performance.now();
  let rows = 0;
  for (; performance.now() - start < roundMs; rows += inFlight) commit.immediate();
  const rate = (rows * 1_000) / (performance.now() - start);
  database.close();
  return rate;
}

/** Records a second, `inFlight` a write and fdatasync. */
async function measureFile(file: string): Promise<number> {
  const group = Buffer.concat(Array.from({ length: inFlight }, () => line));
  const handle = await open(file, 'a', 0o600);
  const start = performance.now();
  let records = 0;
  for (; performance.now() - start < roundMs; records += inFlight) {
    await handle.write(group);
    await handle.datasync();
  }
  const rate = (records * 1_000) / (performance.now() - start);
  await handle.close();
  return rate;
}

await bench('audit/append', async (bench) => {
  const root = bench.directory();
  const store = openSqliteStore({ file: join(root, 'stathera.db') });
  await migrate(store.db, store.dialect, Date.now());
  const key = createSecretKey(randomBytes(32));
  const log = await openAuditLog({
    directory: join(root, 'audit'),
    store,
    mac: async (data) => createHmac('sha256', key).update(data).digest(),
    clock: systemClock,
    limits: { segmentBytes: 2 ** 40, stallMilliseconds: 60_000 },
  });
  const { fileFloor, ...append } = await medianRound(async () => {
    bench.progress('append, SQLite, file');
    const measured = await measureLog(log);
    const fileFloor = await measureFile(join(root, 'floor.ndjson'));
    return { ...measured, floor: measureSqlite(join(root, 'floor.db')), fileFloor };
  });
  const { appended, groups } = log.status();
  await log.close();
  await store.close();
  const { rate } = append;
  const rows = [
    { what: `append, ${inFlight} in flight; floor: SQLite, ${inFlight} rows a commit`, ...append },
    {
      what: `the same; floor: a file, ${inFlight} a fdatasync`,
      rate,
      floor: fileFloor,
      ratio: rate / fileFloor,
    },
  ];
  const figures = [{ what: 'records a group', value: appended / groups, unit: 'records' }];
  return { rows, figures, setting: { recordBytes: line.length, inFlight, rounds, roundMs } };
});
