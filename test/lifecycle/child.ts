/**
 * One act on a version, in a process that kills itself at one of its transactions.
 * STATHERA_TEST_ACT: `schedule`, `restore` or `due`; STATHERA_TEST_KEY: of which key; STATHERA_TEST_KILL: `before 1`
 * or `after 2`, counted from the act on.
 */
import { systemClock } from '../../src/core/clock.ts';
import type { Store } from '../../src/store/store.ts';
import { callerIn, openParts } from './support.ts';

const { STATHERA_TEST_ACT: act, STATHERA_TEST_KEY: key = '', STATHERA_TEST_KILL: point } = process.env;
const [moment, count] = (point ?? '').split(' ');
let armed = false;
let transactions = 0;

function die(at: string): void {
  if (armed && moment === at && transactions === Number(count)) process.kill(process.pid, 'SIGKILL');
}

const deadly = (store: Store): Store => ({
  ...store,
  async transaction(work) {
    if (armed) transactions += 1;
    die('before');
    const result = await store.transaction(work);
    die('after');
    return result;
  },
});

/** What is due is what the parent has made so, an hour ahead. */
const later = { now: () => Date.now() + 3_600_000, monotonic: () => performance.now() };
const parts = await openParts({
  dataDir: process.env['STATHERA_DATA_DIR'] ?? '',
  clock: act === 'due' ? later : systemClock,
  wrap: deadly,
});
const caller = callerIn(parts.namespaceId);
armed = true;
if (act === 'schedule')
  await parts.lifecycle.destroy(caller, key, { versions: [1], windowSeconds: 60, reason: 'tried' });
if (act === 'restore') await parts.lifecycle.restore(caller, key);
if (act === 'due') {
  parts.lifecycle.start();
  while (transactions < Number(count) + 1) await new Promise((resolve) => setTimeout(resolve, 5));
}
await parts.close();
