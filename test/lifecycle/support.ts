import { join } from 'node:path';
import type { Caller } from '../../src/access/caller.ts';
import { createOperations } from '../../src/access/operations.ts';
import { scopes } from '../../src/access/scopes.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { readConfig } from '../../src/config.ts';
import type { Clock } from '../../src/core/clock.ts';
import { newId } from '../../src/core/ids.ts';
import { createEnvelopes } from '../../src/envelope/envelope.ts';
import { createEmit } from '../../src/events/emit.ts';
import { openPkcs11Hsm } from '../../src/hsm/pkcs11/adapter.ts';
import { createKeys } from '../../src/keys/keys.ts';
import { openSystemKeys } from '../../src/keys/system-keys.ts';
import type { Coverage } from '../../src/lifecycle/coverage.ts';
import { createLifecycle } from '../../src/lifecycle/lifecycle.ts';
import { createMacWork } from '../../src/macs/macs.ts';
import { createRotationHooks } from '../../src/rotation/hooks.ts';
import { createSigningWork } from '../../src/signing/work.ts';
import { createRevision } from '../../src/store/revision.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import type { Store } from '../../src/store/store.ts';

/** The parts that versions live in, in this process, over the database and the token of a data directory. */
export async function openParts({
  dataDir,
  clock,
  coverage,
  wrap = (store) => store,
}: {
  dataDir: string;
  clock: Clock;
  coverage?: Coverage;
  wrap?: (store: Store) => Store;
}) {
  const { STATHERA_PKCS11_MODULE } = process.env;
  const config = readConfig({ STATHERA_DATA_DIR: dataDir, STATHERA_PKCS11_MODULE });
  const hsm = await openPkcs11Hsm(config.hsm, { log: () => undefined });
  const store = wrap(openSqliteStore({ file: join(dataDir, 'stathera.db') }));
  const systemKeys = await openSystemKeys({ hsm, store });
  const revision = createRevision({
    feed: await store.changes.follow(),
    clock,
    maxStaleMilliseconds: 1_000_000_000,
  });
  const audit = await openAuditLog({
    ...{ directory: join(dataDir, 'audit'), store, clock, sync: () => revision.sync() },
    mac: (data) => hsm.mac(systemKeys.audit, data),
  });
  const operations = createOperations({ audit, store, clock, revision, confirm: async () => undefined });
  const keys = createKeys({
    ...{ store, hsm, systemKeys, operations, clock, revision },
    hooks: createRotationHooks({ store, rows: systemKeys.rows, clock }),
    onRotationFailed: () => undefined,
  });
  const logged: string[] = [];
  const newLifecycle = () =>
    createLifecycle({
      ...{ keys, store, hsm, systemKeys, clock, emit: createEmit(store), ...(coverage && { coverage }) },
      limits: { leastWindowSeconds: 10, retentionCheckSeconds: 60, lookMilliseconds: 5 },
      log: (_level, event) => void logged.push(event),
    });
  const lifecycle = newLifecycle();
  const macWork = createMacWork({ keys, hsm });
  const threads = { run: () => Promise.reject(new Error('nothing is signed here')) } as never;
  const signingWork = createSigningWork({ keys, hsm, threads });
  const envelopes = createEnvelopes({ operations, keys, hsm, macWork, signingWork });
  const namespace = await store.db
    .selectFrom('namespaces')
    .select('id')
    .where('name', '=', 'default')
    .executeTakeFirstOrThrow();
  return {
    /** Another process's part, as far as leases tell. */
    newLifecycle,
    ...{ hsm, systemKeys, operations, revision },
    ...{ store, keys, lifecycle, envelopes, audit, logged, namespaceId: namespace.id },
    async close() {
      await lifecycle.close();
      await keys.close();
      await audit.close();
      await revision.close();
      await store.close();
      await hsm.close();
    },
  };
}

export type Parts = Awaited<ReturnType<typeof openParts>>;

export function callerIn(namespaceId: string): Caller {
  const principal = { kind: 'token' as const, id: 'tester', name: 'tester', namespaceId };
  return {
    principal: { ...principal, scopes: new Set(scopes), keyPatterns: undefined },
    ...{ requestId: newId(), source: undefined, idempotency: undefined },
  };
}

/** A clock that is moved by hand, both hands of it. */
export function handClock() {
  let passed = 0;
  const begun = Date.now();
  return {
    now: () => begun + passed,
    monotonic: () => passed,
    pass(milliseconds: number) {
      passed += milliseconds;
    },
  };
}

export async function until(what: () => Promise<boolean>, milliseconds = 60_000): Promise<void> {
  for (const deadline = performance.now() + milliseconds; !(await what()); ) {
    if (performance.now() > deadline) throw new Error('it does not come about');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
