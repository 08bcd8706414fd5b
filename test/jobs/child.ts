// One process of several over a database. Arguments: what it does, the database's URL, a directory and a name for its
// log.
import { createInterface } from 'node:readline';
import { systemClock } from '../../src/core/clock.ts';
import { createLeases } from '../../src/jobs/leases.ts';
import { counting, deadly } from './kinds.ts';
import { leaveMark, openJobs, openStore } from './support.ts';

const [what = '', url = '', directory = '', writer = ''] = process.argv.slice(2);
const store = await openStore(url);
const say = (line: string) => void process.stdout.write(`${line}\n`);
const codeOf = (error: unknown) => (error as { code?: string }).code ?? String(error);

/** Takes the lease as soon as it can; leaves a mark under it when told to. */
async function hold(): Promise<void> {
  const leases = createLeases({ store, clock: systemClock });
  let lease = await leases.claim('shared', 500);
  for (; !lease; lease = await leases.claim('shared', 500)) await new Promise((next) => setTimeout(next, 20));
  const { fence } = lease;
  const held = lease;
  say(`held ${fence}`);
  for await (const line of createInterface({ input: process.stdin })) {
    const done = store.transaction(async (tx) => {
      await leases.fenced(tx, held);
      await leaveMark(tx, line);
    });
    say(
      await done.then(
        () => 'done',
        (error: unknown) => codeOf(error),
      ),
    );
  }
}

/** Adds to a count as often as it gets the lease, until it is killed. */
async function race(): Promise<void> {
  const leases = createLeases({ store, clock: systemClock });
  for (let number = 0; ; number += 1) {
    const lease = await leases.claim('shared', 500);
    if (!lease) {
      await new Promise((next) => setTimeout(next, 1));
      continue;
    }
    try {
      await store.transaction(async (tx) => {
        await leases.fenced(tx, lease);
        await leaveMark(tx, String(lease.fence));
      });
      say(String(lease.fence));
    } catch (error) {
      if (codeOf(error) !== 'lease/lost') throw error;
    }
    if (number % 8 !== 7) await leases.release(lease);
  }
}

/** Works on jobs until it is killed. */
async function work(): Promise<void> {
  const { jobs } = await openJobs({ store, directory, writer, kinds: [counting, deadly] });
  jobs.start();
  say('working');
  setInterval(() => undefined, 1_000);
}

const roles: Readonly<Record<string, () => Promise<void>>> = { hold, race, work };
await roles[what]?.();
