import { spawn } from 'node:child_process';
import { constants, createHmac, createPublicKey, generateKeyPairSync, publicEncrypt } from 'node:crypto';
import { once } from 'node:events';
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { systemClock } from '../../src/core/clock.ts';
import { newId } from '../../src/core/ids.ts';
import type { Hsm, KeyRef } from '../../src/hsm/hsm.ts';
import { openPkcs11Hsm } from '../../src/hsm/pkcs11/adapter.ts';
import { provisionToken, provisionTransportKey } from '../../src/hsm/pkcs11/token.ts';
import { acceptEnrolment, approveEnrolment } from '../../src/keys/enrolment.ts';
import {
  type EnrolmentRequest,
  encodeRequest,
  fingerprintOf,
  parseRequest,
} from '../../src/keys/enrolment-request.ts';
import { removeToken } from '../../src/keys/removal.ts';
import { makeSystemKey, openSystemKeys, storeSystemKey } from '../../src/keys/system-keys.ts';
import { migrate } from '../../src/store/migrations.ts';
import { createRowAuthenticator } from '../../src/store/rows.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import type { Store } from '../../src/store/store.ts';
import { childEnvironment, emptyDirectory, freshDataDir, removeDirectory } from '../support/data.ts';
import { bit, type Edit, next, other, to } from './edits.ts';

/** The first has the service's token, the second asks. */
let first: string;
let second: string;
let ask: Record<string, EnrolmentRequest>;
let approved: string;
let confirmation: string;

const configOf = (dataDir: string) => readConfig({ STATHERA_DATA_DIR: dataDir, STATHERA_PKCS11_MODULE });
const { STATHERA_PKCS11_MODULE } = process.env;
const requestOf = (dataDir: string): EnrolmentRequest => ask[dataDir] as EnrolmentRequest;

/** A copy of a database, to be edited and used by one test. */
let copies = 0;
async function copyOf(file: string): Promise<string> {
  copies += 1;
  const copy = join(second, `copy-${copies}.db`);
  await copyFile(file, copy);
  return copy;
}

function edit(file: string, work: (database: Database.Database) => void): void {
  const database = new Database(file);
  try {
    database.pragma('foreign_keys = off');
    work(database);
  } finally {
    database.close();
  }
}

/** What a query of one column finds. */
function found(file: string, query: string, ...values: string[]): unknown[] {
  const database = new Database(file);
  try {
    return database
      .prepare(query)
      .pluck()
      .all(...values);
  } finally {
    database.close();
  }
}

async function withToken<T>(dataDir: string, work: (hsm: Hsm) => Promise<T>): Promise<T> {
  const hsm = await openPkcs11Hsm(configOf(dataDir).hsm);
  try {
    return await work(hsm);
  } finally {
    await hsm.close();
  }
}

