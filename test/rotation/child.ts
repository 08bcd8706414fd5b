// One process of several over a service's data directory and database. For each line it gets it does what that says,
// and says `done`.
import { createInterface } from 'node:readline';
import { systemClock } from '../../src/core/clock.ts';
import { createLeases } from '../../src/jobs/leases.ts';
import { createChunkRunner } from '../../src/rotation/chunk.ts';
import { createSchedules } from '../../src/rotation/schedules.ts';
import { createSharedClock } from '../../src/rotation/shared-clock.ts';
import { openHsm, openRotation, openStore } from './support.ts';

const [dataDir = '', databaseUrl = '', point = ''] = process.argv.slice(2);
const place = { dataDir, ...(databaseUrl !== '' && { databaseUrl }) };
const clock = systemClock;
const die = (at: string) => {
  if (at === point) process.kill(process.pid, 'SIGKILL');
};

const hsm = await openHsm(place);
const store = await openStore(place);
/** A rotation is in the transaction. */
let rotating = false;
const parts = await openRotation({
  hsm: {
    ...hsm,
    async generate(...given) {
      die('before a version is made');
      const blob = await hsm.generate(...given);
      die('after a version was made');
      return blob;
    },
  },
  store: {
    ...store,
    async transaction(work) {
      const answer = await store.transaction(work);
      if (rotating) die('after the commit');
      return answer;
    },
  },
  ...{ clock, directory: dataDir },
  onRotation() {
    rotating = true;
    die('in the transaction');
  },
  onLogged: () => die('after the record'),
});

/** As if no lease held: every process works on whatever is due. */
async function unleased(): Promise<void> {
  const leases = createLeases({ store, clock });
  const lease = await leases.claim(`test/${process.pid}`);
  if (!lease) throw new Error('its own lease');
  const schedules = createSchedules(parts);
  const run = createChunkRunner({
    ...parts,
    clock: createSharedClock({ store, clock }),
    leases,
    many: parts.keys.many,
    schedules,
  });
  for (;;) {
    const due = await store.db
      .selectFrom('rotation_schedules')
      .selectAll()
      .where('act_at', '<=', clock.now())
      .orderBy('key_id')
      .limit(3)
      .execute();
    if (due.length === 0) return;
    await run(lease, due);
  }
}

/** Until nothing is due any more, by whichever process. */
async function scheduled(): Promise<void> {
  const isDue = () =>
    store.db
      .selectFrom('rotation_schedules')
      .select('key_id')
      .where('act_at', '<=', clock.now())
      .executeTakeFirst();
  while (await isDue()) await parts.scheduler.look();
}

process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  await (line === 'unleased' ? unleased() : scheduled());
  process.stdout.write(`done ${line}\n`);
}
await parts.close();
await store.close();
await hsm.close();
process.exit(0);
