import { ServiceError } from '../../core/errors.ts';
import { type Field, fieldOf, labelsOf } from '../../crypto/homomorphic/layout.ts';
import { type Accountant, createAccountant, type Noise } from '../../crypto/privacy/accounting.ts';
import {
  type Measure,
  type Range,
  type Reach,
  rangeOf,
  sensitivityOf,
} from '../../crypto/privacy/sensitivity.ts';
import type { Dataset } from '../dataset.ts';
import type { Column, Promises } from '../definition.ts';
import { isAsked, type Query, queryLimits } from './query.ts';

// What is computed for a query, and what noise it gets: from the dataset's definition and policy and the query alone,
// so before anything is decrypted, and the same in whichever process asks. Nothing of it depends on what was contributed.

/** A number that is answered for each output: a sum of fields, and noise. */
export interface Part {
  readonly terms: readonly Term[];
  readonly noise: Noise;
}

export interface Term {
  readonly field: Field;
  /** By cell: by it the field's total counts. */
  readonly weights: readonly bigint[];
}

/** What numbers are answered for. */
export interface Output {
  /** The place of its label in each group of `groupBy`. */
  readonly labels: readonly number[];
  /** Where there is an answer for each. */
  readonly epoch?: number;
}

export interface Plan {
  readonly parts: readonly Part[];
  readonly outputs: readonly Output[];
  /** The output that a cell of an epoch is counted in; undefined: in none. */
  outputOf(epoch: number, cell: number): number | undefined;
  /** What the answer costs, in the units of the dataset's accountant; at least 1. */
  readonly units: bigint;
  readonly accountant: Accountant;
  /** Of means and variances: what is taken off each value first, so that one moves the sums less. */
  readonly centre: bigint;
}

type PlannedDataset = Pick<Dataset, 'definition' | 'layout'> & { readonly policy: Promises };

/** @throws request/invalid for more numbers than an answer may have, or less ε than can be counted */
export function planQuery(dataset: PlannedDataset, query: Query): Plan {
  const { definition, policy } = dataset;
  const accountant = createAccountant(policy.budget.delta);
  const column = query.column === null ? undefined : definition.columns[query.column];
  const centre = centreOf(query, column);
  const outputs = outputsOf(dataset, query);
  const measured = measuresOf(dataset, query, column, centre);
  const numbers = outputs.length * measured.length;
  if (numbers > queryLimits.numbers) {
    throw unfit('/groupBy', `an answer has at most ${queryLimits.numbers} numbers, and this ${numbers}`);
  }
  // Bins are like cells: a row is in one of them. Other parts each have a share of what the answer costs.
  const isHistogram = query.statistic === 'histogram';
  const shares = isHistogram ? 1n : BigInt(measured.length);
  const share = accountant.unitsOf(query.epsilon) / shares;
  if (share < 1n) throw unfit('/epsilon', 'is less than can be counted');
  const cells =
    new Set(outputs.map(({ labels }) => labels.join())).size * (isHistogram ? measured.length : 1);
  const reach = reachOf(dataset, query, BigInt(cells));
  const parts = measured.map(({ terms, range }) => ({
    terms,
    noise: accountant.noiseOf(sensitivityOf(range, reach), share),
  }));
  const places = new Map(outputs.map((output, index) => [outputKey(output), index]));
  return {
    ...{ parts, outputs, units: share * shares, accountant, centre },
    outputOf(epoch, cell) {
      if (!isAsked(dataset, query, cell)) return undefined;
      const labels = labelsOf(definition, cell);
      const own = query.groupBy.map((group) => labels[group] ?? -1);
      return places.get(outputKey({ labels: own, ...(query.byEpoch && { epoch }) }));
    },
  };
}

function outputKey({ labels, epoch }: Output): string {
  return `${epoch ?? ''}/${labels.join()}`;
}

function outputsOf({ definition }: PlannedDataset, { groupBy, where, epochs, byEpoch }: Query): Output[] {
  let combinations: number[][] = [[]];
  for (const group of groupBy) {
    const labels = where[group] ?? definition.groups[group]?.labels.map((_, place) => place) ?? [];
    if (combinations.length * labels.length > queryLimits.numbers) {
      throw unfit('/groupBy', `an answer has at most ${queryLimits.numbers} numbers`);
    }
    combinations = combinations.flatMap((before) => labels.map((label) => [...before, label]));
  }
  if (!byEpoch) return combinations.map((labels) => ({ labels }));
  return epochs.flatMap((epoch) => combinations.map((labels) => ({ labels, epoch })));
}

