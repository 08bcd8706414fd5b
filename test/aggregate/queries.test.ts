import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freshName, makeNamespace, makeToken } from '../access/support.ts';
import { type Answer, startTestService, type TestService } from '../support/service.ts';
import { ageRows, agesDataset, ask, contributeAges, makeContributors, settled } from './asking.ts';

let service: TestService;
let contributors: string[];
/** With one closed epoch. */
let dataset: string;
beforeAll(async () => {
  service = await startTestService();
  contributors = await makeContributors(service, 5);
  dataset = await agesDataset(service, contributors);
});
afterAll(() => service.dispose());

const rows = [0, 1, 2, 3, 4].flatMap(ageRows);
const valuesOf = (department?: number) =>
  rows.flatMap(({ values, labels }) => (department === undefined || labels[0] === department ? values : []));
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const mean = (values: readonly number[]) => sum(values) / values.length;
const variance = (values: readonly number[]) => mean(values.map((value) => value ** 2)) - mean(values) ** 2;

interface Result {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  readonly from: number;
  readonly to: number;
  readonly bins?: readonly { readonly count: number; readonly from: number; readonly to: number }[];
}
const resultsOf = ({ body }: Answer) => body['results'] as readonly Result[];

interface Budget {
  readonly answers: number;
  readonly spentEpsilon: number;
  readonly leftEpsilon: number;
}
async function budgetOf(name: string, token = service.token): Promise<Budget> {
  const answer = await service.call('GET', `/v1/datasets/${name}/budget`, undefined, { token });
  expect(answer.status, answer.text).toBe(200);
  return answer.body as unknown as Budget;
}

const dryRun = (name: string, query: object, token = service.token) =>
  service.call('POST', `/v1/datasets/${name}/queries/dry-run`, query, { token });

/** An analyst's token. */
async function analyst(name = freshName('analyst')): Promise<string> {
  const made = await service.call('POST', '/v1/access/tokens', { name, scopes: ['datasets:query'] });
  expect(made.status, made.text).toBe(201);
  return String(made.body['secret']);
}

const age = { column: 'age', epochs: [1], epsilon: 4 };

describe('answers', () => {
  /** Guarantees each statistic is the rows' within its error bars, which are as wide as the noise that was announced. */
  test.each([
    [{ ...age, statistic: 'sum' }, sum(valuesOf())],
    [{ ...age, statistic: 'mean', where: { department: ['sales'] } }, mean(valuesOf(0))],
    [{ ...age, statistic: 'standard-deviation', epsilon: 5 }, Math.sqrt(variance(valuesOf()))],
    [
      {
        ...{ ...age, statistic: 'weighted-sum' },
        weights: { group: 'department', labels: { legal: 2, sales: -1 } },
      },
      2 * sum(valuesOf(2)) - sum(valuesOf(0)),
    ],
  ])('%j', async (query, truth) => {
    const answer = await ask(service, dataset, query);
    expect(answer.body['state'], answer.text).toBe('answered');
    const [result] = resultsOf(answer);
    // Error bars hold with 95 %: at thrice their width, which no run of this test will see missed.
    const width = (result?.to ?? 0) - (result?.from ?? 0);
    expect(Math.abs((result?.value ?? 0) - truth)).toBeLessThanOrEqual(3 * width + 1);
    expect(result?.value).toBeGreaterThanOrEqual(result?.from ?? 0);
    expect(result?.value).toBeLessThanOrEqual(result?.to ?? 0);
  });

  /** Guarantees groups and bins have answers of their own, in the order of their labels. */
  test('by group', async () => {
    const query = { ...age, statistic: 'histogram', groupBy: ['department'], epsilon: 20 };
    const results = resultsOf(await ask(service, dataset, query));
    expect(results.map(({ labels }) => labels)).toEqual(
      ['sales', 'engineering', 'legal'].map((department) => ({ department })),
    );
    for (const [department, { bins }] of results.entries()) {
      const values = valuesOf(department);
      const counts = [0, 25, 50, 75].map(
        (from) => values.filter((value) => value >= from && value < from + 25).length,
      );
      // At ε = 20 noise other than 0 has a probability of some 10^-9.
      expect(bins?.map(({ count }) => count)).toEqual(counts);
    }
  });

  /** Guarantees the same question, however it is written, is one query with one answer, paid once. */
  test('once', async () => {
    const query = {
      ...age,
      statistic: 'mean',
      groupBy: ['department'],
      where: { department: ['legal', 'sales'] },
    };
    const first = await ask(service, dataset, query);
    const before = await budgetOf(dataset);
    const same = {
      ...{ ...query, epochs: [1, 1] },
      ...{ where: { department: ['sales', 'legal', 'sales'] }, byEpoch: false, groupBy: ['department'] },
    };
    expect((await dryRun(dataset, same)).body).toMatchObject({ cost: 0, budget: before, affordable: true });
    expect((await ask(service, dataset, same)).body).toEqual(first.body);
    expect(await budgetOf(dataset)).toEqual(before);
  });

  /** Guarantees a dry run tells cohort, cost and what will be left, and spends nothing; the answer then costs just that. */
  test('dry run', async () => {
    const query = { ...age, statistic: 'mean', epsilon: 1.25 };
    const before = await budgetOf(dataset);
    const { body } = await dryRun(dataset, query);
    expect(body).toMatchObject({ cohort: 5, cost: 1.25, results: 1, affordable: true });
    expect(body['noise']).toMatchObject([{ number: 'count' }, { number: 'sum' }]);
    expect(await budgetOf(dataset)).toEqual(before);
    await ask(service, dataset, query);
    expect(await budgetOf(dataset)).toEqual(body['budget']);
  });

  /** Guarantees a query whose job was cancelled costs nothing and is computed when it is asked again. */
  test('cancelled', async () => {
    const query = { ...age, statistic: 'sum', epsilon: 1.5 };
    const before = await budgetOf(dataset);
    const asked = await service.call('POST', `/v1/datasets/${dataset}/queries`, query);
    const cancelled = await service.call('POST', `/v1/jobs/${String(asked.body['jobId'])}/cancel`, {});
    const state = (await settled(service, dataset, String(asked.body['id']))).body['state'];
    // It may have been answered a moment before.
    if (cancelled.status === 200) {
      expect(state).toBe('cancelled');
      expect(await budgetOf(dataset)).toEqual(before);
    }
    const again = await ask(service, dataset, query);
    expect(again.body).toMatchObject({ id: asked.body['id'], state: 'answered' });
  });
});

