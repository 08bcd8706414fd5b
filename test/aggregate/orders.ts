import { createHash, randomBytes, randomUUID } from 'node:crypto';
import type { Definition, Policy } from '../../src/aggregate/definition.ts';
import { shapeOf } from '../../src/aggregate/definition.ts';
import { signManifest } from '../../src/aggregate/manifest.ts';
import {
  type ContributionRef,
  type SignedOrder,
  signOrder,
  writeContributions,
} from '../../src/aggregate/queries/order.ts';
import type { Query } from '../../src/aggregate/queries/query.ts';
import type { SealedEpochKey } from '../../src/aggregate/queries/release.ts';
import { sealSecretKey } from '../../src/aggregate/secret-key.ts';
import { headerBytes } from '../../src/crypto/homomorphic/ciphertext.ts';
import { type DatasetShape, layoutOf } from '../../src/crypto/homomorphic/layout.ts';
import { ed25519 } from '../../src/crypto/signatures/ed25519.ts';
import { encryptRows, type TestRow } from './asking.ts';
import { seal, set } from './support.ts';

// What the process that decrypts is given, made by hand: no service runs.

export interface TestContribution extends ContributionRef {
  /** By place. */
  readonly residues: readonly Uint8Array[];
}

export interface TestEpoch {
  readonly id: string;
  readonly manifest: string;
  readonly seed: Uint8Array;
  readonly sealed: Uint8Array;
  readonly contributions: readonly TestContribution[];
}

export interface TestDataset {
  readonly id: string;
  readonly namespaceId: string;
  readonly signer: Uint8Array;
  readonly verificationKey: Uint8Array;
  readonly definition: Definition;
  readonly policy: Policy;
  readonly shape: DatasetShape;
  readonly epochs: readonly TestEpoch[];
}

export const wholePolicy: Policy = {
  statistics: [
    ...(['count', 'sum', 'mean', 'variance', 'standard-deviation', 'weighted-sum'] as const),
    ...(['histogram', 'group-by'] as const),
  ],
  rowsPerContribution: 4,
  contributions: 20,
  contributionsPerContributor: 1,
  minimumCohort: 5,
  budget: { epsilon: 10, delta: 0 },
  neighbouring: 'contributor',
  partitioned: false,
  contributors: ['*'],
  analysts: ['*'],
};

export function digestOf(residues: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(residues.map((each) => createHash('sha256').update(each).digest()));
}

/** A dataset whose epochs have these rows: by epoch, by contributor. */
export async function testDataset(
  definition: Definition,
  policy: Policy,
  rows: readonly (readonly (readonly TestRow[])[])[],
): Promise<TestDataset> {
  const signer = randomBytes(32);
  const verificationKey = ed25519.publicKeyOf(signer) ?? new Uint8Array(0);
  const [id, namespaceId] = [randomUUID(), randomUUID()];
  const shape = shapeOf(definition, policy);
  const epochs: TestEpoch[] = [];
  for (const [index, contributors] of rows.entries()) {
    epochs.push(
      await testEpoch({ id, namespaceId, signer, definition, policy, shape }, index + 1, contributors),
    );
  }
  return { id, namespaceId, signer, verificationKey, definition, policy, shape, epochs };
}

export async function testEpoch(
  dataset: Pick<TestDataset, 'id' | 'namespaceId' | 'signer' | 'definition' | 'policy' | 'shape'>,
  ordinal: number,
  contributors: readonly (readonly TestRow[])[],
): Promise<TestEpoch> {
  const id = randomUUID();
  const keys = (await seal()).generateKeys();
  const seed = randomBytes(32);
  const { id: datasetId, namespaceId } = dataset;
  const place = { namespaceId, datasetId, epochId: id, parameters: set.name };
  const view = { ...dataset, name: 'test', description: '', parameters: set, createdAt: 0 };
  const manifest = signManifest(
    Uint8Array.from(dataset.signer),
    { ...view, verificationKey: new Uint8Array(32), signer: undefined } as never,
    { id, ordinal, openedAt: 0, publicKeyHash: createHash('sha256').update(keys.publicKey).digest() },
  );
  const contributions: TestContribution[] = [];
  for (const rows of contributors) {
    const ciphertexts = await encryptRows(keys.publicKey, dataset.shape, rows);
    const residues = ciphertexts.map((each) => each.subarray(headerBytes));
    contributions.push({ contributor: randomBytes(16), ordinal: 1, digests: digestOf(residues), residues });
  }
  return { id, manifest, seed, sealed: sealSecretKey(seed, place, keys.secretKey), contributions };
}

/** All that one computation is given. */
export interface TestRequest {
  readonly order: SignedOrder;
  readonly keys: SealedEpochKey[];
  readonly contributions: Uint8Array[];
}

export function testRequest(
  dataset: TestDataset,
  query: Query,
  { spentUnits = 0n, epochs = dataset.epochs }: { spentUnits?: bigint; epochs?: readonly TestEpoch[] } = {},
): TestRequest {
  const { ciphertexts } = layoutOf(dataset.shape, set);
  const contributions = epochs.map((epoch) => writeContributions(epoch.contributions, ciphertexts));
  const { id: datasetId, namespaceId, verificationKey } = dataset;
  const order = signOrder(
    dataset.signer,
    { datasetId, namespaceId },
    {
      ...{ queryId: randomUUID(), query, spentUnits },
      epochs: epochs.map(({ id }, index) => ({
        id,
        contributionsDigest: createHash('sha256')
          .update(contributions[index] ?? '')
          .digest(),
      })),
    },
  );
  return {
    order: {
      namespaceId,
      datasetId,
      verificationKey,
      order,
      manifests: epochs.map(({ manifest }) => manifest),
    },
    keys: epochs.map(({ seed, sealed }) => ({ seed: Uint8Array.from(seed), sealed })),
    contributions,
  };
}

/** The residues in the order that they are read: by epoch, by place, by contribution. */
export function* residuesOf(epochs: readonly TestEpoch[], places: readonly number[]): Generator<Uint8Array> {
  for (const { contributions } of epochs)
    for (const place of places)
      for (const { residues } of contributions) yield residues[place] ?? new Uint8Array(0);
}
