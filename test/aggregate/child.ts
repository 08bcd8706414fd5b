/**
 * The service, which kills itself around the transaction of an answer. STATHERA_TEST_KILL: `asked` once a query is
 * durable, `computed` when its answer is written and not yet committed, `answered` once that is durable.
 * STATHERA_TEST_NUMBERS: a file for the answer as it was to be committed.
 */
import { writeFileSync } from 'node:fs';
import type { Adapters } from '../../src/adapters.ts';
import { runCommandLine } from '../../src/cli/program.ts';
import { systemClock } from '../../src/core/clock.ts';
import { openPkcs11Hsm } from '../../src/hsm/pkcs11/adapter.ts';
import {
  checkPin,
  describeToken,
  provisionToken,
  provisionTransportKey,
} from '../../src/hsm/pkcs11/token.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';

const point = process.env['STATHERA_TEST_KILL'];
const file = process.env['STATHERA_TEST_NUMBERS'] ?? '';
const die = () => process.kill(process.pid, 'SIGKILL');

const adapters: Adapters = {
  clock: systemClock,
  openHsm: (settings, note) => openPkcs11Hsm(settings, { log: note }),
  ...{ provisionToken, provisionTransportKey, describeToken, checkPin },
  async openStore(database) {
    if (database.kind !== 'sqlite') throw new Error('over SQLite alone');
    const store = openSqliteStore({ file: database.file });
    const known = await store.db
      .selectFrom('dataset_queries')
      .select(['id', 'numbers'])
      .execute()
      .catch(() => []);
    const before = new Map(known.map(({ id, numbers }) => [id, numbers]));
    return {
      ...store,
      async transaction(work) {
        let asked = false;
        let answered = false;
        const result = await store.transaction(async (tx) => {
          const value = await work(tx);
          const rows = await tx.selectFrom('dataset_queries').select(['id', 'numbers']).execute();
          asked = rows.some(({ id }) => !before.has(id));
          const now = rows.find(({ id, numbers }) => numbers !== null && before.get(id) !== numbers);
          answered = now !== undefined;
          if (answered) writeFileSync(file, now?.numbers ?? '');
          if (answered && point === 'computed') die();
          return value;
        });
        if (asked && point === 'asked') die();
        if (answered && point === 'answered') die();
        return result;
      },
    };
  },
};

process.umask(0o077);
process.exitCode = await runCommandLine(process.argv, process.env, async () => adapters);