describe('budgets', () => {
  /** Guarantees the last of the budget can be spent and nothing beyond, by one analyst's budget and δ = 0. */
  test('one short', async () => {
    const token = await analyst();
    const query = { statistic: 'count', epochs: [1] };
    expect((await ask(service, dataset, { ...query, epsilon: 60 }, token)).status).toBe(200);
    expect(await budgetOf(dataset, token)).toMatchObject({ spentEpsilon: 60, leftEpsilon: 40, answers: 1 });
    const over = await ask(service, dataset, { ...query, epsilon: 40.000001 }, token);
    expect([over.status, over.body['code']]).toEqual([409, 'dataset/budget-exhausted']);
    expect((await dryRun(dataset, { ...query, epsilon: 40.000001 }, token)).body).toMatchObject({
      affordable: false,
    });
    expect((await ask(service, dataset, { ...query, epsilon: 40 }, token)).body['state']).toBe('answered');
    expect(await budgetOf(dataset, token)).toMatchObject({ spentEpsilon: 100, leftEpsilon: 0, answers: 2 });
  });

  /** Guarantees another analyst is given the same answer to the same question, pays from its own budget, and reads its own queries alone. */
  test('of each analyst', async () => {
    const query = { ...age, statistic: 'sum', epsilon: 2.5 };
    const [one, other] = [await analyst(), await analyst()];
    const first = await ask(service, dataset, query, one);
    const second = await ask(service, dataset, query, other);
    expect(resultsOf(second)).toEqual(resultsOf(first));
    expect(second.body['id']).not.toBe(first.body['id']);
    expect(await budgetOf(dataset, other)).toMatchObject({ spentEpsilon: 2.5, answers: 1 });
    const path = `/v1/datasets/${dataset}/queries/${String(first.body['id'])}`;
    const foreign = await service.call('GET', path, undefined, { token: other });
    expect([foreign.status, foreign.body['code']]).toEqual([404, 'dataset/query-not-found']);
    const list = await service.call('GET', `/v1/datasets/${dataset}/queries`, undefined, { token: other });
    expect((list.body['items'] as { id: string }[]).map(({ id }) => id)).toEqual([second.body['id']]);
  });

  /** Guarantees another token of the same name has the budget of the first: a new token is no new budget. */
  test('of a name', async () => {
    const name = freshName('analyst');
    const token = await analyst(name);
    await ask(service, dataset, { statistic: 'count', epochs: [1], epsilon: 70 }, token);
    const renewed = await analyst(name);
    expect(await budgetOf(dataset, renewed)).toMatchObject({ leftEpsilon: 30, answers: 1 });
    const over = await ask(service, dataset, { statistic: 'count', epochs: [1], epsilon: 31 }, renewed);
    expect(over.body['code']).toBe('dataset/budget-exhausted');
  });

  /** Guarantees with δ above 0 answers add up as ρ does: a hundred of them cost less than their ε together, and stay within it. */
  test('with δ', async () => {
    const name = await agesDataset(service, contributors, { budget: { epsilon: 1, delta: 1e-6 } });
    const query = { statistic: 'count', epochs: [1], epsilon: 0.5 };
    expect((await ask(service, name, query)).body['state']).toBe('answered');
    const { spentEpsilon, leftEpsilon } = await budgetOf(name);
    expect(spentEpsilon).toBeCloseTo(0.5, 6);
    // √ρ adds up in squares: with a quarter of ρ gone, more than half of ε is left.
    expect(leftEpsilon).toBeGreaterThan(0.8);
    const over = await ask(service, name, { ...query, epsilon: leftEpsilon + 0.001 });
    expect(over.body['code']).toBe('dataset/budget-exhausted');
    expect((await ask(service, name, { ...query, epsilon: leftEpsilon })).body['state']).toBe('answered');
    expect((await budgetOf(name)).spentEpsilon).toBeLessThanOrEqual(1 + 1e-9);
  });
});

