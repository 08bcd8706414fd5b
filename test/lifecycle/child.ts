/**
 * One act on a version, in a process that kills itself when the version is about to be changed, or was.
 * STATHERA_TEST_ACT: `schedule`, `restore` or `due`; STATHERA_TEST_KEY: of which key; STATHERA_TEST_KILL: `before` the
 * commit or `after` it.
 */
import type { KyselyPlugin } from 'kysely';
import { systemClock } from '../../src/core/clock.ts';
import type { Store } from '../../src/store/store.ts';
import { callerIn, openParts } from './support.ts';

const { STATHERA_TEST_ACT: act, STATHERA_TEST_KEY: key = '', STATHERA_TEST_KILL: moment } = process.env;

const die = () => process.kill(process.pid, 'SIGKILL');

/** Other transactions come and go, as when what a dead process left of the log is moved. */
const deadly = (store: Store): Store => ({
  ...store,
  async transaction(work) {
    let changed = false;
    const watch: KyselyPlugin = {
      transformQuery({ node }) {
        if (node.kind === 'UpdateQueryNode' && JSON.stringify(node.table).includes('key_versions'))
          changed = true;
        return node;
      },
      transformResult: async ({ result }) => result,
    };
    const answer = await store.transaction(async (tx) => {
      const done = await work(tx.withPlugin(watch));
      if (changed && moment === 'before') die();
      return done;
    });
    if (changed && moment === 'after') die();
    return answer;
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
if (act === 'schedule')
  await parts.lifecycle.destroy(caller, key, { versions: [1], windowSeconds: 60, reason: 'tried' });
if (act === 'restore') await parts.lifecycle.restore(caller, key);
if (act === 'due') {
  parts.lifecycle.start();
  // Until it dies.
  await new Promise((resolve) => setTimeout(resolve, 60_000));
}
await parts.close();
