import { ServiceError, type Violation } from '../../core/errors.ts';
import { labelsOf } from '../../crypto/homomorphic/layout.ts';
import type { Dataset } from '../dataset.ts';
import type { Statistic } from '../definition.ts';

/** What can be asked; `group-by` is no statistic of its own, but leave to have one for each group. */
export const askableStatistics = [
  ...(['count', 'sum', 'mean', 'variance', 'standard-deviation', 'weighted-sum', 'histogram'] as const),
] as const satisfies readonly Statistic[];
export type AskableStatistic = (typeof askableStatistics)[number];

/** As an analyst writes it. */
export interface QueryRequest {
  readonly statistic: AskableStatistic;
  /** Of all but counts. */
  readonly column?: string | undefined;
  /** Closed ones, 1 to 64. */
  readonly epochs: readonly number[];
  /** Of these groups the rows with these labels alone. */
  readonly where?: Readonly<Record<string, readonly string[]>> | undefined;
  /** Groups for each combination of whose labels there is an answer. */
  readonly groupBy?: readonly string[] | undefined;
  /** An answer for each epoch. */
  readonly byEpoch?: boolean | undefined;
  /** Of weighted sums: what a row counts by its label in one group. */
  readonly weights?: QueryWeights | undefined;
  /** What it may cost, as if it were the only one. */
  readonly epsilon: number;
}

export interface QueryWeights {
  readonly group: string;
  /** Whole numbers; labels that are not named count 0. */
  readonly labels: Readonly<Record<string, number>>;
}

/** A query in its one form: what means the same is the same, whatever the order it was written in. */
export interface Query {
  readonly format: typeof queryFormat;
  readonly statistic: AskableStatistic;
  /** Its place in the definition. */
  readonly column: number | null;
  /** Ascending. */
  readonly epochs: readonly number[];
  /** For each group the places of the labels, ascending; null: all of them. */
  readonly where: readonly (readonly number[] | null)[];
  /** Places of groups, ascending. */
  readonly groupBy: readonly number[];
  readonly byEpoch: boolean;
  readonly weights: { readonly group: number; readonly labels: readonly number[] } | null;
  readonly epsilon: number;
}

export const queryFormat = 'stathera/dataset/query/v1';

export const queryLimits = { epochs: 64, weight: 1_000_000, numbers: 10_000 } as const;

/**
 * The one form of a query. Its JSON, in the order of members here, is what is signed and compared.
 * @throws request/invalid for what the dataset does not have
 */
export function canonicalQuery({ definition, policy }: Dataset, request: QueryRequest): Query {
  const violations: Violation[] = [];
  const broken = (pointer: string, detail: string) => {
    violations.push({ pointer, detail });
    return -1;
  };
  const { columns, groups } = definition;
  const groupAt = (name: string, pointer: string) => {
    const at = groups.findIndex((group) => group.name === name);
    return at >= 0 ? at : broken(pointer, 'the dataset has no such group');
  };
  const labelAt = (group: number, label: string, pointer: string) => {
    const at = groups[group]?.labels.indexOf(label) ?? -1;
    return at >= 0 || group < 0 ? at : broken(pointer, 'the group has no such label');
  };

  const needsColumn = request.statistic !== 'count';
  let column: number | null = null;
  if (needsColumn && request.column === undefined) broken('/column', 'is required for this statistic');
  if (!needsColumn && request.column !== undefined) broken('/column', 'a count is of rows, not of a column');
  if (needsColumn && request.column !== undefined) {
    column = columns.findIndex(({ name }) => name === request.column);
    if (column < 0) broken('/column', 'the dataset has no such column');
    else if (request.statistic === 'histogram' && columns[column]?.edges === undefined)
      broken('/column', 'the column has no edges for a histogram');
  }

  const where = groups.map((): readonly number[] | null => null);
  for (const [name, labels] of Object.entries(request.where ?? {})) {
    const at = groupAt(name, '/where');
    const places = [...new Set(labels.map((label) => labelAt(at, label, '/where')))].toSorted(ascending);
    // All labels are no choice.
    if (at >= 0 && places.length < (groups[at]?.labels.length ?? 0)) where[at] = places;
  }
  const groupBy = [
    ...new Set((request.groupBy ?? []).map((name, index) => groupAt(name, `/groupBy/${index}`))),
  ].toSorted(ascending);

  const isWeighted = request.statistic === 'weighted-sum';
  let weights: Query['weights'] = null;
  if (isWeighted !== (request.weights !== undefined)) {
    broken('/weights', isWeighted ? 'is required for this statistic' : 'only weighted sums have weights');
  } else if (request.weights !== undefined) {
    const group = groupAt(request.weights.group, '/weights/group');
    const labels = Array<number>(groups[group]?.labels.length ?? 0).fill(0);
    for (const [label, weight] of Object.entries(request.weights.labels)) {
      const at = labelAt(group, label, '/weights/labels');
      if (at >= 0) labels[at] = weight;
    }
    weights = { group, labels };
  }
  if (request.epsilon > policy.budget.epsilon) {
    broken('/epsilon', `is more than the budget of an analyst, ${policy.budget.epsilon}`);
  }
  if (violations.length > 0) {
    throw new ServiceError('request/invalid', 'The request does not fit the dataset.', {
      errors: violations,
    });
  }
  return {
    ...{ format: queryFormat, statistic: request.statistic, column },
    epochs: [...new Set(request.epochs)].toSorted(ascending),
    ...{ where, groupBy, byEpoch: request.byEpoch ?? false, weights, epsilon: request.epsilon },
  };
}

/** What it is compared and signed by. */
export function queryText(query: Query): string {
  const { format, statistic, column, epochs, where, groupBy, byEpoch, weights, epsilon } = query;
  return JSON.stringify({ format, statistic, column, epochs, where, groupBy, byEpoch, weights, epsilon });
}

/** Whether the dataset's policy has this kind of answers at all. */
export function isAllowed({ policy: { statistics } }: Pick<Dataset, 'policy'>, query: Query): boolean {
  const isGrouped = query.groupBy.length > 0 || query.byEpoch;
  return statistics.includes(query.statistic) && (!isGrouped || statistics.includes('group-by'));
}

/** What of a dataset a query is about, to tell whether two overlap. */
export interface Region {
  readonly epochs: readonly number[];
  readonly where: readonly (readonly number[] | null)[];
}

/** True when the two are about the same rows, or about no row together. */
export function areApart(one: Region, other: Region): boolean {
  const ranges = (region: Region) => [region.epochs, ...region.where];
  const pairs = ranges(one).map((range, at) => [range, ranges(other)[at] ?? null] as const);
  if (pairs.some(([first, second]) => first && second && !first.some((value) => second.includes(value)))) {
    return true;
  }
  return pairs.every(([first, second]) => JSON.stringify(first) === JSON.stringify(second));
}

/** True when the rows of a cell are asked for. */
export function isAsked(
  { definition }: Pick<Dataset, 'definition'>,
  { where }: Query,
  cell: number,
): boolean {
  const labels = labelsOf(definition, cell);
  return where.every((wanted, group) => wanted === null || wanted.includes(labels[group] ?? -1));
}

function ascending(one: number, other: number): number {
  return one - other;
}