describe('what is not answered', () => {
  /** Guarantees a cohort one short is refused as what is not allowed is, word for word, dry run and all. */
  test('too few, and not allowed', async () => {
    const small = await agesDataset(service, contributors.slice(0, 4), {
      statistics: ['count', 'histogram', 'sum'],
    });
    const body = { statistic: 'count', epochs: [1], epsilon: 1 };
    const answers = [
      await ask(service, small, body),
      await dryRun(small, body),
      await ask(service, small, { ...body, statistic: 'mean', column: 'age' }),
      await dryRun(small, { ...body, groupBy: ['department'] }),
    ];
    for (const answer of answers) {
      expect(answer.status).toBe(403);
      const { requestId: _, ...rest } = answer.body;
      const { requestId: _r, ...first } = answers[0]?.body ?? {};
      expect(rest).toEqual(first);
    }
    expect(answers[0]?.body['code']).toBe('dataset/query-refused');
    expect(await budgetOf(small)).toMatchObject({ answers: 0, spentEpsilon: 0 });
  });

  /** Guarantees epochs are asked about when they are closed, and not after they are shredded, but answers stay. */
  test('epochs', async () => {
    const name = await agesDataset(service, contributors);
    await contributeAges(service, name, contributors, 2);
    const query = { statistic: 'count', epochs: [2], epsilon: 20 };
    const answered = await ask(service, name, query);
    expect(answered.body['state']).toBe('answered');
    await service.call('POST', `/v1/datasets/${name}/epochs/2/shred`, {});
    expect((await ask(service, name, query)).body).toEqual(answered.body);
    const codes: unknown[] = [];
    for (const epochs of [[3], [1, 3], [4], [1, 2]])
      codes.push((await ask(service, name, { ...query, epochs, epsilon: 1 })).body['code']);
    expect(codes).toEqual([
      ...['dataset/epoch-open', 'dataset/epoch-open', 'dataset/epoch-not-found', 'dataset/epoch-shredded'],
    ]);
  });

  /** Guarantees what overlaps an answer is refused where answers may not overlap: no answer is the difference of two. */
  test('differences', async () => {
    const name = await agesDataset(service, contributors, { partitioned: true });
    await contributeAges(service, name, contributors, 2);
    const query = { statistic: 'sum', column: 'age', epsilon: 1 };
    const code = async (more: object) => (await ask(service, name, { ...query, ...more })).body['code'];
    expect(await code({ epochs: [1], where: { department: ['sales'] } })).toBeUndefined();
    expect(await code({ epochs: [2] })).toBeUndefined();
    // Other statistics of the same part, and parts apart from it, are no difference.
    expect(await code({ epochs: [1], where: { department: ['sales'] }, statistic: 'mean' })).toBeUndefined();
    expect(await code({ epochs: [1], where: { department: ['legal'] } })).toBeUndefined();
    const refused = 'dataset/query-refused';
    expect(await code({ epochs: [1] })).toBe(refused);
    expect(await code({ epochs: [1, 2] })).toBe(refused);
    expect(await code({ epochs: [1], where: { department: ['sales', 'legal'] } })).toBe(refused);
    expect(await code({ epochs: [2], where: { department: ['sales'] } })).toBe(refused);
  });

  /** Guarantees whoever is no analyst of the dataset is told nothing: strangers, contributors, another namespace. */
  test('strangers', async () => {
    const name = await agesDataset(service, contributors, { analysts: ['one-*'] });
    const query = { statistic: 'count', epochs: [1], epsilon: 1 };
    const codeFor = async (token: string) => (await ask(service, name, query, token)).body['code'];
    expect((await ask(service, name, query, await analyst('one-of-them'))).body['state']).toBe('answered');
    expect(await codeFor(await analyst())).toBe('dataset/not-found');
    expect(await codeFor(contributors[0] ?? '')).toBe('access/denied');
    const admin = await makeToken(service, { scopes: ['datasets:admin', 'datasets:query'] });
    expect(await codeFor(admin.secret)).toBe('access/denied');
    const { token } = await makeNamespace(service, ['datasets:query', 'datasets:admin']);
    const foreign = await ask(service, name, query, token.secret);
    const absent = await ask(service, 'no-such-dataset', query, token.secret);
    expect([foreign.status, foreign.body['code'], foreign.body['detail']]).toEqual([
      ...[absent.status, absent.body['code'], absent.body['detail']],
    ]);
  });
});

