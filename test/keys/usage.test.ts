import { createHmac, createSecretKey } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { sql } from 'kysely';
import { describe, expect, onTestFinished, test } from 'vitest';
import { newId } from '../../src/core/ids.ts';
import { type CipherAlgorithm as Algorithm, cipherSuites as suites } from '../../src/crypto/suites.ts';
import { type CipherVersion, versionIdBytes } from '../../src/keys/key.ts';
import { blockUses, createUsage, type Usage } from '../../src/keys/usage.ts';
import { migrate } from '../../src/store/migrations.ts';
import { createRowAuthenticator } from '../../src/store/rows.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { driver } from '../envelope/support.ts';
import { freshDataDir, removeDirectory } from '../support/data.ts';
import { startTestService } from '../support/service.ts';
import { inside } from './support.ts';

const macKey = createSecretKey(Buffer.alloc(32, 4));
const rows = createRowAuthenticator(async (data) => createHmac('sha256', macKey).update(data).digest());

/** A database of its own with usage rows alone. */
async function place() {
  const directory = mkdtempSync(join(tmpdir(), 'stathera-usage-'));
  const file = join(directory, 'stathera.db');
  const store = openSqliteStore({ file });
  onTestFinished(async () => {
    await store.close();
    rmSync(directory, { recursive: true, force: true });
  });
  await migrate(store.db, store.dialect, 1);
  await sql`pragma foreign_keys = off`.execute(store.db);

  const clock = { time: 1000, now: () => clock.time, monotonic: () => clock.time };
  const due: string[] = [];
  return {
    store,
    clock,
    due,
    /** The counting of one process. */
    usage: (): Usage =>
      createUsage({ store, rows, clock, onRotationDue: (version) => void due.push(version.id) }),
    async version(reserved = 0, algorithm: Algorithm = 'aes-256-gcm'): Promise<CipherVersion> {
      const ids = { id: newId(), keyId: newId(), namespaceId: newId() };
      const { id, namespaceId } = ids;
      const row = { version_id: id, namespace_id: namespaceId, reserved, reserved_bytes: null, revision: 1 };
      const sealed = await rows.seal('key_usage', row);
      await store.db
        .insertInto('key_usage')
        .values({ ...sealed, last_used_at: null })
        .execute();
      return {
        ...{ ...ids, ordinal: 1, state: 'enabled', suite: suites[algorithm] },
        ref: { id, kind: 'aes-256', blob: new Uint8Array(40), under: 'root' },
        idBytes: versionIdBytes(ids),
      };
    },
    async row(version: CipherVersion) {
      const row = await store.db
        .selectFrom('key_usage')
        .selectAll()
        .where('version_id', '=', version.id)
        .executeTakeFirstOrThrow();
      await rows.verify('key_usage', row);
      return row;
    },
  };
}

