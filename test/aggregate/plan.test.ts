import { describe, expect, test } from 'vitest';
import type { Dataset } from '../../src/aggregate/dataset.ts';
import { type Definition, type Neighbouring, type Policy, shapeOf } from '../../src/aggregate/definition.ts';
import { planQuery } from '../../src/aggregate/queries/plan.ts';
import { areApart, canonicalQuery, type QueryRequest, queryText } from '../../src/aggregate/queries/query.ts';
import { layoutOf } from '../../src/crypto/homomorphic/layout.ts';
import { toNumber } from '../../src/crypto/privacy/error-bars.ts';
import { wholePolicy } from './orders.ts';
import { set } from './support.ts';

const definition: Definition = {
  columns: [{ name: 'pay', lower: -20, upper: 100, scale: 0, unit: '', edges: [0, 50] }],
  groups: [
    { name: 'g', labels: ['x', 'y', 'z'] },
    { name: 'h', labels: ['p', 'q'] },
  ],
};

function datasetWith(change: Partial<Policy>): Dataset {
  const policy = { ...wholePolicy, rowsPerContribution: 7, contributionsPerContributor: 2, ...change };
  return { definition, policy, layout: layoutOf(shapeOf(definition, policy), set) } as Dataset;
}

const one: QueryRequest = { statistic: 'sum', column: 'pay', epochs: [1], epsilon: 2 };

/** Of Laplace noise its scale, of Gaussian noise its variance, part by part. */
function noiseOf(request: QueryRequest, change: Partial<Policy> = {}): number[] {
  const dataset = datasetWith(change);
  return planQuery(dataset, canonicalQuery(dataset, request)).parts.map(({ noise }) => {
    if (noise.kind === 'none') return 0;
    return toNumber(noise.kind === 'laplace' ? noise.scale : noise.variance);
  });
}

describe('noise', () => {
  /** Guarantees the scale of what must be hidden, by hand: 2 × 7 rows of up to 100 an epoch, or one row; there or not, or another. */
  test.each<[Neighbouring, QueryRequest, number]>([
    ['contributor', one, (14 * 100) / 2],
    ['contributor-replaced', one, (14 * 120) / 2],
    ['row', one, 100 / 2],
    ['row-replaced', one, 120 / 2],
    // Three epochs: a contributor is in each of them, a row in one.
    ['contributor', { ...one, epochs: [1, 2, 3] }, (3 * 14 * 100) / 2],
    ['contributor', { ...one, epochs: [1, 2, 3], byEpoch: true }, (3 * 14 * 100) / 2],
    ['row', { ...one, epochs: [1, 2, 3], byEpoch: true }, 100 / 2],
    // Groups are disjoint: a row that changes its group leaves one and enters another.
    ['row', { ...one, groupBy: ['g'] }, 100 / 2],
    ['row-replaced', { ...one, groupBy: ['g'] }, (2 * 100) / 2],
    ['contributor-replaced', { ...one, groupBy: ['g', 'h'] }, (14 * 2 * 100) / 2],
    [
      'row',
      { ...one, statistic: 'weighted-sum', weights: { group: 'g', labels: { x: 3, y: -5 } } },
      (5 * 100) / 2,
    ],
    ['row', { ...one, column: undefined, statistic: 'count' }, 1 / 2],
  ])('%s: %j', (neighbouring, request, scale) => {
    expect(noiseOf(request, { neighbouring })).toEqual([scale]);
  });

  /** Guarantees what is made of several numbers divides its ε among them, and takes distances from the middle, 40. */
  test('shares', () => {
    expect(noiseOf({ ...one, statistic: 'mean' }, { neighbouring: 'row' })).toEqual([1, 60]);
    expect(noiseOf({ ...one, statistic: 'variance', epsilon: 3 }, { neighbouring: 'row' })).toEqual([
      1, 60, 3600,
    ]);
    // Bins are disjoint: each has the whole of it.
    expect(noiseOf({ ...one, statistic: 'histogram' }, { neighbouring: 'row' })).toEqual([0.5, 0.5, 0.5]);
  });

  /** Guarantees with δ the variance is Δ²/2ρ, and epochs with numbers of their own add up as vectors do. */
  test('with δ', () => {
    const policy: Partial<Policy> = { neighbouring: 'contributor', budget: { epsilon: 10, delta: 1e-6 } };
    // By hand: √ρ = √(13.815510557964 + 2) - √13.815510557964 = 0.259949…
    const rho = (Math.sqrt(13.815_510_557_964 + 2) - Math.sqrt(13.815_510_557_964)) ** 2;
    const [alone = 0] = noiseOf(one, policy);
    expect(alone / (1400 ** 2 / (2 * rho))).toBeCloseTo(1, 6);
    const [together = 0] = noiseOf({ ...one, epochs: [1, 2, 3, 4] }, policy);
    const [apart = 0] = noiseOf({ ...one, epochs: [1, 2, 3, 4], byEpoch: true }, policy);
    expect(together / alone).toBeCloseTo(16, 6);
    expect(apart / alone).toBeCloseTo(4, 6);
  });
});

