import {
  around,
  type Interval,
  marginOf,
  minus,
  quotient,
  square,
  toNumber,
} from '../../crypto/privacy/error-bars.ts';
import type { Dataset } from '../dataset.ts';
import type { Output, Plan } from './plan.ts';
import type { Query } from './query.ts';

// What noised numbers say: means, deviations, intervals. Made from what was released and from the query alone, so it
// gives nothing away that the numbers did not, and can be made anew at each reading.

/** Of each output by itself: the probability that what is asked for lies between `from` and `to`. */
const confidence = 0.95;

export interface OutputView {
  /** By group. */
  readonly labels: Readonly<Record<string, string>>;
  readonly epoch?: number;
  /** In the column's unit; absent where the noise leaves none, as of a mean of no rows. */
  readonly value?: number;
  /** Ends that are absent are unbounded. */
  readonly from?: number;
  readonly to?: number;
  /** Of histograms. */
  readonly bins?: readonly BinView[];
}

export interface BinView {
  /** What the column's values in it are at least, and less than; of the last one at most. */
  readonly lower: number;
  readonly upper: number;
  readonly count: number;
  readonly from: number;
  readonly to: number;
}

/** What the noise of an answer will be, before there is one. */
export interface NoiseView {
  readonly number: 'count' | 'sum' | 'squares';
  readonly distribution: 'discrete-laplace' | 'discrete-gaussian' | 'none';
  /** The standard deviation, and ± what holds the noise with `confidence`, in the column's unit (squared for squares). */
  readonly deviation: number;
  readonly margin: number;
}

/** @param numbers by output, as many as the plan has parts */
export function answerView(
  dataset: Pick<Dataset, 'definition'>,
  query: Query,
  plan: Plan,
  numbers: readonly (readonly bigint[])[],
): OutputView[] {
  return plan.outputs.map((output, index) => ({
    ...outputHead(dataset, query, output),
    ...valueOf(dataset, query, plan, (numbers[index] ?? []).map(Number)),
  }));
}

export function noiseViews(dataset: Pick<Dataset, 'definition'>, query: Query, plan: Plan): NoiseView[] {
  const names: readonly NoiseView['number'][] =
    query.statistic === 'sum' || query.statistic === 'weighted-sum' ? ['sum'] : ['count', 'sum', 'squares'];
  const parts = query.statistic === 'histogram' ? plan.parts.slice(0, 1) : plan.parts;
  const unit = unitOf(dataset, query);
  return parts.map(({ noise }, index) => {
    const number = names[index] ?? 'count';
    const scale = { count: 1, sum: unit, squares: unit * unit }[number];
    return {
      number,
      distribution: noise.kind === 'none' ? 'none' : `discrete-${noise.kind}`,
      deviation: deviationOf(noise) * scale,
      margin: marginOf(noise, (1 - confidence) / parts.length) * scale,
    };
  });
}

/** Of the continuous distribution, which that of the integers does not exceed. */
function deviationOf(noise: Plan['parts'][number]['noise']): number {
  if (noise.kind === 'none') return 0;
  return noise.kind === 'laplace' ? Math.SQRT2 * toNumber(noise.scale) : Math.sqrt(toNumber(noise.variance));
}

function outputHead({ definition }: Pick<Dataset, 'definition'>, { groupBy }: Query, output: Output) {
  const labels = groupBy.map((group, at) => {
    const { name = '', labels: own = [] } = definition.groups[group] ?? {};
    return [name, own[output.labels[at] ?? -1] ?? ''] as const;
  });
  return {
    labels: Object.fromEntries(labels),
    ...(output.epoch !== undefined && { epoch: output.epoch }),
  };
}

/** A column's whole number in its unit. */
function unitOf({ definition }: Pick<Dataset, 'definition'>, { column }: Query): number {
  return column === null ? 1 : 10 ** -(definition.columns[column]?.scale ?? 0);
}

function valueOf(
  dataset: Pick<Dataset, 'definition'>,
  query: Query,
  { parts, centre }: Plan,
  numbers: readonly number[],
): Omit<OutputView, 'labels' | 'epoch'> {
  const unit = unitOf(dataset, query);
  if (query.statistic === 'histogram') return { bins: binsOf(dataset, query, parts, numbers) };
  // All parts of an output lie in their intervals at once with `confidence`: the chances of missing add up.
  const outside = (1 - confidence) / parts.length;
  const intervals = numbers.map((number, part) =>
    around(number, marginOf(parts[part]?.noise ?? { kind: 'none' }, outside)),
  );
  const [count = 0, sum = 0, squares = 0] = numbers;
  const [counts = around(0, 0), sums = around(0, 0), squaresIn = around(0, 0)] = intervals;
  switch (query.statistic) {
    case 'count':
      return shown(count, counts, 1);
    case 'sum':
    case 'weighted-sum':
      return shown(count, counts, unit);
    case 'mean':
      return shown(sum / count, quotient(sums, counts), unit, Number(centre));
    default: {
      const mean = sum / count;
      const variance = count > 0 ? Math.max(0, squares / count - mean * mean) : Number.NaN;
      const around0 = minus(quotient(squaresIn, counts), square(quotient(sums, counts)));
      const possible = { from: Math.max(0, around0.from), to: Math.max(0, around0.to) };
      if (query.statistic === 'variance') return shown(variance, possible, unit * unit);
      const roots = { from: Math.sqrt(possible.from), to: Math.sqrt(possible.to) };
      return shown(Math.sqrt(variance), roots, unit);
    }
  }
}

function shown(value: number, { from, to }: Interval, unit: number, shift = 0) {
  return {
    ...(Number.isFinite(value) && { value: (value + shift) * unit }),
    ...(Number.isFinite(from) && { from: (from + shift) * unit }),
    ...(Number.isFinite(to) && { to: (to + shift) * unit }),
  };
}

function binsOf(
  dataset: Pick<Dataset, 'definition'>,
  query: Query,
  parts: Plan['parts'],
  numbers: readonly number[],
): BinView[] {
  const column = dataset.definition.columns[query.column ?? -1];
  const unit = unitOf(dataset, query);
  const ends = [column?.lower ?? 0, ...(column?.edges ?? []), column?.upper ?? 0];
  return numbers.map((count, bin) => ({
    lower: (ends[bin] ?? 0) * unit,
    upper: (ends[bin + 1] ?? 0) * unit,
    count,
    ...around(count, marginOf(parts[bin]?.noise ?? { kind: 'none' }, 1 - confidence)),
  }));
}