describe('bad input', () => {
  const good = { ...age, statistic: 'sum' };

  /** Guarantees a query that does not fit the dataset is refused by the member that does not. */
  test.each([
    [{ ...good, column: undefined }, '/column'],
    [{ ...good, statistic: 'count' }, '/column'],
    [{ ...good, column: 'height' }, '/column'],
    [{ ...good, where: { city: ['x'] } }, '/where'],
    [{ ...good, where: { department: ['x'] } }, '/where'],
    [{ ...good, groupBy: ['department', 'city'] }, '/groupBy/1'],
    [{ ...good, weights: { group: 'department', labels: { sales: 1 } } }, '/weights'],
    [{ ...good, statistic: 'weighted-sum' }, '/weights'],
    [{ ...good, statistic: 'weighted-sum', weights: { group: 'city', labels: {} } }, '/weights/group'],
    [
      { ...good, statistic: 'weighted-sum', weights: { group: 'department', labels: { x: 1 } } },
      '/weights/labels',
    ],
    [{ ...good, epsilon: 1e-13 }, '/epsilon'],
    [{ ...good, epsilon: 0 }, '/epsilon'],
    [{ ...good, epsilon: 101 }, '/epsilon'],
    [{ ...good, epochs: [] }, '/epochs'],
    [{ ...good, epochs: Array.from({ length: 65 }, (_, at) => at + 1) }, '/epochs'],
    [{ ...good, epochs: [0] }, '/epochs/0'],
    [{ ...good, statistic: 'median' }, '/statistic'],
    [{ ...good, noise: 0 }, ''],
  ])('%j', async (query, pointer) => {
    for (const answer of [await ask(service, dataset, query), await dryRun(dataset, query)]) {
      expect([answer.status, answer.body['code']], answer.text).toEqual([400, 'request/invalid']);
      const errors = answer.body['errors'] as { pointer: string }[];
      expect(errors.map((error) => error.pointer)).toContain(pointer);
    }
  });

  /** Guarantees rows that were altered in the database are not answered about, at no cost, and without a word of why. */
  test('altered rows', async () => {
    const name = await agesDataset(service, contributors);
    const { body } = await service.call('GET', `/v1/datasets/${name}/epochs`);
    const epoch = (body['items'] as { id: string; epoch: number }[]).find((each) => each.epoch === 1)?.id;
    alter(
      'update contribution_ciphertexts set residues = zeroblob(131072) where rowid = (select min(rowid) from contribution_ciphertexts where epoch_id = ?)',
      epoch,
    );
    const answer = await ask(service, name, { statistic: 'count', epochs: [1], epsilon: 1 });
    expect(answer.body['state']).toBe('failed');
    expect(answer.text).not.toMatch(/noise|decrypt|digest|altered/i);
    expect(await budgetOf(name)).toMatchObject({ answers: 0, spentEpsilon: 0 });
    const job = await service.call('GET', `/v1/jobs/${String(answer.body['jobId'])}`);
    expect(job.body).toMatchObject({ state: 'failed', code: 'internal' });
    expect((await service.call('GET', '/metrics')).text).not.toMatch(/noise|epsilon/i);
  });

  /** Guarantees a budget that was edited in the database is not believed. */
  test('an altered budget', async () => {
    const name = await agesDataset(service, contributors);
    await ask(service, name, { statistic: 'count', epochs: [1], epsilon: 90 });
    const { body } = await service.call('GET', `/v1/datasets/${name}`);
    alter("update dataset_budgets set units = 0 where dataset_id = ? and analyst <> ''", String(body['id']));
    const answer = await ask(service, name, { statistic: 'count', epochs: [1], epsilon: 80 });
    expect([answer.status, answer.body['code']]).toEqual([500, 'internal']);
  });
});

function alter(statement: string, ...values: readonly unknown[]): void {
  const database = new Database(join(service.dataDir, 'stathera.db'));
  try {
    expect(database.prepare(statement).run(...values).changes).toBe(1);
  } finally {
    database.close();
  }
}
