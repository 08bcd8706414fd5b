import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Definition } from '../../src/aggregate/definition.ts';
import { noiseOf, noiseSeedOf } from '../../src/aggregate/queries/noise.ts';
import { openOrder } from '../../src/aggregate/queries/order.ts';
import { planQuery } from '../../src/aggregate/queries/plan.ts';
import { canonicalQuery, type Query, type QueryRequest } from '../../src/aggregate/queries/query.ts';
import { NotReleased, placesOf, release } from '../../src/aggregate/queries/release.ts';
import { labelsOf } from '../../src/crypto/homomorphic/layout.ts';
import type { TestRow } from './asking.ts';
import {
  digestOf,
  residuesOf,
  type TestDataset,
  type TestEpoch,
  type TestRequest,
  testDataset,
  testEpoch,
  testRequest,
  wholePolicy,
} from './orders.ts';
import { seal } from './support.ts';

const definition: Definition = {
  columns: [
    { name: 'a', lower: -7, upper: 12, scale: 0, unit: '', edges: [-3, 0, 5] },
    { name: 'b', lower: -1_000_000_000, upper: 2_000_000_000, scale: 2, unit: '', edges: [0] },
  ],
  groups: [
    { name: 'g', labels: ['x', 'y', 'z'] },
    { name: 'h', labels: ['p', 'q'] },
  ],
};

const row: fc.Arbitrary<TestRow> = fc
  .record({
    a: fc.oneof(fc.constantFrom(-7, 12, -3, 0, 5), fc.integer({ min: -7, max: 12 })),
    b: fc.oneof(
      fc.constantFrom(-1_000_000_000, 2_000_000_000),
      fc.integer({ min: -1_000_000_000, max: 2_000_000_000 }),
    ),
    g: fc.nat(2),
    h: fc.nat(1),
  })
  .map(({ a, b, g, h }) => ({ values: [a, b], labels: [g, h] }));

/** Two epochs of seven and five contributors, each at its bounds or anywhere between. */
function sampleRows(): TestRow[][][] {
  const contributor = fc.array(row, { maxLength: 4 });
  return [7, 5].map((contributors) => fc.sample(contributor, contributors));
}

let dataset: TestDataset;
let rows: TestRow[][][];
beforeAll(async () => {
  rows = sampleRows();
  dataset = await testDataset(definition, wholePolicy, rows);
});

const asDataset = () => ({ definition, policy: wholePolicy }) as never;
const queryOf = (request: QueryRequest): Query => canonicalQuery(asDataset(), request);

async function run(request: TestRequest, residues: Iterable<Uint8Array>): Promise<bigint[][]> {
  const order = openOrder(request.order);
  if (order === undefined) throw new NotReleased();
  const source = residues[Symbol.iterator]();
  return await release(order, request.keys, request.contributions, {
    bgv: await seal(),
    async next() {
      const { value, done } = source.next();
      if (done) throw new NotReleased();
      return value;
    },
  });
}

function epochsIn(query: Query): TestEpoch[] {
  return query.epochs.map((ordinal) => dataset.epochs[ordinal - 1] as TestEpoch);
}

/** What comes out, without the noise that the seeds gave it. */
async function exactly(query: Query): Promise<bigint[][]> {
  const epochs = epochsIn(query);
  const request = testRequest(dataset, query, { epochs });
  const order = openOrder(request.order);
  if (order === undefined) throw new Error('not opened');
  const plan = planQuery(order.dataset, query);
  const noised = await run(request, residuesOf(epochs, placesOf(order.dataset, plan)));
  const noise = noiseOf(
    plan,
    noiseSeedOf(
      order,
      epochs.map(({ seed }) => seed),
    ),
  );
  return noised.map((numbers, output) =>
    numbers.map((number, part) => number - (noise[output]?.[part] ?? 0n)),
  );
}

/** The same from the rows themselves. */
function plainly(query: Query, measures: readonly ((row: TestRow) => bigint)[]): bigint[][] {
  const plan = planQuery({ definition, policy: wholePolicy, layout: layoutOfTest() }, query);
  return plan.outputs.map((output) =>
    measures.map((measure) => {
      let sum = 0n;
      for (const ordinal of query.epochs) {
        if (output.epoch !== undefined && output.epoch !== ordinal) continue;
        for (const each of rows[ordinal - 1]?.flat() ?? []) {
          const asked = query.where.every(
            (labels, group) => labels?.includes(each.labels[group] ?? -1) ?? true,
          );
          const own = query.groupBy.every((group, at) => each.labels[group] === output.labels[at]);
          if (asked && own) sum += measure(each);
        }
      }
      return sum;
    }),
  );
}

