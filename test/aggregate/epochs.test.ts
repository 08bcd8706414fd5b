import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createOperations } from '../../src/access/operations.ts';
import { createKeyMaker } from '../../src/aggregate/key-maker.ts';
import { openSecretKey } from '../../src/aggregate/secret-key.ts';
import { createShredding } from '../../src/aggregate/shredding.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { systemClock } from '../../src/core/clock.ts';
import { newId } from '../../src/core/ids.ts';
import { publicKeyBytes, secretKeyBytes } from '../../src/crypto/homomorphic/seal.ts';
import { createRevision } from '../../src/store/revision.ts';
import { recordsOnDisk } from '../access/support.ts';
import { type Inside, inside } from '../keys/support.ts';
import { freshDataDir, removeDirectory } from '../support/data.ts';
import { startTestService } from '../support/service.ts';
import { makeDataset, salaries, seal, set } from './support.ts';

const place = () => ({
  ...{ namespaceId: newId(), datasetId: newId(), epochId: newId(), parameters: set.name },
});
const request = () => ({ parameters: set.name, seed: new Uint8Array(randomBytes(32)), place: place() });

/** Guarantees that a process gives a pair of keys that belong together, the secret one sealed for its place alone. */
test('makes keys in a process of its own', async () => {
  const makeKeys = createKeyMaker();
  const asked = request();
  const { publicKey, sealedSecretKey } = await makeKeys(asked);
  const secretKey = openSecretKey(asked.seed, asked.place, sealedSecretKey)!;
  expect([publicKey.length, secretKey.length]).toEqual([publicKeyBytes(set), secretKeyBytes(set)]);
  const bgv = await seal();
  const slots = new BigInt64Array(set.degree).map((_, at) => BigInt(at) - 2_000n);
  const ciphertext = bgv.encryptor(new Uint8Array(publicKey)).encrypt(slots);
  expect(bgv.decryptor(new Uint8Array(secretKey)).decrypt(ciphertext.subarray(113))).toEqual(slots);
  for (const member of ['namespaceId', 'datasetId', 'epochId', 'parameters'] as const) {
    const other = { ...asked.place, [member]: newId() };
    expect([member, openSecretKey(asked.seed, other, sealedSecretKey)]).toEqual([member, undefined]);
  }
  expect(openSecretKey(new Uint8Array(32), asked.place, sealedSecretKey)).toBeUndefined();
  expect(openSecretKey(asked.seed, asked.place, new Uint8Array(5))).toBeUndefined();
});

/** Guarantees that a process that takes too long, or more memory than it may, is ended, and that so many may run. */
test('a process has its limits', async () => {
  const failed = { code: 'internal', detail: 'The keys could not be made.' };
  const late = createKeyMaker({ timeoutMilliseconds: 1 });
  await expect(late(request())).rejects.toMatchObject(failed);
  const small = createKeyMaker({ execArgv: ['--wasm-max-mem-pages=64'] });
  await expect(small(request())).rejects.toMatchObject(failed);
  const makeKeys = createKeyMaker();
  const [first, second, third] = await Promise.allSettled([request(), request(), request()].map(makeKeys));
  expect([first?.status, second?.status]).toEqual(['fulfilled', 'fulfilled']);
  expect(third).toMatchObject({ status: 'rejected', reason: { code: 'service/overloaded' } });
  expect((await makeKeys(request())).publicKey).toHaveLength(publicKeyBytes(set));
});

let dataDir: string;
beforeAll(async () => {
  dataDir = await freshDataDir();
});
afterAll(() => removeDirectory(dataDir));

/** Shreds what is due at a time. */
async function sweepAt({ hsm, systemKeys, store, rows }: Inside, now: number): Promise<void> {
  const clock = { ...systemClock, now: () => now };
  const revision = createRevision({
    feed: await store.changes.follow(),
    ...{ clock, maxStaleMilliseconds: 1e9 },
  });
  const log = await openAuditLog({
    ...{
      directory: join(dataDir, 'audit'),
      store,
      clock,
      sync: () => revision.sync(),
      log: () => undefined,
    },
    mac: (data) => hsm.mac(systemKeys.audit, data),
  });
  const confirm = async () => undefined;
  const operations = createOperations({ audit: log, store, clock, revision, confirm });
  await createShredding({ store, rows, operations, clock }).sweep();
  await log.close();
  await revision.close();
}

/** Guarantees that an epoch is shredded when its retention is over and not before, with a record, and no other is. */
test('shreds when retention is over', async () => {
  const service = await startTestService({ dataDir });
  const kept = await makeDataset(service);
  const name = await makeDataset(service, { policy: { ...salaries.policy, retentionSeconds: 86_400 } });
  for (const dataset of [kept, name]) await service.call('POST', `/v1/datasets/${dataset}/epochs`, {});
  const { body } = await service.call('GET', `/v1/datasets/${name}/epochs`);
  const [current, closed] = body['items'] as { id: string; retainedUntil?: string; state: string }[];
  expect([current?.retainedUntil, closed?.state]).toEqual([undefined, 'closed']);
  const due = Date.parse(closed!.retainedUntil!);
  expect(Math.abs(due - Date.now() - 86_400_000)).toBeLessThan(600_000);
  await service.stop();
  await inside(dataDir, async (parts) => {
    const states = async () => {
      const found = await parts.store.db.selectFrom('dataset_epochs').select(['id', 'state']).execute();
      return found.map(({ id, state }) => `${id === closed!.id ? 'due' : 'other'} ${state}`).toSorted();
    };
    const before = await states();
    await sweepAt(parts, due - 1);
    expect(await states()).toEqual(before);
    await sweepAt(parts, due);
    expect(await states()).toEqual(['due shredded', 'other closed', 'other open', 'other open']);
    await sweepAt(parts, due + 1);
  });
  const records = await recordsOnDisk(dataDir);
  const shredded = records.filter(({ action }) => action === 'datasets.shred-epoch');
  expect(shredded.map(({ action, outcome, principal }) => [action, outcome, principal.kind])).toEqual([
    ['datasets.shred-epoch', 'allowed', 'system'],
  ]);
});