/** How the rows of one contributor, or the one row that is protected, get into an answer. */
function reachOf({ policy }: PlannedDataset, { epochs, byEpoch }: Query, cells: bigint): Reach {
  const neighbours = policy.neighbouring.endsWith('-replaced') ? 'replace' : 'add-remove';
  if (policy.neighbouring.startsWith('row')) {
    return { neighbours, rows: 1n, epochs: 1n, byEpoch: false, cells };
  }
  const rows = BigInt(policy.rowsPerContribution) * BigInt(policy.contributionsPerContributor);
  return { neighbours, rows, epochs: BigInt(epochs.length), byEpoch, cells };
}

function centreOf({ statistic }: Query, column: Column | undefined): bigint {
  if (column === undefined || statistic === 'sum' || statistic === 'weighted-sum') return 0n;
  return BigInt(Math.floor((column.lower + column.upper) / 2));
}

interface Measured {
  readonly terms: readonly Term[];
  /** What one row adds. */
  readonly range: Range;
}

function measuresOf(
  dataset: PlannedDataset,
  query: Query,
  column: Column | undefined,
  centre: bigint,
): Measured[] {
  const { layout, definition } = dataset;
  const ofCell = (weightOf: (cell: number) => bigint) =>
    Array.from({ length: layout.cells }, (_, cell) => weightOf(cell));
  const field = (kind: 'count' | 'sum' | 'squares') => {
    const found = fieldOf(layout, kind === 'count' ? { kind } : { kind, column: query.column ?? -1 });
    if (!found) throw new TypeError('the dataset has no such field');
    return found;
  };
  const values: Range = { least: BigInt(column?.lower ?? 0), most: BigInt(column?.upper ?? 0) };
  const polynomial = (measure: Measure): Measured => ({
    terms: (['count', 'sum', 'squares'] as const).flatMap((kind) => {
      const weight = { count: measure.constant, sum: measure.linear, squares: measure.square }[kind];
      return weight === 0n ? [] : [{ field: field(kind), weights: ofCell(() => weight) }];
    }),
    range: rangeOf(measure, values),
  });
  const count = { constant: 1n, linear: 0n, square: 0n };
  const deviation = { constant: -centre, linear: 1n, square: 0n };
  const squaredDeviation = { constant: centre * centre, linear: -2n * centre, square: 1n };

  switch (query.statistic) {
    case 'count':
      return [{ ...polynomial(count), range: { least: 1n, most: 1n } }];
    case 'sum':
      return [polynomial(deviation)];
    case 'mean':
      return [polynomial(count), polynomial(deviation)];
    case 'variance':
    case 'standard-deviation':
      return [polynomial(count), polynomial(deviation), polynomial(squaredDeviation)];
    case 'weighted-sum': {
      const { group, labels } = query.weights ?? { group: 0, labels: [] };
      const weightOf = (cell: number) => BigInt(labels[labelsOf(definition, cell)[group] ?? -1] ?? 0);
      return [
        { terms: [{ field: field('sum'), weights: ofCell(weightOf) }], range: weighted(labels, values) },
      ];
    }
    case 'histogram': {
      const bins = (column?.edges?.length ?? 0) + 1;
      return Array.from({ length: bins }, (_, bin) => {
        const found = fieldOf(layout, { kind: 'bin', column: query.column ?? -1, bin });
        if (!found) throw new TypeError('the dataset has no such field');
        return { terms: [{ field: found, weights: ofCell(() => 1n) }], range: { least: 1n, most: 1n } };
      });
    }
  }
}

/** What one row adds to a weighted sum. */
function weighted(weights: readonly number[], { least, most }: Range): Range {
  const products = weights.flatMap((weight) => [BigInt(weight) * least, BigInt(weight) * most]);
  return {
    least: products.reduce((one, other) => (one < other ? one : other), 0n),
    most: products.reduce((one, other) => (one > other ? one : other), 0n),
  };
}

function unfit(pointer: string, detail: string): ServiceError {
  return new ServiceError('request/invalid', 'The request does not fit the dataset.', {
    errors: [{ pointer, detail }],
  });
}
