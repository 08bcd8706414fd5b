import { expect } from 'vitest';
import { type DatasetShape, type Field, labelsOf, layoutOf } from '../../src/crypto/homomorphic/layout.ts';
import { pack } from '../../src/crypto/homomorphic/packing.ts';
import { freshName, makeToken } from '../access/support.ts';
import type { Answer, TestService } from '../support/service.ts';
import { epochKey, seal, send, set, uploadOf } from './support.ts';

/** One row: its columns' values, and the place of its label in each group. */
export interface TestRow {
  readonly values: readonly number[];
  readonly labels: readonly number[];
}

/** What a contributor's numbers are, by definition: what the service is held to. */
function plainSum(shape: DatasetShape, rows: readonly TestRow[], { measure }: Field, cell: number): bigint {
  const wanted = labelsOf(shape, cell);
  let sum = 0n;
  for (const row of rows) {
    if (!row.labels.every((label, group) => label === wanted[group])) continue;
    if (measure.kind === 'count') sum += 1n;
    else {
      const value = row.values[measure.column] ?? 0;
      if (measure.kind === 'sum') sum += BigInt(value);
      if (measure.kind === 'squares') sum += BigInt(value) ** 2n;
      if (measure.kind === 'bin') {
        const edges = shape.columns[measure.column]?.edges ?? [];
        if (edges.filter((edge) => value >= edge).length === measure.bin) sum += 1n;
      }
    }
  }
  return sum;
}

/** Encrypts a contributor's rows, as an honest one does. */
export async function encryptRows(
  publicKey: Uint8Array,
  shape: DatasetShape,
  rows: readonly TestRow[],
): Promise<Uint8Array[]> {
  const encryptor = (await seal()).encryptor(publicKey);
  const slots = pack(layoutOf(shape, set), (field, cell) => plainSum(shape, rows, field, cell));
  const made = slots.map((each) => encryptor.encrypt(each));
  encryptor.close();
  return made;
}

/** Contributes rows to the epoch that is open. */
async function contributeRows(
  service: TestService,
  dataset: string,
  shape: DatasetShape,
  { token, epoch, rows }: { token: string; epoch: number; rows: readonly TestRow[] },
): Promise<void> {
  const key = await epochKey(service, dataset, token);
  const ciphertexts = await encryptRows(key.publicKey, shape, rows);
  const answer = await send(service, dataset, uploadOf(key, 1, ciphertexts), { token, epoch });
  expect(answer.status, answer.text).toBeLessThan(300);
}

export async function makeContributors(service: TestService, count: number): Promise<string[]> {
  const tokens: string[] = [];
  for (let made = 0; made < count; made += 1)
    tokens.push((await makeToken(service, { scopes: ['datasets:contribute'] })).secret);
  return tokens;
}

/** Asks, and waits for the answer. */
export async function ask(
  service: TestService,
  dataset: string,
  query: object,
  token = service.token,
): Promise<Answer> {
  const asked = await service.call('POST', `/v1/datasets/${dataset}/queries`, query, { token });
  if (asked.status !== 201) return asked;
  return await settled(service, dataset, String(asked.body['id']), token);
}

/** A query that is not pending any more. */
export async function settled(
  service: TestService,
  dataset: string,
  id: string,
  token = service.token,
): Promise<Answer> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const answer = await service.call('GET', `/v1/datasets/${dataset}/queries/${id}`, undefined, { token });
    if (answer.body['state'] !== 'pending') return answer;
    if (Date.now() > deadline) throw new Error(`still pending: ${answer.text}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** What a test's dataset is, and what its contributors send. */
const ages = {
  definition: {
    columns: [{ name: 'age', lower: 0, upper: 100, scale: 0, unit: 'years', edges: [25, 50, 75] }],
    groups: [{ name: 'department', labels: ['sales', 'engineering', 'legal'] }],
  },
  policy: {
    statistics: [
      ...['count', 'sum', 'mean', 'variance', 'standard-deviation', 'weighted-sum', 'histogram', 'group-by'],
    ],
    rowsPerContribution: 10,
    contributions: 50,
    minimumCohort: 5,
    budget: { epsilon: 100 },
    neighbouring: 'row',
    contributors: ['*'],
    analysts: ['*'],
  },
} as const;

const agesShape: DatasetShape = {
  ...ages.definition,
  squares: true,
  rowsPerContribution: 10,
  contributions: 50,
};

/** Rows of the contributor at `index`: ages of its own decade, departments in turn. */
export function ageRows(index: number): TestRow[] {
  return Array.from({ length: 10 }, (_, row) => ({ values: [index * 10 + row], labels: [row % 3] }));
}

/** A dataset with one closed epoch that these contributors sent their rows to. @returns its name */
export async function agesDataset(
  service: TestService,
  contributors: readonly string[],
  policy: object = {},
): Promise<string> {
  const name = freshName('ages');
  const body = { name, definition: ages.definition, policy: { ...ages.policy, ...policy } };
  const made = await service.call('POST', '/v1/datasets', body);
  expect(made.status, made.text).toBe(201);
  await contributeAges(service, name, contributors, 1);
  return name;
}

/** Contributes to the epoch that is open, and closes it. */
export async function contributeAges(
  service: TestService,
  dataset: string,
  contributors: readonly string[],
  epoch: number,
): Promise<void> {
  for (const [index, token] of contributors.entries())
    await contributeRows(service, dataset, agesShape, { token, epoch, rows: ageRows(index) });
  const closed = await service.call('POST', `/v1/datasets/${dataset}/epochs`, {});
  expect(closed.status, closed.text).toBe(201);
}
