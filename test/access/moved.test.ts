import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { type Authenticator, createAuthenticator } from '../../src/access/authenticate.ts';
import type { Caller } from '../../src/access/caller.ts';
import { createOperations, type Operations } from '../../src/access/operations.ts';
import { makeTokenSecret } from '../../src/access/token-secret.ts';
import type { AuditLog } from '../../src/audit/audit.ts';
import { systemClock } from '../../src/core/clock.ts';
import { newId } from '../../src/core/ids.ts';
import { createRevision, type Revision } from '../../src/store/revision.ts';
import { createRowAuthenticator } from '../../src/store/rows.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import type { Store } from '../../src/store/store.ts';
import { allRecords, mac, namespaceId, place } from '../audit/support.ts';

// Two processes in one: `elsewhere` is another's connection to the same database. What it commits reaches the
// first only through the changes.
const rows = createRowAuthenticator(mac);
const keyId = newId();
let store: Store;
let elsewhere: Store;
let audit: AuditLog;
let revision: Revision;
let authenticator: Authenticator;
let operations: Operations;
let token: { id: string; text: string };

beforeEach(async () => {
  const there = await place();
  ({ store } = there);
  elsewhere = openSqliteStore({ file: join(there.root, 'stathera.db') });
  // Never by itself: only what asks for the changes learns of them.
  const feed = { ...(await store.changes.follow()), pollMilliseconds: 1_000_000 };
  revision = createRevision({ feed, clock: systemClock, maxStaleMilliseconds: 1_000_000 });
  audit = await there.open({ sync: () => revision.sync() });
  authenticator = createAuthenticator({ store, rows, clock: systemClock });
  revision.onTouched(authenticator.forget);
  const { confirm } = authenticator;
  operations = createOperations({ audit, store, clock: systemClock, revision, confirm });
  token = await addToken();
});
afterEach(async () => {
  await revision.close();
  await elsewhere.close();
});

async function addToken(): Promise<{ id: string; text: string }> {
  const id = newId();
  const { text, secretHash } = makeTokenSecret(id);
  const base = {
    id: namespaceId,
    namespace_id: namespaceId,
    name: 'n',
    region: 'local',
    created_at: 1,
    revision: 1,
  };
  await store.db
    .insertInto('namespaces')
    .values(await rows.seal('namespaces', base))
    .execute();
  const row = await rows.seal('tokens', {
    ...{ id, namespace_id: namespaceId, name: 'app', secret_hash: secretHash, key_patterns: null },
    ...{
      scopes: '["keys:encrypt","keys:admin"]',
      created_at: 1,
      expires_at: null,
      revoked_at: null,
      revision: 1,
    },
  });
  await store.db.insertInto('tokens').values(row).execute();
  return { id, text };
}

async function caller(): Promise<Caller> {
  const principal = await authenticator.authenticate(`Bearer ${token.text}`);
  return { principal, requestId: newId(), source: undefined, idempotency: undefined };
}

/** What another process commits. */
async function touchElsewhere(...subjects: string[]): Promise<void> {
  await elsewhere.transaction((tx) => elsewhere.changes.record(tx, { namespaceId, subjects, at: 1 }));
}

async function revokeElsewhere(): Promise<void> {
  await elsewhere.transaction(async (tx) => {
    const row = await tx
      .selectFrom('tokens')
      .selectAll()
      .where('id', '=', token.id)
      .executeTakeFirstOrThrow();
    const { mac: _, ...current } = row;
    const next = await rows.seal('tokens', { ...current, revoked_at: 5, revision: 2 });
    await tx.updateTable('tokens').set(next).where('id', '=', token.id).execute();
    await elsewhere.changes.record(tx, { namespaceId, subjects: [token.id], at: 1 });
  });
}

/** Guarantees that a token revoked by another process while an operation runs is not answered, and recorded as refused. */
test('a token revoked meanwhile, elsewhere', async () => {
  const by = await caller();
  const answer = operations.run(by, 'envelope.encrypt', { kind: 'key' }, async () => {
    await revokeElsewhere();
    return 'an answer';
  });
  await expect(answer).rejects.toMatchObject({ code: 'access/unauthenticated' });
  const records = await allRecords(audit);
  expect(records).toMatchObject([{ outcome: 'refused', code: 'access/unauthenticated' }]);
});

