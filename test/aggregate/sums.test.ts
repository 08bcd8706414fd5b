import fc from 'fast-check';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { Principal } from '../../src/access/caller.ts';
import { scopes } from '../../src/access/scopes.ts';
import type { Dataset } from '../../src/aggregate/dataset.ts';
import { createEpochs } from '../../src/aggregate/epochs.ts';
import { createDatasetLookup } from '../../src/aggregate/lookup.ts';
import { contributionsOf, residuesOf } from '../../src/aggregate/queries/rows-stream.ts';
import { openSecretKey } from '../../src/aggregate/secret-key.ts';
import { systemClock } from '../../src/core/clock.ts';
import { createResidueAdder } from '../../src/crypto/homomorphic/kernel.ts';
import { type Field, layoutOf } from '../../src/crypto/homomorphic/layout.ts';
import { pack, unpack } from '../../src/crypto/homomorphic/packing.ts';
import { makeToken } from '../access/support.ts';
import { type Inside, inside } from '../keys/support.ts';
import { freshDataDir, removeDirectory } from '../support/data.ts';
import { startTestService } from '../support/service.ts';
import { epochKey, makeDataset, salaries, seal, send, set, uploadOf } from './support.ts';

const contributors = 20;
// 513 cells and ten numbers in each: two ciphertexts, and sums that cross from one to the other.
const definition = {
  columns: [
    { name: 'amount', lower: -Number.MAX_SAFE_INTEGER, upper: 50_000_000, edges: [0, 1_000] },
    { name: 'small', lower: -3, upper: 3 },
  ],
  groups: [{ name: 'place', labels: Array.from({ length: 513 }, (_, at) => `p${at}`) }],
};
const policy = {
  ...salaries.policy,
  statistics: ['count', 'sum', 'mean', 'variance', 'standard-deviation', 'histogram', 'group-by'],
  ...{ rowsPerContribution: 2 ** 31, contributions: contributors, minimumCohort: 20 },
};
const layout = layoutOf({ ...definition, squares: true, ...policy }, set);

let dataDir: string;
let name: string;
/** What the contributors contributed together, by field and cell. */
const expected = new Map<Field, bigint[]>();

/** A number of a field: at a bound, or somewhere between. */
function numberOf({ bound, measure }: Field, random: fc.Arbitrary<bigint>, seed: number): bigint {
  const [picked = 0n] = fc.sample(random, { numRuns: 1, seed });
  const signed = measure.kind === 'sum';
  const kind = seed % 4;
  if (kind === 0) return bound;
  if (kind === 1) return signed ? -bound : 0n;
  const between = picked % (bound + 1n);
  return signed && kind === 2 ? -between : between;
}

beforeAll(async () => {
  dataDir = await freshDataDir();
  const service = await startTestService({ dataDir });
  name = await makeDataset(service, { definition, policy });
  const random = fc.bigInt(0n, 2n ** 150n);
  const bgv = await seal();
  let seed: number = inject('seed');
  for (let at = 0; at < contributors; at += 1) {
    const { secret: token } = await makeToken(service, { scopes: ['datasets:contribute'] });
    const key = await epochKey(service, name, token);
    const encryptor = bgv.encryptor(key.publicKey);
    // A few numbers of every contributor's are drawn; the rest repeat them.
    const drawn = new Map(
      layout.fields.map((field) => [field, [0, 1, 2].map(() => numberOf(field, random, (seed += 1)))]),
    );
    const slots = pack(layout, (field, cell) => {
      const value = drawn.get(field)![cell % 3]!;
      const sums = expected.get(field) ?? Array.from({ length: layout.cells }, () => 0n);
      sums[cell] = sums[cell]! + value;
      expected.set(field, sums);
      return value;
    });
    const upload = uploadOf(
      key,
      1,
      slots.map((one) => encryptor.encrypt(one)),
    );
    encryptor.close();
    const answer = await send(service, name, upload, { token });
    if (answer.status !== 201) throw new Error(answer.text);
  }
  await service.dispose();
});
afterAll(() => removeDirectory(dataDir));

const principal = (namespaceId: string): Principal => ({
  ...{
    kind: 'system',
    id: 'test',
    name: 'test',
    namespaceId,
    scopes: new Set(scopes),
    keyPatterns: undefined,
  },
});

/** The dataset, its epoch's contributions, and a way to open their sums, as a process that decrypts has them. */
async function opened(parts: Inside) {
  const { store, rows } = parts;
  const { namespace_id: namespaceId } = await store.db
    .selectFrom('datasets')
    .select('namespace_id')
    .executeTakeFirstOrThrow();
  const lookup = createDatasetLookup({ store, rows });
  const { dataset } = await lookup.find(principal(namespaceId), name);
  const epoch = await lookup.epoch(dataset, 1);
  const makeKeys = () => Promise.reject(new Error('none are made here'));
  const epochs = createEpochs({ ...parts, clock: systemClock, makeKeys });
  const contributions = await contributionsOf(parts, epoch, new AbortController().signal);
  return { dataset, epoch, epochs, contributions };
}