describe('queries', () => {
  /** Guarantees what means the same has one form, and what does not has another. */
  test('one form', () => {
    const dataset = datasetWith({});
    const form = (change: Partial<QueryRequest>) => queryText(canonicalQuery(dataset, { ...one, ...change }));
    const same: Partial<QueryRequest>[] = [
      ...[{}, { epochs: [1, 1] }, { byEpoch: false }, { where: {} }, { where: { g: ['z', 'y', 'x'] } }],
      { where: { h: ['q', 'p', 'q'] } },
    ];
    expect(new Set(same.map(form)).size).toBe(1);
    const others: Partial<QueryRequest>[] = [
      ...[{}, { epochs: [2] }, { epochs: [1, 2] }, { byEpoch: true }, { epsilon: 1.999 }, { groupBy: ['g'] }],
      ...[
        { groupBy: ['h'] },
        { where: { g: ['x'] } },
        { where: { g: ['x', 'y'] } },
        { statistic: 'mean' as const },
      ],
    ];
    expect(new Set(others.map(form)).size).toBe(others.length);
    expect(form({ groupBy: ['h', 'g'] })).toBe(form({ groupBy: ['g', 'h', 'g'] }));
  });

  /** Guarantees two parts are apart when no row is in both, or all are. */
  test('overlaps', () => {
    const dataset = datasetWith({});
    const region = (change: Partial<QueryRequest>) => canonicalQuery(dataset, { ...one, ...change });
    const apart = (first: Partial<QueryRequest>, second: Partial<QueryRequest>) =>
      areApart(region(first), region(second)) && areApart(region(second), region(first));
    expect(apart({}, { statistic: 'mean', groupBy: ['g'] })).toBe(true);
    expect(apart({ epochs: [1, 2] }, { epochs: [3] })).toBe(true);
    expect(apart({ epochs: [1, 2] }, { epochs: [2, 3] })).toBe(false);
    expect(apart({ where: { g: ['x'] } }, { where: { g: ['y', 'z'] } })).toBe(true);
    expect(apart({ where: { g: ['x'] } }, {})).toBe(false);
    expect(apart({ where: { g: ['x'], h: ['p'] } }, { where: { g: ['x'], h: ['q'] } })).toBe(true);
    expect(apart({ where: { g: ['x'] } }, { where: { h: ['q'] } })).toBe(false);
    expect(apart({ epochs: [1], where: { g: ['x'] } }, { epochs: [2] })).toBe(true);
  });

  /** Guarantees an answer has no more numbers than it may, and what costs too little to be counted is refused. */
  test('limits', () => {
    const dataset = datasetWith({});
    const wide = canonicalQuery(dataset, {
      ...{ ...one, statistic: 'histogram', groupBy: ['g', 'h'], byEpoch: true },
      epochs: Array.from({ length: 64 }, (_, at) => at + 1),
    });
    expect(planQuery(dataset, wide).outputs).toHaveLength(64 * 6);
    const labels = Array.from({ length: 200 }, (_, at) => `l${at}`);
    const large = { ...dataset, definition: { ...definition, groups: [{ name: 'g', labels }] } } as Dataset;
    const asked = { ...wide, where: [null], groupBy: [0] };
    expect(() => planQuery(large, asked)).toThrow(expect.objectContaining({ code: 'request/invalid' }));
    expect(() => planQuery(dataset, { ...wide, epsilon: 1e-13 })).toThrow(
      expect.objectContaining({ code: 'request/invalid' }),
    );
  });
});
