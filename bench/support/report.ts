// Results as a table for people. What was not measured stays empty.

/** A rate beside its floor. */
export interface RateRow {
  readonly what: string;
  /** Operations a second: encryptions, items, records. */
  readonly rate: number;
  /** The same of the floor, in the same run. */
  readonly floor?: number | undefined;
  readonly ratio?: number | undefined;
  /** The least ratio that is good enough. */
  readonly targetRatio?: number | undefined;
  readonly p50Ms?: number | undefined;
  readonly p99Ms?: number | undefined;
  /** CPU time of the process that is measured, all its threads, for one operation. */
  readonly cpuMicros?: number | undefined;
  /** Its main thread's part of that. */
  readonly mainMicros?: number | undefined;
  /** The most of it that is good enough. */
  readonly targetMainMicros?: number | undefined;
}

/** One figure that is no rate. */
export interface Figure {
  readonly what: string;
  readonly value: number;
  readonly unit: string;
  /** The value must stay below it. */
  readonly targetBelow?: number | undefined;
}

export interface Report {
  readonly rows?: readonly RateRow[];
  readonly figures?: readonly Figure[];
  /** How it was measured: sizes, rounds, durations. */
  readonly setting: Readonly<Record<string, number | string>>;
}

type Column = readonly [title: string, cell: (row: RateRow) => string];

const columns: readonly Column[] = [
  ['', ({ what }) => what],
  ['rate/s', ({ rate }) => fixed(rate, 0)],
  ['floor/s', ({ floor }) => fixed(floor, 0)],
  ['ratio', ({ ratio }) => fixed(ratio, 2)],
  ['target', ({ ratio, targetRatio }) => judged(targetRatio, '≥', 2, (ratio ?? 0) >= (targetRatio ?? 0))],
  ['p50 ms', ({ p50Ms }) => fixed(p50Ms, 2)],
  ['p99 ms', ({ p99Ms }) => fixed(p99Ms, 2)],
  ['CPU µs', ({ cpuMicros }) => fixed(cpuMicros, 1)],
  ['main µs', ({ mainMicros }) => fixed(mainMicros, 1)],
  [
    'target',
    ({ mainMicros, targetMainMicros }) =>
      judged(targetMainMicros, '≤', 0, (mainMicros ?? Infinity) <= (targetMainMicros ?? 0)),
  ],
];

/** @returns lines, each with its end */
export function report({ rows = [], figures = [] }: Report): string {
  const used = columns.filter(([, cell], index) => index < 2 || rows.some((row) => cell(row) !== ''));
  const rates =
    rows.length === 0
      ? []
      : [used.map(([title]) => title), ...rows.map((row) => used.map(([, cell]) => cell(row)))];
  const values = figures.map(({ what, value, unit, targetBelow }) => [
    what,
    `${fixed(value, value < 100 ? 2 : 0)} ${unit}`,
    judged(targetBelow, '<', 0, value < (targetBelow ?? 0)),
  ]);
  return [...aligned(rates), ...aligned(values)].map((line) => `${line}\n`).join('');
}

function fixed(value: number | undefined, digits: number): string {
  return value === undefined ? '' : value.toFixed(digits);
}

function judged(target: number | undefined, sign: string, digits: number, met: boolean): string {
  return target === undefined ? '' : `${sign} ${target.toFixed(digits)} ${met ? 'met' : 'MISSED'}`;
}

/** The first column to the left, numbers to the right. */
function aligned(table: readonly (readonly string[])[]): string[] {
  const widths = (table[0] ?? []).map((_, at) => Math.max(...table.map((cells) => cells[at]?.length ?? 0)));
  return table.map((cells) =>
    cells
      .map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}