async function secretKey({
  dataset,
  epoch,
  epochs,
}: Awaited<ReturnType<typeof opened>>): Promise<Uint8Array> {
  const { seed, place, sealed } = await epochs.sealedSecretKey(dataset, epoch);
  const other = { ...place, epochId: dataset.id };
  expect(openSecretKey(seed, other, sealed)).toBeUndefined();
  expect(openSecretKey(seed, place, sealed.subarray(1))).toBeUndefined();
  return openSecretKey(seed, place, sealed)!;
}

/**
 * Guarantees that the numbers of every field and cell come out of the stored contributions as they were put in, exactly,
 * with contributors at the bounds, negative sums, and numbers of several limbs over several ciphertexts; and that the
 * secret key opens for its epoch alone.
 */
test('stored contributions add up exactly', async () => {
  await inside(dataDir, async (parts) => {
    const found = await opened(parts);
    const { dataset, epoch, contributions } = found;
    expect((dataset satisfies Dataset).layout).toEqual(layout);
    expect(layout.ciphertexts).toBe(2);
    expect(Math.max(...layout.fields.map(({ limbs }) => limbs))).toBeGreaterThan(2);
    expect(contributions.map(({ id }) => id)).toEqual(contributions.map(({ id }) => id).toSorted());
    expect(contributions).toHaveLength(contributors);
    const decryptor = (await seal()).decryptor(await secretKey(found));
    const adder = createResidueAdder(set);
    const totals = new Map<number, BigInt64Array>();
    for (let place = 0; place < layout.ciphertexts; place += 1) {
      adder.reset();
      let added = 0;
      for await (const residues of residuesOf(parts.store, epoch, place, contributions)) {
        adder.staging.set(residues);
        adder.addStaged(1);
        added += 1;
      }
      expect(added).toBe(contributors);
      totals.set(place, decryptor.decrypt(adder.total()));
    }
    for (const field of layout.fields) {
      const sums = Array.from({ length: layout.cells }, (_, cell) => unpack(layout, field, cell, totals));
      expect([field.measure, sums]).toEqual([field.measure, expected.get(field)]);
    }
  });
});

/** Guarantees that no sum is begun where a contribution's row was changed, or its ciphertext is not there. */
test('reads nothing that was not contributed', async () => {
  await inside(dataDir, async (parts) => {
    const { epoch, contributions } = await opened(parts);
    const { db } = parts.store;
    const [first, second] = contributions;
    const read = () => Array.fromAsync(residuesOf(parts.store, epoch, 1, contributions));
    const changed = (change: { contributor_id: string; ordinal: number }) =>
      db.updateTable('contributions').set(change).where('id', '=', first!.id).execute();
    await changed({ contributor_id: second!.contributor_id, ordinal: 2 });
    await expect(opened(parts)).rejects.toMatchObject({ code: 'internal' });
    await changed({ contributor_id: first!.contributor_id, ordinal: first!.ordinal });
    const of = db.selectFrom('contribution_ciphertexts').selectAll().where('place', '=', 1);
    const row = await of.where('contribution_id', '=', first!.id).executeTakeFirstOrThrow();
    const before = await read();
    await db
      .deleteFrom('contribution_ciphertexts')
      .where('place', '=', 1)
      .where('contribution_id', '=', first!.id)
      .execute();
    await expect(read()).rejects.toMatchObject({ code: 'internal' });
    await db.insertInto('contribution_ciphertexts').values(row).execute();
    expect(await read()).toEqual(before);
  });
});

/** Guarantees that an epoch that was shredded has no secret key, and none of what was contributed, in the database. */
test('a shredded epoch opens no more', async () => {
  const service = await startTestService({ dataDir });
  await service.call('POST', `/v1/datasets/${name}/epochs`, {});
  const { body } = await service.call('POST', `/v1/datasets/${name}/epochs/1/shred`, {});
  expect(body).toMatchObject({ state: 'shredded', contributions: contributors });
  const again = await service.call('POST', `/v1/datasets/${name}/epochs/1/shred`, {});
  expect([again.status, again.body]).toEqual([200, body]);
  await service.stop();
  await inside(dataDir, async (parts) => {
    const { dataset, epoch, epochs, contributions } = await opened(parts);
    expect(contributions).toHaveLength(contributors);
    await expect(epochs.sealedSecretKey(dataset, epoch)).rejects.toMatchObject({
      code: 'dataset/epoch-shredded',
    });
    const count = (table: 'contribution_ciphertexts') =>
      parts.store.db.selectFrom(table).selectAll().execute();
    expect(await count('contribution_ciphertexts')).toEqual([]);
    const keys = await parts.store.db
      .selectFrom('dataset_epoch_keys')
      .select('secret_key')
      .where('epoch_id', '=', epoch.id)
      .execute();
    expect(keys).toEqual([{ secret_key: null }]);
    expect(epoch.sealing_blob).toBeNull();
  });
});
