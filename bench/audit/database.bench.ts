// What: audit records appended durably to a log in a PostgreSQL on this machine, 64 in flight, one process, one segment,
// HMAC in process.
// Leaves out: HTTP, TLS and a network to the database, a synchronous standby, a database with other work, the HSM's time
// for a MAC (one a group), changes.
// Floor: in the same run, rounds taking turns, one connection committing a row of the bytes of 64 records at a time.
// The server shares this machine's cores.
// Run: node bench/audit/database.bench.ts [--directory DIR]
import { createHmac, createSecretKey, randomBytes } from 'node:crypto';
import pg from 'pg';
import type { AuditLog } from '../../src/audit/audit.ts';
import type { AuditEntry } from '../../src/audit/entry.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { systemClock } from '../../src/core/clock.ts';
import { newId } from '../../src/core/ids.ts';
import { migrate } from '../../src/store/migrations.ts';
import { openPostgresStore } from '../../src/store/postgres.ts';
import { postgresSettings, startPostgres, whyNoPostgres } from '../../test/support/postgres.ts';
import { bench } from '../support/bench.ts';
import { medianRound, rounds } from '../support/rounds.ts';

const inFlight = 64;
const roundMs = 900;
const namespaceId = newId();

function entry(): AuditEntry {
  const id = newId();
  return {
    id,
    time: Date.now(),
    namespaceId,
    requestId: id,
    principal: { kind: 'token', id: namespaceId, name: 'orders-service' },
    source: '10.20.30.40',
    action: 'envelope.encrypt',
    target: { kind: 'key', id: namespaceId, name: 'orders', version: 3 },
    outcome: 'allowed',
  };
}

const line = Buffer.from(`${JSON.stringify({ sequence: 1_000_000, ...entry() })}\n`);
const group = Buffer.concat(Array.from({ length: inFlight }, () => line));

/** Records a second. */
async function measureLog(log: AuditLog): Promise<number> {
  let records = 0;
  const start = performance.now();
  const client = async () => {
    for (; performance.now() - start < roundMs; records += 1) await log.append(entry());
  };
  await Promise.all(Array.from({ length: inFlight }, client));
  return (records * 1_000) / (performance.now() - start);
}

/** Records a second, `inFlight` a commit. */
async function measureFloor(client: pg.Client): Promise<number> {
  let records = 0;
  const start = performance.now();
  for (; performance.now() - start < roundMs; records += inFlight)
    await client.query({
      name: 'floor',
      text: 'insert into floor (bytes) values ($1)',
      values: [group],
    });
  return (records * 1_000) / (performance.now() - start);
}

await bench('audit/database', async (bench) => {
  const why = whyNoPostgres();
  if (why !== undefined) {
    bench.progress(`left out: ${why}`);
    return { rows: [], setting: { leftOut: why } };
  }
  const server = await startPostgres();
  bench.atEnd(() => server.removeNow());
  const settings = postgresSettings(await server.createDatabase());
  const store = await openPostgresStore(settings);
  await migrate(store.db, store.dialect, Date.now());
  const key = createSecretKey(randomBytes(32));
  const log = await openAuditLog({
    directory: bench.directory(),
    store,
    mac: async (data) => createHmac('sha256', key).update(data).digest(),
    clock: systemClock,
    limits: { segmentBytes: 2 ** 40, stallMilliseconds: 60_000 },
  });
  const { host, port, database, user } = settings;
  const client = new pg.Client({ host, port, database, user });
  await client.connect();
  await client.query('create table floor (id bigserial primary key, bytes bytea not null)');
  const row = await medianRound(async () => {
    bench.progress('append, floor');
    const rate = await measureLog(log);
    return { rate, floor: await measureFloor(client) };
  });
  const { appended, groups } = log.status();
  await log.close();
  await client.end();
  await store.close();
  return {
    rows: [{ what: `append, ${inFlight} in flight; floor: ${inFlight} records a commit`, ...row }],
    figures: [{ what: 'records a group', value: appended / groups, unit: 'records' }],
    setting: { recordBytes: line.length, inFlight, rounds, roundMs },
  };
});
