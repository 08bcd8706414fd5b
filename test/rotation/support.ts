import { join } from 'node:path';
import type { Caller } from '../../src/access/caller.ts';
import { createOperations } from '../../src/access/operations.ts';
import { scopes } from '../../src/access/scopes.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { readConfig } from '../../src/config.ts';
import type { Clock } from '../../src/core/clock.ts';
import { newId } from '../../src/core/ids.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import type { Hsm } from '../../src/hsm/hsm.ts';
import { openPkcs11Hsm } from '../../src/hsm/pkcs11/adapter.ts';
import { createJobs } from '../../src/jobs/jobs.ts';
import { createKeys } from '../../src/keys/keys.ts';
import { openSystemKeys } from '../../src/keys/system-keys.ts';
import type { RotationEvent } from '../../src/rotation/events.ts';
import { createRotationHooks } from '../../src/rotation/hooks.ts';
import { composeRotation } from '../../src/rotation/part.ts';
import type { SchedulerLimits } from '../../src/rotation/scheduler.ts';
import { createSchedules } from '../../src/rotation/schedules.ts';
import { openPostgresStore } from '../../src/store/postgres.ts';
import { createRevision } from '../../src/store/revision.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import type { Store } from '../../src/store/store.ts';

export const day = 86_400_000;

export interface Place {
  readonly dataDir: string;
  readonly databaseUrl?: string | undefined;
}

export async function openHsm({ dataDir, databaseUrl }: Place): Promise<Hsm> {
  const { STATHERA_PKCS11_MODULE } = process.env;
  const config = readConfig({
    STATHERA_DATA_DIR: dataDir,
    STATHERA_PKCS11_MODULE,
    STATHERA_DATABASE_URL: databaseUrl,
  });
  return await openPkcs11Hsm(config.hsm, { log: () => undefined });
}

export async function openStore({ dataDir, databaseUrl }: Place): Promise<Store> {
  const config = readConfig({ STATHERA_DATA_DIR: dataDir, STATHERA_DATABASE_URL: databaseUrl });
  if (config.database.kind === 'postgres') return await openPostgresStore(config.database);
  return openSqliteStore({ file: config.database.file, busyMilliseconds: 30_000 });
}

/** Seconds for tests: a lease that nobody renews is free soon. */
const quick: Partial<SchedulerLimits> = {
  ...{ pollMilliseconds: 50, settleMilliseconds: 0, leaseMilliseconds: 500, rate: 100_000 },
};

export interface OpenOptions {
  readonly hsm: Hsm;
  readonly store: Store;
  readonly clock: Clock;
  readonly directory: string;
  readonly limits?: Partial<SchedulerLimits>;
  readonly onRotation?: (events: readonly RotationEvent[]) => void;
  /** Told of what is logged of rotations. */
  readonly onLogged?: () => void;
}

/** One process's part in the rotation of a database, with the real HSM. Closed by who opened it. */
export async function openRotation({
  hsm,
  store,
  clock,
  directory,
  limits,
  onRotation,
  onLogged,
}: OpenOptions) {
  const systemKeys = await openSystemKeys({ hsm, store });
  const { rows } = systemKeys;
  const feed = await store.changes.follow();
  const revision = createRevision({ feed, clock, maxStaleMilliseconds: 1_000_000 });
  const audit = await openAuditLog({
    directory: join(directory, 'audit'),
    ...{ store, clock, mac: (data: Uint8Array) => hsm.mac(systemKeys.audit, data) },
    sync: () => revision.sync(),
  });
  const operations = createOperations({ audit, store, clock, revision, confirm: async () => undefined });
  const told: RotationEvent[] = [];
  const onEvents = async (_tx: unknown, events: readonly RotationEvent[]) => {
    told.push(...events);
    onRotation?.(events);
  };
  const keys = createKeys({
    ...{ store, hsm, systemKeys, operations, clock, revision },
    hooks: createRotationHooks({ store, rows, clock, onRotation: onEvents }),
    onRotationFailed: () => undefined,
  });
  const logged: { event: string; fields: object }[] = [];
  const log = (_level: string, event: string, fields: object) => {
    logged.push({ event, fields });
    if (event === 'rotation.rotated') onLogged?.();
  };
  const metrics = createMetrics();
  const rotation = composeRotation({
    ...{ store, rows, clock, operations, audit, revision, keys, metrics, log, onRotation: onEvents },
    limits: { ...quick, ...limits, minimumSeconds: 1 },
  });
  const jobs = createJobs({
    ...{ store, rows, clock, operations, audit, metrics, log, kinds: rotation.kinds },
    limits: { pollMilliseconds: 20 },
  });
  const namespace = await store.db
    .selectFrom('namespaces')
    .select('id')
    .where('name', '=', 'default')
    .executeTakeFirstOrThrow();
  const caller = (): Caller => ({
    principal: {
      ...{ kind: 'token', id: 'tester', name: 'tester', namespaceId: namespace.id },
      ...{ scopes: new Set(scopes), keyPatterns: undefined },
    },
    ...{ requestId: newId(), source: undefined, idempotency: undefined },
  });
  const { rotation: policies, rotationDefaults, rotationOverview } = rotation.routes(jobs);
  return {
    ...{
      store,
      rows,
      revision,
      keys,
      jobs,
      audit,
      logged,
      told,
      metrics,
      caller,
      policies,
      rotationDefaults,
    },
    ...{ overview: rotationOverview, scheduler: rotation.scheduler },
    async close() {
      await rotation.scheduler.close();
      await jobs.close();
      await keys.close();
      await audit.close();
      await revision.close();
    },
  };
}

export type Opened = Awaited<ReturnType<typeof openRotation>>;

/** A new AES key. */
export async function makeKey({ keys, caller }: Opened, name: string) {
  return await keys.create(caller(), { name, algorithm: 'aes-256-gcm', description: '', tags: {} });
}

/** Makes a key due now, as if its policy had said so. */
export async function makeDue({ store, rows }: Opened, keyId: string): Promise<void> {
  const schedules = createSchedules({ store, rows });
  const { row } = await schedules.look(keyId);
  if (!row) throw new Error('it has no policy');
  const now = Date.now();
  const next = await schedules.change(row, { due_at: now, act_at: now });
  await store.transaction((tx) => schedules.write(tx, next));
}

/** What rows say of a key: versions, history, records of its rotations. */
export async function traces({ store, audit, caller }: Opened, keyId: string) {
  const versions = await store.db
    .selectFrom('key_versions')
    .select('ordinal')
    .where('key_id', '=', keyId)
    .orderBy('ordinal')
    .execute();
  const counts = await store.db
    .selectFrom('key_usage')
    .innerJoin('key_versions', 'key_versions.id', 'key_usage.version_id')
    .select('version_id')
    .where('key_id', '=', keyId)
    .execute();
  const key = await store.db
    .selectFrom('keys')
    .select('current_ordinal')
    .where('id', '=', keyId)
    .executeTakeFirst();
  const history = await store.db
    .selectFrom('rotations')
    .select(['to_ordinal', 'cause', 'due_at'])
    .where('key_id', '=', keyId)
    .orderBy('to_ordinal')
    .execute();
  const { namespaceId } = caller().principal;
  const { items } = await audit.records({ namespaceId, action: 'keys.rotate', target: keyId, limit: 1_000 });
  return {
    ordinals: versions.map(({ ordinal }) => ordinal),
    counts: counts.length,
    current: key?.current_ordinal,
    history,
    records: items.map(({ outcome, target, principal }) => ({
      outcome,
      version: target?.version,
      by: principal.name,
    })),
  };
}
