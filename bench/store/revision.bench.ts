// What: what a request pays so that no process answers on the strength of what another has changed: is the memory
// fresh, and has what the decision rests on moved since. Beside it a look for changes, one a group of records.
// Leaves out: reading changes that are there, forgetting and loading again what they touched, PostgreSQL's round trip.
// Floor: in the same run, rounds taking turns, one reading of the monotonic clock.
// Run: node bench/store/revision.bench.ts [--directory DIR]
import { join } from 'node:path';
import { systemClock } from '../../src/core/clock.ts';
import { newId } from '../../src/core/ids.ts';
import { migrate } from '../../src/store/migrations.ts';
import { createRevision, type Revision } from '../../src/store/revision.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { bench } from '../support/bench.ts';
import { medianRound } from '../support/rounds.ts';

const checks = 1_000_000;
const looks = 20_000;
const rests = [newId(), newId()];

function perSecond(count: number, since: number): number {
  return (count / (performance.now() - since)) * 1000;
}

function readClock(): number {
  const since = performance.now();
  let sum = 0;
  for (let count = 0; count < checks; count += 1) sum += systemClock.monotonic();
  if (Number.isNaN(sum)) throw new Error('no clock');
  return perSecond(checks, since);
}

/** A subject that nobody rests on is touched now and then, so that the mark moves and each one is looked up. */
function check(revision: Revision): number {
  const since = performance.now();
  for (let count = 0; count < checks; count += 1) {
    const { mark } = revision;
    if (count % 64 === 0) revision.touch(['other']);
    if (!revision.isFresh() || !revision.untouchedSince(mark, rests)) throw new Error('stale');
  }
  return perSecond(checks, since);
}

async function look(revision: Revision): Promise<number> {
  const since = performance.now();
  for (let count = 0; count < looks; count += 1) await revision.sync();
  return perSecond(looks, since);
}

await bench('store/revision', async (bench) => {
  const store = openSqliteStore({ file: join(bench.directory(), 'stathera.db') });
  await migrate(store.db, store.dialect, Date.now());
  const feed = await store.changes.follow();
  const revision = createRevision({ feed, clock: systemClock, maxStaleMilliseconds: 60_000 });
  bench.progress('checks of a request');
  check(revision);
  const request = await medianRound(async () => ({ floor: readClock(), rate: check(revision) }));
  bench.progress('looks for changes');
  await look(revision);
  const group = await medianRound(async () => ({ floor: readClock(), rate: await look(revision) }));
  return {
    rows: [
      { what: 'checks of a request', ...request },
      { what: 'looks for changes in SQLite', ...group },
    ],
    figures: [
      { what: 'the checks of one request', value: 1e9 / request.rate, unit: 'ns', targetBelow: 1_000 },
    ],
    setting: { checks, looks },
  };
});