/** Guarantees that a revoked token is refused for a request whose body came after the revocation was known. */
test('a token revoked between credential and operation', async () => {
  const by = await caller();
  await revokeElsewhere();
  await revision.sync();
  let worked = false;
  const answer = operations.run(by, 'envelope.encrypt', { kind: 'key' }, async () => {
    worked = true;
  });
  await expect(answer).rejects.toMatchObject({ code: 'access/unauthenticated' });
  expect(worked).toBe(false);
});

/** Guarantees that an operation whose key another process changed meanwhile decides anew, and is recorded once. */
test('a key changed meanwhile, elsewhere', async () => {
  let runs = 0;
  const answer = await operations.run(
    await caller(),
    'envelope.encrypt',
    { kind: 'key' },
    async (operation) => {
      runs += 1;
      operation.target({ kind: 'key', id: keyId, version: runs });
      if (runs === 1) await touchElsewhere(keyId);
      return runs;
    },
  );
  expect(answer).toBe(2);
  expect(await allRecords(audit)).toMatchObject([{ outcome: 'allowed', target: { id: keyId, version: 2 } }]);
});

/** Guarantees that every key an operation named counts, also in a batch, and changes of others do not. */
test('decides anew for its own keys only', async () => {
  const other = newId();
  let runs = 0;
  const run = async (touched: string): Promise<number> => {
    runs = 0;
    return await operations.run(await caller(), 'envelope.batch', undefined, async (operation) => {
      runs += 1;
      const item = { action: 'envelope.encrypt', outcome: 'allowed' as const };
      operation.items([item, { ...item, target: { kind: 'key', id: keyId } }]);
      if (runs === 1) await touchElsewhere(touched);
      return runs;
    });
  };
  expect(await run(keyId)).toBe(2);
  expect(await run(other)).toBe(1);
});

/** Guarantees that an operation which never finds rest is refused in the end, instead of trying for ever. */
test('gives up when it is changed all the time', async () => {
  let runs = 0;
  const answer = operations.run(await caller(), 'envelope.encrypt', { kind: 'key' }, async (operation) => {
    runs += 1;
    operation.target({ kind: 'key', id: keyId });
    await touchElsewhere(keyId);
  });
  await expect(answer).rejects.toMatchObject({ code: 'service/overloaded' });
  expect(runs).toBe(8);
  expect(await allRecords(audit)).toMatchObject([{ outcome: 'failed', code: 'service/overloaded' }]);
});

/** Guarantees that a change made here is told to the others in its own transaction, with the record's target. */
test('a change is told to others', async () => {
  const feed = await elsewhere.changes.follow();
  onTestFinished(() => feed.close());
  const made = newId();
  await operations.run(await caller(), 'keys.create', { kind: 'key' }, async (operation) => {
    operation.target({ kind: 'key', id: keyId });
    await operation.change(async () => undefined, { touches: [made] });
  });
  expect((await feed.read()).changes).toMatchObject([{ subjects: [keyId, made] }]);
  const failed = operations.run(await caller(), 'keys.create', { kind: 'key' }, async (operation) => {
    operation.target({ kind: 'key', id: keyId });
    await operation.change(async () => {
      throw new Error('undone');
    });
  });
  await expect(failed).rejects.toThrow('undone');
  expect((await feed.read()).changes).toEqual([]);
});

/** Guarantees that while the changes cannot be read nothing is answered on the strength of what is in memory. */
test('refuses what cannot be checked', async () => {
  await revision.close();
  const unchecked = operations.run(await caller(), 'envelope.encrypt', { kind: 'key' }, async () =>
    randomBytes(1),
  );
  await expect(unchecked).rejects.toMatchObject({ code: 'store/unavailable' });
  expect(await allRecords(audit)).toMatchObject([{ outcome: 'failed', code: 'store/unavailable' }]);
});