function layoutOfTest() {
  const order = openOrder(
    testRequest(dataset, queryOf({ statistic: 'count', epochs: [1, 2], epsilon: 1 })).order,
  );
  if (order === undefined) throw new Error('not opened');
  return order.dataset.layout;
}

const valueOf = (column: number) => (each: TestRow) => BigInt(each.values[column] ?? 0);
const one = () => 1n;

describe('sums are exact', () => {
  const filter: Pick<QueryRequest, 'epochs' | 'where' | 'groupBy' | 'byEpoch'>[] = [
    { epochs: [1] },
    { epochs: [2, 1], groupBy: ['h', 'g'] },
    { epochs: [1, 2], byEpoch: true, groupBy: ['g'], where: { h: ['q'], g: ['z', 'x'] } },
  ];

  /** Guarantees every statistic's numbers, less their noise, are those of the rows, at the bounds and between them. */
  test.each(filter)('over $epochs by $groupBy', async (where) => {
    for (const [column, { lower, upper, edges = [] }] of definition.columns.entries()) {
      const base = { ...where, column: definition.columns[column]?.name, epsilon: 1 };
      const centre = BigInt(Math.floor((lower + upper) / 2));
      const value = valueOf(column);
      const deviation = (each: TestRow) => value(each) - centre;
      const cases: [QueryRequest, ((each: TestRow) => bigint)[]][] = [
        [{ ...base, statistic: 'sum' }, [value]],
        [{ ...base, statistic: 'mean' }, [one, deviation]],
        [{ ...base, statistic: 'variance' }, [one, deviation, (each) => deviation(each) ** 2n]],
        [
          { ...base, statistic: 'weighted-sum', weights: { group: 'g', labels: { x: -3, z: 1_000_000 } } },
          [(each) => value(each) * [-3n, 0n, 1_000_000n][each.labels[0] ?? 0]!],
        ],
        [
          { ...base, statistic: 'histogram' },
          [lower, ...edges].map((from, bin) => (each: TestRow) => {
            const own = each.values[column] ?? 0;
            return own >= from && own < (edges[bin] ?? upper + 1) ? 1n : 0n;
          }),
        ],
      ];
      for (const [request, measures] of cases) {
        const query = queryOf(request);
        expect(await exactly(query), request.statistic).toEqual(plainly(query, measures));
      }
    }
    const { column: _, ...count } = { ...where, column: undefined, epsilon: 1, statistic: 'count' as const };
    expect(await exactly(queryOf(count))).toEqual(plainly(queryOf(count), [one]));
  });
});

describe('noise', () => {
  const query = () => queryOf({ statistic: 'sum', column: 'a', epochs: [1], groupBy: ['g'], epsilon: 0.5 });
  const residues = () => residuesOf([dataset.epochs[0] as TestEpoch], [0]);

  /** Guarantees the same question of the same rows has the same noise, whoever asks and whatever was spent before. */
  test('is drawn once', async () => {
    const epochs = [dataset.epochs[0] as TestEpoch];
    const first = await run(testRequest(dataset, query(), { epochs }), residues());
    expect(await run(testRequest(dataset, query(), { epochs, spentUnits: 12n }), residues())).toEqual(first);
  });

  /** Guarantees another question, or the same of other rows, has other noise. */
  test('is another for another question and for other rows', async () => {
    const epochs = [dataset.epochs[0] as TestEpoch];
    const seeds = epochs.map(({ seed }) => seed);
    const seedOf = (request: TestRequest) => {
      const order = openOrder(request.order);
      if (order === undefined) throw new Error('not opened');
      return Buffer.from(noiseSeedOf(order, seeds)).toString('hex');
    };
    const fewer = { ...epochs[0], contributions: epochs[0]?.contributions.slice(1) } as TestEpoch;
    const all = [
      testRequest(dataset, query(), { epochs }),
      testRequest(dataset, { ...query(), epsilon: 0.500_000_1 }, { epochs }),
      testRequest(dataset, { ...query(), groupBy: [] }, { epochs }),
      testRequest(dataset, query(), { epochs: [fewer] }),
    ].map(seedOf);
    expect(new Set(all).size).toBe(all.length);
    expect(
      new Set(
        [...seeds, randomBytes(32)].map((seed) => {
          const order = openOrder(testRequest(dataset, query(), { epochs }).order);
          return order && Buffer.from(noiseSeedOf(order, [seed])).toString('hex');
        }),
      ).size,
    ).toBe(2);
  });
});