describe('blocks', () => {
  /** Guarantees the size of a block that an operator reads about: what a crash may forfeit. */
  test('hold 2^20 uses', () => expect(blockUses).toBe(2 ** 20));

  /** Guarantees that no use is made that was not reserved durably before, however many ask at once, in several processes. */
  test('are never overdrawn', async () => {
    const here = await place();
    const sizes = fc.array(fc.integer({ min: 1, max: blockUses / 4 }), { minLength: 1, maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(sizes, fc.integer({ min: 1, max: 3 }), async (uses, processes) => {
        const version = await here.version();
        const usages = Array.from({ length: processes }, () => here.usage());
        let used = 0;
        await Promise.all(
          uses.map(async (count, index) => {
            await usages[index % processes]?.take(version, count);
            used += count;
            expect((await here.row(version)).reserved).toBeGreaterThanOrEqual(used);
          }),
        );
        for (const usage of usages) await usage.close();
        expect((await here.row(version)).reserved).toBeGreaterThanOrEqual(used);
      }),
      { numRuns: 25 },
    );
  });

  /** Guarantees one reservation for many at once, and none while a block lasts. */
  test('are reserved once', async () => {
    const here = await place();
    const [version, usage] = [await here.version(), here.usage()];
    await Promise.all(Array.from({ length: 500 }, () => usage.take(version, 1)));
    expect(await here.row(version)).toMatchObject({ reserved: blockUses, revision: 2 });
    await usage.take(version, blockUses - 500);
    expect(await here.row(version)).toMatchObject({ reserved: blockUses, revision: 2 });
    await usage.take(version, 1);
    expect(await here.row(version)).toMatchObject({ reserved: 2 * blockUses, revision: 3 });
  });

  /** Guarantees that what was not used is given back at close, to the last one. */
  test('are given back', async () => {
    const here = await place();
    const [one, two, usage] = [await here.version(), await here.version(7), here.usage()];
    for (let index = 0; index < 3; index += 1) await usage.take(one, 5);
    await usage.take(two, 100);
    await usage.close();
    expect((await here.row(one)).reserved).toBe(15);
    expect((await here.row(two)).reserved).toBe(107);
  });

  /** Guarantees that a crash forfeits the rest of its block: the next process starts beyond it. */
  test('are forfeited by a crash', async () => {
    const here = await place();
    const version = await here.version();
    await here.usage().take(version, 5);
    const next = here.usage();
    await next.take(version, 3);
    expect((await here.row(version)).reserved).toBe(2 * blockUses);
    await next.close();
    expect((await here.row(version)).reserved).toBe(blockUses + 3);
  });

  /** Guarantees that a row altered outside stops its version, and does not keep the others from being given back. */
  test('of an altered row are refused', async () => {
    const here = await place();
    const versions = [await here.version(), await here.version(), await here.version()];
    const [first, altered, last] = versions;
    const usage = here.usage();
    for (const version of versions) await usage.take(version, 1);
    await here.store.db
      .updateTable('key_usage')
      .set({ reserved: 0 })
      .where('version_id', '=', altered?.id ?? '')
      .execute();
    await expect(here.usage().take(altered as CipherVersion, 1)).rejects.toMatchObject({ code: 'internal' });
    await usage.close();
    for (const version of [first, last]) expect((await here.row(version as CipherVersion)).reserved).toBe(1);
  });
});

describe('limits', () => {
  const { rotateAfterUses, refuseAfterUses } = suites['aes-256-gcm'];

  /** Guarantees that rotation is asked for when a reservation reaches 2^31, not before, and that work goes on. */
  test('rotation at 2^31', async () => {
    const here = await place();
    const before = await here.version(rotateAfterUses - blockUses - 1);
    const at = await here.version(rotateAfterUses - blockUses);
    const usage = here.usage();
    await usage.take(before, 1);
    expect(here.due).toEqual([]);
    await usage.take(at, 1);
    await usage.take(at, 1);
    expect(here.due).toEqual([at.id]);
    await usage.take(before, blockUses);
    expect(here.due).toEqual([at.id, before.id]);
  });

  /** Guarantees that the use number 2^32 is the last: the next is refused, again and again, and nothing more is reserved. */
  test('refusal at 2^32', async () => {
    const here = await place();
    const version = await here.version(refuseAfterUses - blockUses);
    const usage = here.usage();
    await usage.take(version, blockUses);
    for (let index = 0; index < 3; index += 1) {
      await expect(usage.take(version, 1)).rejects.toMatchObject({ code: 'key/usage-exhausted' });
    }
    await expect(here.usage().take(version, 1)).rejects.toMatchObject({ code: 'key/usage-exhausted' });
    expect((await here.row(version)).reserved).toBe(refuseAfterUses);
  });
});

/** Guarantees that nonces of 192 bits force nothing where those of 96 bits end, and the last use counted is exact. */
test.each(['xchacha20-poly1305', 'xaes-256-gcm'] as const)('%s has no limit at 2^32', async (algorithm) => {
  const here = await place();
  const beyond = await here.version(2 ** 32, algorithm);
  const last = await here.version(suites[algorithm].refuseAfterUses - blockUses, algorithm);
  const usage = here.usage();
  await usage.take(beyond, 1);
  expect(here.due).toEqual([]);
  expect((await here.row(beyond)).reserved).toBe(2 ** 32 + blockUses);
  await usage.take(last, blockUses);
  await expect(usage.take(last, 1)).rejects.toMatchObject({ code: 'key/usage-exhausted' });
  await usage.close();
  expect((await here.row(last)).reserved).toBe(2 ** 52);
});

/** Guarantees that last uses are kept in memory, written in bulk, the latest wins, and that the row stays authentic. */
test('last uses', async () => {
  const here = await place();
  const versions = [];
  for (let index = 0; index < 600; index += 1) versions.push(await here.version());
  const usage = here.usage();
  for (const [index, { id }] of versions.entries()) {
    here.clock.time = 5000 + index;
    usage.touch(id);
  }
  expect(usage.lastUsed(versions[3]?.id ?? '')).toBe(5003);
  const [first] = versions as [CipherVersion];
  expect((await here.row(first)).last_used_at).toBeNull();
  await usage.flush();
  for (const [index, version] of versions.entries()) {
    if (index % 100 === 0) expect((await here.row(version)).last_used_at).toBe(5000 + index);
  }
  here.clock.time = 9000;
  usage.touch(first.id);
  await usage.close();
  expect((await here.row(first)).last_used_at).toBe(9000);
});

/** Guarantees that writing many last uses lets everyone else have turns: it is done every minute, beside requests. */
test('last uses are written in short pieces', async () => {
  const here = await place();
  const usage = here.usage();
  for (let index = 0; index < 2_000; index += 1) usage.touch(newId());
  let [turns, over] = [0, false];
  const count = (): void => {
    turns += 1;
    if (!over) setImmediate(count);
  };
  setImmediate(count);
  await usage.flush();
  over = true;
  expect(turns).toBeGreaterThanOrEqual(15);
});

/** Guarantees that a stop waits for last uses that are being written, and that they are told meanwhile. */
test('closing waits for a flush under way', async () => {
  const here = await place();
  const versions = [];
  for (let index = 0; index < 250; index += 1) versions.push(await here.version());
  const usage = here.usage();
  for (const { id } of versions) usage.touch(id);
  const flushing = usage.flush();
  await Promise.resolve();
  const last = versions.at(-1) as CipherVersion;
  expect(usage.lastUsed(last.id)).toBe(1000);
  await usage.close();
  expect((await here.row(last)).last_used_at).toBe(1000);
  await flushing;
});

/** Guarantees the same of the running service: killed, stopped, at the limits, with its own name in the record. */
test('the service counts, rotates and refuses', { timeout: 120_000 }, async () => {
  const dataDir = await freshDataDir();
  onTestFinished(() => removeDirectory(dataDir));
  let service = await startTestService({ dataDir });
  onTestFinished(() => service.kill());
  const calls = driver({ ...service, call: (...parameters) => service.call(...parameters) });
  const { id } = await calls.createKey('counted');
  await calls.createKey('spent');
  const versionOf = async (name: string) => {
    const page = await calls.must('GET', `/v1/keys/${name}/versions?limit=1`);
    const [newest] = page['items'] as { id: string; version: number; usesReserved: number }[];
    return newest ?? { id: '', version: 0, usesReserved: -1 };
  };
  const counted = async () => (await versionOf('counted')).usesReserved;
  const encrypt = (name = 'counted') => service.call('POST', `/v1/keys/${name}/encrypt`, { plaintext: '' });
  for (let index = 0; index < 5; index += 1) await encrypt();
  await service.call('POST', '/v1/keys/counted/data-keys', { count: 7 });
  expect(await counted()).toBe(blockUses);
  await service.kill();

  service = await startTestService({ dataDir });
  expect(await counted()).toBe(blockUses);
  await encrypt();
  expect(await counted()).toBe(2 * blockUses);
  expect(await service.stop()).toBe(0);

  service = await startTestService({ dataDir });
  expect(await counted()).toBe(blockUses + 1);
  const versions = { counted: await versionOf('counted'), spent: await versionOf('spent') };
  await service.stop();
  await inside(dataDir, async ({ store, rows: own }) => {
    for (const [version, reserved] of [
      [versions.counted, 2 ** 31 - 1],
      [versions.spent, 2 ** 32],
    ] as const) {
      const query = store.db.selectFrom('key_usage').selectAll().where('version_id', '=', version.id);
      const { mac: _, last_used_at: __, ...row } = await query.executeTakeFirstOrThrow();
      const next = await own.seal('key_usage', { ...row, reserved, revision: row.revision + 1 });
      await store.db.updateTable('key_usage').set(next).where('version_id', '=', version.id).execute();
    }
  });

  service = await startTestService({ dataDir });
  const sealed = await encrypt();
  expect(sealed.status).toBe(200);
  const rotations = async () => {
    const page = await calls.must('GET', `/v1/audit/records?action=keys.rotate&target=${id}`);
    return page['items'] as object[];
  };
  const due = Date.now() + 10_000;
  while ((await rotations()).length === 0 && Date.now() < due)
    await new Promise((again) => setTimeout(again, 20));
  expect(await rotations()).toMatchObject([
    {
      ...{ outcome: 'allowed', principal: { kind: 'system', name: 'usage-limit' } },
      target: { kind: 'key', id, name: 'counted', version: 2 },
    },
  ]);
  expect((await encrypt()).body).toMatchObject({ keyVersion: 2 });
  expect(await rotations()).toHaveLength(1);
  const refused = await encrypt('spent');
  expect([refused.status, refused.body['code']]).toEqual([409, 'key/usage-exhausted']);
  const opened = await service.call('POST', '/v1/decrypt', { ciphertext: sealed.body['ciphertext'] });
  expect(opened.status).toBe(200);
  // Unless the service, which rotates what is due, is the first.
  const rotated = await service.call('POST', '/v1/keys/spent/rotate', {});
  expect([200, 409], rotated.text).toContain(rotated.status);
  expect((await encrypt('spent')).status).toBe(200);
});