async function withStore<T>(file: string, work: (store: Store) => Promise<T>): Promise<T> {
  const store = openSqliteStore({ file });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

const accept = (hsm: Hsm, file: string, said = confirmation) =>
  withStore(file, (store) =>
    acceptEnrolment({ hsm, store, clock: systemClock, own: requestOf(second) }, said),
  );

const wrappedFor = (file: string, root: string): unknown[] =>
  found(file, 'select system_key_id from system_key_wrappings where root_id = ? order by 1', root);

beforeAll(async () => {
  first = await freshDataDir();
  second = await emptyDirectory();
  ask = {};
  for (const dataDir of [first, second]) {
    const { hsm } = configOf(dataDir);
    await provisionToken(hsm);
    ask[dataDir] = { ...(await provisionTransportKey(hsm)), tokenLabel: 'stathera' };
  }
  approved = join(second, 'approved.db');
  await copyFile(join(first, 'stathera.db'), approved);
  await withToken(first, (hsm) =>
    withStore(approved, async (store) => {
      await migrate(store.db, store.dialect, 1);
      const parts = { hsm, store, clock: systemClock, own: requestOf(first) };
      ({ confirmation } = await approveEnrolment(parts, requestOf(second)));
    }),
  );
}, 300_000);
afterAll(async () => {
  await removeDirectory(first);
  await removeDirectory(second);
});

/** Guarantees that an enrolment whose processes are killed after each durable step is finished by the next ones, recorded once. */
test('kills between all steps', { timeout: 600_000 }, async () => {
  const file = await copyOf(join(first, 'stathera.db'));
  const requestFile = join(second, 'request');
  await writeFile(requestFile, encodeRequest(requestOf(second)));

  /** Runs a step again and again, each time killed after one more durable transaction. @returns kills and result */
  async function persist(dataDir: string, step: string): Promise<{ kills: number; result: string }> {
    for (let kills = 0; kills < 20; kills += 1) {
      const child = spawn(process.execPath, [fileURLToPath(new URL('child.ts', import.meta.url))], {
        env: childEnvironment({
          STATHERA_DATA_DIR: dataDir,
          STATHERA_DATABASE_URL: `sqlite:${file}`,
          STATHERA_TEST_STEP: step,
          STATHERA_TEST_KILL_AFTER: '1',
        }),
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const [stdout, stderr, [code, signal]] = await Promise.all([
        text(child.stdout),
        text(child.stderr),
        once(child, 'close') as Promise<[number | null, string | null]>,
      ]);
      if (code === 0) return { kills, result: stdout };
      if (signal !== 'SIGKILL') throw new Error(`${step} ended with ${code}: ${stderr}`);
    }
    throw new Error(`${step} never ends`);
  }

  const approving = await persist(first, `approve ${requestFile}`);
  // Two transport keys, and the record key, the audit key and a KEK.
  expect(approving.kills).toBe(5);
  expect(JSON.parse(approving.result)).toEqual({ handedOver: 0, confirmation, durable: 0 });
  const accepting = await persist(second, `accept ${confirmation}`);
  // Record and audit key with the record of it, and the KEK.
  expect(accepting.kills).toBe(2);
  expect(JSON.parse(accepting.result)).toEqual({ taken: 0, durable: 0 });
  expect(wrappedFor(file, requestOf(second).rootId)).toEqual(wrappedFor(file, requestOf(first).rootId));
  expect(found(file, 'select count(*) from system_key_transports')).toEqual([0]);
  const entries = found(file, 'select entry from audit_outbox').map(String);
  for (const action of ['hsm.approve-enrolment', 'hsm.accept-enrolment'])
    expect(entries.filter((entry) => entry.includes(action))).toHaveLength(1);
});

/** Guarantees that no row of the hand-over is used that was edited on the way, and that its key is not taken. */
test('edited rows', async () => {
  const rootId = requestOf(second).rootId;
  const edits: [table: string, column: string, change: Edit, purposes: string[]][] = [];
  const all = ['record', 'audit', 'kek'];
  for (const [column, change] of [
    ...([
      ['system_key_id', other],
      ['root_id', other],
      ['namespace_id', other],
    ] as const),
    ...([
      ['blob', bit],
      ['mac', bit],
    ] as const),
  ])
    edits.push(['system_key_transports', column, change, all]);
  for (const [column, change] of [
    ...([
      ['root_id', other],
      ['namespace_id', other],
      ['created_at', next],
      ['revision', next],
    ] as const),
    ...([
      ['public_key', to(Buffer.from(requestOf(first).publicKey))],
      ['mac', bit],
    ] as const),
  ])
    edits.push(['root_transport_keys', column, change, ['record']]);
  for (const [column, change] of [
    ['generation', next],
    ['created_at', next],
    ['mac', bit],
  ] as const)
    edits.push(['system_keys', column, change, all]);
  await withToken(second, async (hsm) => {
    for (const [table, column, change, purposes] of edits) {
      for (const purpose of purposes) {
        const file = await copyOf(approved);
        const [id] = found(file, 'select id from system_keys where purpose = ?', purpose) as string[];
        edit(file, (database) => {
          const [where, value] = table === 'system_keys' ? ['id', id] : ['root_id', rootId];
          const also = table === 'system_key_transports' ? ` and system_key_id = '${id}'` : '';
          const old = database
            .prepare(`select ${column} from ${table} where ${where} = ?${also}`)
            .pluck()
            .get(value) as string;
          const { changes } = database
            .prepare(`update ${table} set ${column} = ? where ${where} = ?${also}`)
            .run(change(old), value);
          if (changes !== 1) throw new Error(`edited ${changes} rows of ${table}`);
        });
        const answer = await accept(hsm, file).then(
          () => 'accepted',
          (error: { code?: string }) => error.code,
        );
        const what = `${table}.${column} of ${purpose}`;
        // One that points elsewhere is not there for this token: the KEK's absence shows when it is needed.
        const elsewhere = /transports\.(system_key_id|root_id)/.test(what) && purpose === 'kek';
        if (!elsewhere) expect(['internal', 'hsm/unavailable'], what).toContain(answer);
        expect(wrappedFor(file, rootId), what).not.toContain(id);
      }
    }
  });
});

/** Guarantees that keys of somebody else, in a database made to fit, are not taken: the confirmation tells whose they are. */
test('another service’s keys', async () => {
  const file = await copyOf(approved);
  const { rootId, publicKey } = requestOf(second);
  const value = Buffer.alloc(32, 7);
  const forger = createRowAuthenticator(async (data) => createHmac('sha256', value).update(data).digest());
  const [record] = found(file, "select id from system_keys where purpose = 'record'") as string[];
  const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'pkcs1' });
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const blob = publicEncrypt({ key, padding, oaepHash: 'sha1' }, value);
  await withStore(file, async ({ db }) => {
    await db
      .updateTable('system_key_transports')
      .set({ blob })
      .where('root_id', '=', rootId)
      .where('system_key_id', '=', record ?? '')
      .execute();
    for (const row of await db.selectFrom('system_key_transports').selectAll().execute()) {
      const { mac } = await forger.seal('system_key_transports', row);
      await db
        .updateTable('system_key_transports')
        .set({ mac })
        .where('system_key_id', '=', row.system_key_id)
        .execute();
    }
    for (const row of await db.selectFrom('root_transport_keys').selectAll().execute()) {
      const { mac } = await forger.seal('root_transport_keys', row);
      await db.updateTable('root_transport_keys').set({ mac }).where('root_id', '=', row.root_id).execute();
    }
    for (const row of await db.selectFrom('system_keys').selectAll().execute()) {
      const { mac } = await forger.seal('system_keys', row);
      await db.updateTable('system_keys').set({ mac }).where('id', '=', row.id).execute();
    }
  });
  await withToken(second, async (hsm) => {
    await expect(accept(hsm, file)).rejects.toMatchObject({
      code: 'hsm/unavailable',
      detail: expect.stringContaining('confirmation') as string,
    });
  });
  expect(wrappedFor(file, rootId)).toEqual([]);
});

/** Guarantees that a namespace made later, on either node, opens on both, also where its maker handed nothing over. */
test('namespaces made afterwards', { timeout: 300_000 }, async () => {
  const file = await copyOf(approved);
  const message = { nonce: new Uint8Array(12), aad: new Uint8Array(0), data: Uint8Array.of(1, 2, 3) };
  const on = <T>(
    dataDir: string,
    work: (
      parts: { hsm: Hsm; store: Store } & { systemKeys: Awaited<ReturnType<typeof openSystemKeys>> },
    ) => Promise<T>,
  ) =>
    withToken(dataDir, (hsm) =>
      withStore(file, async (store) =>
        work({ hsm, store, systemKeys: await openSystemKeys({ hsm, store }) }),
      ),
    );

  /** A KEK, and a message under a key that hangs from it. */
  const make = (dataDir: string, handsOver: boolean) =>
    on(dataDir, async ({ hsm, store, systemKeys }) => {
      const made = await makeSystemKey({ hsm, clock: systemClock, purpose: 'kek', namespaceId: newId() });
      const handover = handsOver ? systemKeys.handover : undefined;
      const put = await storeSystemKey(systemKeys.rows, made, handover);
      await store.transaction(put);
      const key: KeyRef = {
        ...{ id: newId(), kind: 'aes-256', blob: await hsm.generate('aes-256', made.ref), under: made.ref },
      };
      return { kek: made.row.id, key, sealed: await hsm.encrypt(key, message) };
    });
  const open = (dataDir: string, { kek, key, sealed }: Awaited<ReturnType<typeof make>>) =>
    on(dataDir, async ({ hsm, systemKeys }) =>
      hsm.decrypt({ ...key, under: await systemKeys.kek(kek) }, { ...message, data: sealed }),
    );

  await withToken(second, (hsm) => accept(hsm, file));
  expect(await open(second, await make(first, true))).toEqual(message.data);
  expect(await open(first, await make(second, true))).toEqual(message.data);
  const kept = await make(first, false);
  await expect(open(second, kept)).rejects.toMatchObject({ code: 'hsm/unavailable' });
  expect(await on(first, ({ systemKeys }) => systemKeys.settle())).toEqual({ taken: 0, handedOver: 1 });
  expect(await on(second, ({ systemKeys }) => systemKeys.settle())).toEqual({ taken: 1, handedOver: 0 });
  expect(await open(second, kept)).toEqual(message.data);
  expect(found(file, 'select count(*) from system_key_transports')).toEqual([0]);
});

/** Guarantees that a token that was taken out opens nothing and is handed nothing, and that the one in use stays. */
test('a token that is taken out', async () => {
  const file = await copyOf(approved);
  const [mine, theirs] = [requestOf(first).rootId, requestOf(second).rootId];
  await withToken(second, (hsm) => accept(hsm, file));
  expect(wrappedFor(file, theirs)).toHaveLength(3);
  await withToken(first, (hsm) =>
    withStore(file, async (store) => {
      const remove = (rootId: string) => removeToken({ hsm, store, clock: systemClock }, rootId);
      await expect(remove(mine)).rejects.toMatchObject({ code: 'hsm/unavailable' });
      await expect(remove(newId())).rejects.toMatchObject({ code: 'hsm/unavailable' });
      await remove(theirs);
      const { rows, handover } = await openSystemKeys({ hsm, store });
      const made = await makeSystemKey({ hsm, clock: systemClock, purpose: 'kek', namespaceId: newId() });
      await store.transaction(await storeSystemKey(rows, made, handover));
    }),
  );
  for (const table of ['system_key_wrappings', 'system_key_transports', 'root_transport_keys'])
    expect(found(file, `select count(*) from ${table} where root_id = ?`, theirs), table).toEqual([0]);
  expect(wrappedFor(file, mine)).toHaveLength(4);
  expect(found(file, 'select entry from audit_outbox').map(String).join('')).toContain('hsm.remove-token');
  await withToken(second, (hsm) =>
    withStore(file, async (store) => {
      await expect(openSystemKeys({ hsm, store })).rejects.toMatchObject({ code: 'hsm/unavailable' });
    }),
  );
});

/** Guarantees that a request made anew takes the place of the one before, which opens nothing any more. */
test('another transport key of the same token', async () => {
  const file = await copyOf(approved);
  const pair = generateKeyPairSync('rsa', { modulusLength: 4096 });
  const publicKey = new Uint8Array(pair.publicKey.export({ format: 'der', type: 'pkcs1' }));
  const again = { ...requestOf(second), publicKey };
  const own = requestOf(first);
  await withToken(first, (hsm) =>
    withStore(file, async (store) => {
      const parts = { hsm, store, clock: systemClock, own };
      expect(await approveEnrolment(parts, again)).toMatchObject({ handedOver: 3 });
      await expect(approveEnrolment(parts, own)).rejects.toMatchObject({ code: 'hsm/unavailable' });
    }),
  );
  await withToken(second, async (hsm) => {
    await expect(accept(hsm, file)).rejects.toMatchObject({
      code: 'hsm/unavailable',
      detail: expect.stringContaining('Another request') as string,
    });
  });
  expect(wrappedFor(file, requestOf(second).rootId)).toEqual([]);
});

/** Guarantees that a request is what it was when it was fingerprinted, and that nothing else passes for one. */
test('requests', () => {
  const request = requestOf(second);
  const written = encodeRequest(request);
  const read = parseRequest(written);
  expect(read && [encodeRequest(read), fingerprintOf(read)]).toEqual([written, fingerprintOf(request)]);
  const prints = [
    request,
    { ...request, rootId: requestOf(first).rootId },
    { ...request, tokenLabel: 'another' },
    { ...request, publicKey: requestOf(first).publicKey },
  ].map(fingerprintOf);
  expect(new Set(prints).size).toBe(prints.length);
  const parsed = JSON.parse(written) as Record<string, unknown>;
  for (const wrong of [{ format: 'x' }, { rootId: '1' }, { more: 1 }, { publicKey: '=' }, { tokenLabel: '' }])
    expect(parseRequest(JSON.stringify({ ...parsed, ...wrong }))).toBeUndefined();
  for (const wrong of ['', '{', 'null', `${' '.repeat(5000)}${written}`])
    expect(parseRequest(wrong)).toBeUndefined();
});