describe('what is not to be answered', () => {
  const count = (epochs: readonly number[] = [1]) => queryOf({ statistic: 'count', epochs, epsilon: 1 });
  const first = () => dataset.epochs[0] as TestEpoch;
  const units = () => planQuery({ definition, policy: wholePolicy, layout: layoutOfTest() }, count()).units;

  /** `refused` only where the seeds are wiped, too. */
  async function outcomeOf(
    request: TestRequest,
    epochs: readonly TestEpoch[] = [first()],
  ): Promise<'refused' | 'answered' | 'kept'> {
    const refused = await run(request, residuesOf(epochs, [0])).then(
      () => false,
      (error: unknown) => {
        if (error instanceof NotReleased) return true;
        throw error;
      },
    );
    if (!refused) return 'answered';
    return request.keys.every(({ seed }) => seed.every((byte) => byte === 0)) ? 'refused' : 'kept';
  }
  const withContributions = (change: (all: TestEpoch['contributions']) => TestEpoch['contributions']) => {
    const epoch: TestEpoch = { ...first(), contributions: change(first().contributions) };
    return [testRequest(dataset, count(), { epochs: [epoch] }), [epoch]] as const;
  };

  /** Guarantees an order that another key signed, that names another dataset, or that was changed is none. */
  test('unsigned', async () => {
    const good = testRequest(dataset, count(), { epochs: [first()] });
    const [head, , signature] = good.order.order.split('.');
    const other = testRequest(dataset, count([2]), { epochs: [dataset.epochs[1] as TestEpoch] });
    const payload = other.order.order.split('.')[1];
    for (const order of [
      { ...good.order, verificationKey: randomBytes(32) },
      { ...good.order, datasetId: first().id },
      { ...good.order, namespaceId: first().id },
      { ...good.order, order: `${head}.${payload}.${signature}` },
      { ...good.order, order: `${good.order.order}.` },
      { ...good.order, order: first().manifest },
      { ...good.order, manifests: [good.order.order] },
      { ...good.order, manifests: [] },
      { ...good.order, manifests: [...good.order.manifests, ...good.order.manifests] },
      { ...good.order, manifests: other.order.manifests },
    ]) {
      expect(openOrder(order)).toBeUndefined();
    }
    expect(openOrder(good.order)).toBeDefined();
  });

  /** Guarantees epochs that promised different things are not added up, and a query's epochs are those of its order. */
  test('other promises', async () => {
    const looser = { ...dataset, policy: { ...wholePolicy, minimumCohort: 6 } };
    const second = await testEpoch(looser, 2, rows[1] ?? []);
    expect(
      openOrder(testRequest(dataset, count([1, 2]), { epochs: [first(), second] }).order),
    ).toBeUndefined();
    expect(openOrder(testRequest(dataset, count([2]), { epochs: [first()] }).order)).toBeUndefined();
    expect(openOrder(testRequest(dataset, count([1, 2]), { epochs: [first()] }).order)).toBeUndefined();
  });

  /** Guarantees a cohort one short is refused, however often its contributors are in it, and one that suffices is not. */
  test('a cohort one short', async () => {
    expect(await outcomeOf(...withContributions((all) => all.slice(0, 4)))).toBe('refused');
    expect(
      await outcomeOf(
        ...withContributions((all) => [
          ...all.slice(0, 4),
          { ...all[4], contributor: all[0]?.contributor } as never,
        ]),
      ),
    ).toBe('refused');
    const [request, epochs] = withContributions((all) => all.slice(0, 5));
    expect(await run(request, residuesOf(epochs, [0]))).toHaveLength(1);
  });

  /** Guarantees nobody counts twice: no place, no ciphertext, no number beyond those a contributor has. */
  test('contributions twice', async () => {
    // Two contributions of one contributor in one place.
    const twice = (all: TestEpoch['contributions']) => {
      const contributor = all[0]?.contributor ?? new Uint8Array(16);
      return all.map((each, at) => (at === 1 ? { ...each, contributor } : each));
    };
    expect(await outcomeOf(...withContributions(twice))).toBe('refused');
    expect(await outcomeOf(...withContributions((all) => [...all, all[0] as never]))).toBe('refused');
    expect(
      await outcomeOf(
        ...withContributions((all) => [...all, { ...all[0], contributor: randomBytes(16) } as never]),
      ),
    ).toBe('refused');
    expect(
      await outcomeOf(
        ...withContributions((all) => all.map((each, at) => (at === 0 ? { ...each, ordinal: 2 } : each))),
      ),
    ).toBe('refused');
    expect(
      await outcomeOf(
        ...withContributions((all) => all.map((each, at) => (at === 0 ? { ...each, ordinal: 0 } : each))),
      ),
    ).toBe('refused');
  });

  /** Guarantees rows that the order does not name are not added: one more, one less, one for another, none at all. */
  test('other rows', async () => {
    const request = () => testRequest(dataset, count(), { epochs: [first()] });
    const all = [...residuesOf([first()], [0])];
    const flipped = Uint8Array.from(all[0] ?? []);
    flipped[100] = (flipped[100] ?? 0) ^ 1;
    for (const stream of [[], all.slice(1), all.slice(0, -1), [flipped, ...all.slice(1)], all.toReversed()]) {
      await expect(run(request(), stream)).rejects.toThrow(NotReleased);
    }
    const others = {
      ...request(),
      contributions: testRequest(dataset, count([2]), { epochs: [dataset.epochs[1] as TestEpoch] })
        .contributions,
    };
    expect(await outcomeOf(others)).toBe('refused');
    expect(await outcomeOf({ ...request(), contributions: [] })).toBe('refused');
  });

  /** Guarantees a ciphertext that is no good one is refused also where its digest was signed. */
  test('transparent ciphertexts', async () => {
    for (const bad of [new Uint8Array(131_072), new Uint8Array(131_072).fill(255)]) {
      expect(
        await outcomeOf(
          ...withContributions((all) => [
            ...all,
            { contributor: randomBytes(16), ordinal: 1, digests: digestOf([bad]), residues: [bad] },
          ]),
        ),
      ).toBe('refused');
    }
  });

  /** Guarantees a budget that is one unit short is refused, and one that just suffices is not. */
  test('a budget one short', async () => {
    const all = 10n * 10n ** 12n;
    expect(
      await outcomeOf(testRequest(dataset, count(), { epochs: [first()], spentUnits: all - units() + 1n })),
    ).toBe('refused');
    expect(await outcomeOf(testRequest(dataset, count(), { epochs: [first()], spentUnits: -1n }))).toBe(
      'refused',
    );
    const last = testRequest(dataset, count(), { epochs: [first()], spentUnits: all - units() });
    expect(await run(last, residuesOf([first()], [0]))).toHaveLength(1);
  });

  /** Guarantees a statistic that was not promised is refused, and groups where there are to be none. */
  test('statistics that were not promised', async () => {
    const policy = { ...wholePolicy, statistics: ['sum'] as const };
    const narrow = await testDataset(definition, policy, [rows[0] ?? []]);
    const epochs = narrow.epochs;
    for (const request of [
      { statistic: 'count', epochs: [1], epsilon: 1 },
      { statistic: 'sum', column: 'a', epochs: [1], epsilon: 1, groupBy: ['g'] },
    ] satisfies QueryRequest[]) {
      expect(await outcomeOf(testRequest(narrow, queryOf(request)), epochs)).toBe('refused');
    }
    const allowed = queryOf({ statistic: 'sum', column: 'a', epochs: [1], epsilon: 1 });
    expect(await run(testRequest(narrow, allowed), residuesOf(epochs, [0]))).toHaveLength(1);
  });

  /** Guarantees a key opens for its epoch alone, and seeds are wiped whatever happens. */
  test('another epoch’s key', async () => {
    const request = testRequest(dataset, count(), { epochs: [first()] });
    const other = dataset.epochs[1] as TestEpoch;
    expect(
      await outcomeOf({ ...request, keys: [{ seed: Uint8Array.from(other.seed), sealed: other.sealed }] }),
    ).toBe('refused');
    expect(await outcomeOf({ ...testRequest(dataset, count(), { epochs: [first()] }), keys: [] })).toBe(
      'refused',
    );
    const changed = testRequest(dataset, count(), { epochs: [first()] });
    changed.keys[0]?.sealed.fill(1, 20, 21);
    expect(
      await outcomeOf({ ...changed, keys: changed.keys.map((key) => ({ ...key, seed: randomBytes(32) })) }),
    ).toBe('refused');
  });
});

/** Guarantees cells and labels agree: what a query groups by is where contributors put their rows. */
test('labels of cells', () => {
  const all = Array.from({ length: 6 }, (_, cell) => labelsOf(definition, cell).join());
  expect(new Set(all).size).toBe(6);
});
