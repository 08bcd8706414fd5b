import { chmod, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { newNamespaceRow } from './access/namespaces.ts';
import { scopes } from './access/scopes.ts';
import { makeTokenSecret, parseTokenSecret } from './access/token-secret.ts';
import type { Adapters, Note } from './adapters.ts';
import { insertOutbox, sealOutboxRow } from './audit/outbox-rows.ts';
import type { Config } from './config.ts';
import type { Clock } from './core/clock.ts';
import { createDurably, mkdirDurably } from './core/durable-file.ts';
import { ServiceError } from './core/errors.ts';
import { newId, serviceNamespaceId } from './core/ids.ts';
import type { Hsm } from './hsm/hsm.ts';
import { makeSystemKey, openSystemKeys, type SystemKeys, storeSystemKey } from './keys/system-keys.ts';
import { migrate } from './store/migrations.ts';
import { createRowAuthenticator } from './store/rows.ts';
import type { Store } from './store/store.ts';

export interface Initialized {
  readonly bootstrapTokenFile: string;
  /** Steps that were done now; empty when everything was there. */
  readonly done: readonly string[];
}

const firstNamespace = 'default';
export const bootstrapTokenName = 'bootstrap';

/**
 * Makes everything the service needs: token, root, record and audit keys, the first namespace with its KEK,
 * and the bootstrap token. Each step is one durable act and is skipped when it is done, so that a run
 * killed anywhere is finished by the next.
 */
export async function initialize(config: Config, adapters: Adapters, note: Note): Promise<Initialized> {
  const done: string[] = [];
  const { dataDir } = config;
  const token = await ensureToken(config, adapters);
  if (token.created) done.push('token and root');
  const hsm = await adapters.openHsm(config.hsm, note);
  try {
    const store = await adapters.openStore(config.database);
    try {
      await migrate(store.db, store.dialect, adapters.clock.now());
      const { clock } = adapters;
      if (await enrolFirstRoot({ hsm, store, clock, config })) done.push('record and audit keys');
      const systemKeys = await openSystemKeys({ hsm, store });
      const access = { hsm, store, clock, systemKeys, config };
      if (await ensureFirstNamespace(access)) done.push('first namespace and its KEK');
      if (await ensureBootstrapToken(access)) done.push('bootstrap token');
    } finally {
      await store.close();
    }
  } finally {
    await hsm.close();
  }
  markInitialized(dataDir);
  return { bootstrapTokenFile: bootstrapTokenFile(config), done };
}

/** The data directory, and in it the token with its root. */
export async function ensureToken(
  { dataDir, hsm }: Config,
  adapters: Adapters,
): ReturnType<Adapters['provisionToken']> {
  mkdirDurably(dataDir);
  await chmod(dataDir, 0o700);
  mkdirDurably(dirname(hsm.pinFile));
  return await adapters.provisionToken(hsm);
}

/** The service starts in this directory from now on. */
export function markInitialized(dataDir: string): void {
  createDurably(join(dataDir, 'initialized'), 'the set-up of this directory is complete\n');
}

export function bootstrapTokenFile(config: Config): string {
  return join(config.dataDir, 'bootstrap-token');
}

interface Parts {
  readonly hsm: Hsm;
  readonly store: Store;
  readonly clock: Clock;
  readonly config: Config;
}

/** The database's first token: its root, and the record and audit keys under it, in one transaction. */
async function enrolFirstRoot({ hsm, store, clock, config }: Parts): Promise<boolean> {
  if (await store.db.selectFrom('system_keys').select('id').executeTakeFirst()) return false;
  const record = await makeSystemKey({ hsm, clock, purpose: 'record' });
  const rows = createRowAuthenticator((data) => hsm.mac(record.ref, data));
  const storeRecord = await storeSystemKey(rows, record);
  const storeAudit = await storeSystemKey(rows, await makeSystemKey({ hsm, clock, purpose: 'audit' }));
  await store.transaction(async (tx) => {
    await tx
      .insertInto('roots')
      .values({
        id: hsm.rootId,
        namespace_id: serviceNamespaceId,
        token_label: config.hsm.tokenLabel,
        created_at: clock.now(),
      })
      .execute();
    await storeRecord(tx);
    await storeAudit(tx);
  });
  return true;
}

async function ensureFirstNamespace({
  hsm,
  store,
  clock,
  config,
  systemKeys,
}: Parts & { systemKeys: SystemKeys }): Promise<boolean> {
  if (await store.db.selectFrom('namespaces').select('id').executeTakeFirst()) return false;
  const id = newId();
  const { rows } = systemKeys;
  const row = await rows.seal(
    'namespaces',
    newNamespaceRow({ id, name: firstNamespace, region: config.region, now: clock.now() }),
  );
  const storeKek = await storeSystemKey(
    rows,
    await makeSystemKey({ hsm, clock, purpose: 'kek', namespaceId: id }),
  );
  await store.transaction(async (tx) => {
    await tx.insertInto('namespaces').values(row).execute();
    await storeKek(tx);
  });
  return true;
}

/** The file is durable before the hash is stored: killed in between, the next run stores the file's hash. */
async function ensureBootstrapToken({
  hsm,
  store,
  clock,
  config,
  systemKeys,
}: Parts & { systemKeys: SystemKeys }): Promise<boolean> {
  if (await store.db.selectFrom('tokens').select('id').executeTakeFirst()) return false;
  const namespace = await store.db
    .selectFrom('namespaces')
    .selectAll()
    .where('name', '=', firstNamespace)
    .executeTakeFirstOrThrow();
  await systemKeys.rows.verify('namespaces', namespace);
  const file = bootstrapTokenFile(config);
  const { id, secretHash } = await bootstrapSecret(file);
  const row = await systemKeys.rows.seal('tokens', {
    id,
    namespace_id: namespace.id,
    name: bootstrapTokenName,
    secret_hash: secretHash,
    scopes: JSON.stringify(scopes),
    key_patterns: null,
    created_at: clock.now(),
    expires_at: null,
    revoked_at: null,
    revision: 1,
  });
  const record = await sealOutboxRow((data) => hsm.mac(systemKeys.audit, data), 'w1', {
    id: newId(),
    time: clock.now(),
    namespaceId: namespace.id,
    requestId: 'init',
    principal: { kind: 'system', name: 'init' },
    action: 'access.create-token',
    target: { kind: 'token', id, name: bootstrapTokenName },
    outcome: 'allowed',
  });
  await store.transaction(async (tx) => {
    await tx.insertInto('tokens').values(row).execute();
    await insertOutbox(tx, [record]);
  });
  return true;
}

async function bootstrapSecret(file: string): Promise<{ id: string; secretHash: Uint8Array }> {
  const existing = await readFile(file, 'utf8').catch(() => undefined);
  if (existing !== undefined) {
    const parsed = parseTokenSecret(existing.trim());
    if (parsed) return parsed;
    throw new ServiceError(
      'store/unavailable',
      `${file} holds no token; remove it and run init again to get a new one.`,
    );
  }
  const id = newId();
  const { text, secretHash } = makeTokenSecret(id);
  createDurably(file, `${text}\n`);
  return { id, secretHash };
}
