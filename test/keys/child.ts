/**
 * One step of an enrolment, in a process that kills itself once so many of its transactions are durable.
 * STATHERA_TEST_STEP: `approve FILE` or `accept CONFIRMATION`; STATHERA_TEST_KILL_AFTER: how many, 0 for never.
 */
import { readFileSync } from 'node:fs';
import type { Adapters } from '../../src/adapters.ts';
import { readConfig } from '../../src/config.ts';
import { systemClock } from '../../src/core/clock.ts';
import { accept, approve, parseRequest } from '../../src/enrolment.ts';
import { openPkcs11Hsm } from '../../src/hsm/pkcs11/adapter.ts';
import { describeToken, provisionToken, provisionTransportKey } from '../../src/hsm/pkcs11/token.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';

const [step, what = ''] = (process.env['STATHERA_TEST_STEP'] ?? '').split(' ');
const killAfter = Number(process.env['STATHERA_TEST_KILL_AFTER']);
let durable = 0;

const adapters: Adapters = {
  clock: systemClock,
  openHsm: (settings) => openPkcs11Hsm(settings),
  provisionToken,
  provisionTransportKey,
  describeToken,
  checkPin: () => Promise.reject(new Error('not asked here')),
  async openStore(database) {
    if (database.kind !== 'sqlite') throw new Error('over SQLite alone');
    const store = openSqliteStore({ file: database.file });
    return {
      ...store,
      async transaction(work) {
        const result = await store.transaction(work);
        durable += 1;
        if (durable === killAfter) process.kill(process.pid, 'SIGKILL');
        return result;
      },
    };
  },
};

const config = readConfig(process.env);
const request = step === 'approve' ? parseRequest(readFileSync(what, 'utf8')) : undefined;
const result = request ? await approve(config, adapters, request) : await accept(config, adapters, what);
process.stdout.write(JSON.stringify({ ...result, durable }));
