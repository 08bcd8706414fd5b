import { cellOf, type Field } from '../../crypto/homomorphic/layout.ts';
import type { EpochManifest, ManifestColumn } from './manifest.ts';

/**
 * One row: of each column a value, of each group a label. A value is a whole number as the column counts (with scale 2,
 * 12345 for 123.45) or decimal text in its unit (`123.45`).
 */
export type Row = Readonly<Record<string, number | bigint | string>>;

/** A row that cannot be counted; it tells where, never what. */
export class RowRefused extends Error {
  override readonly name = 'RowRefused';
  /** From 1. */
  readonly row: number;
  /** The column or group; undefined when there are too many rows. */
  readonly member: string | undefined;

  constructor(row: number, member: string | undefined, what: string) {
    super(member === undefined ? what : `row ${row}, ${JSON.stringify(member)}: ${what}`);
    this.row = row;
    this.member = member;
  }
}

export interface Tally {
  /** Rows so far. */
  readonly rows: number;
  /** Values so far that lay beyond the bounds, and were counted as the bound. */
  readonly clamped: number;
  /** @throws RowRefused */
  add(row: Row): void;
  valueOf(field: Field, cell: number): bigint;
}

/** Adds up a contributor's own rows: what is sent is one number a field and cell, whatever the rows are. */
export function createTally({ columns, groups, shape, layout }: EpochManifest): Tally {
  const places = groups.map(({ labels }) => new Map(labels.map((label, place) => [label, place])));
  const sums = new Map(layout.fields.map((field) => [field, createSums(layout.cells)]));
  const adders = Array.from(sums, ([field, sum]) => adderOf(field, sum));
  let rows = 0;
  let clamped = 0;

  function valuesOf(row: Row): number[] {
    return columns.map((column) => {
      const value = wholeNumber(row[column.name], column, rows + 1);
      const { lower, upper } = column;
      if (value >= lower && value <= upper) return Number(value);
      clamped += 1;
      return value < lower ? lower : upper;
    });
  }

  return {
    get rows() {
      return rows;
    },
    get clamped() {
      return clamped;
    },
    add(row) {
      if (rows >= shape.rowsPerContribution) {
        const what = `a contribution to this dataset has ${shape.rowsPerContribution} rows at most`;
        throw new RowRefused(rows + 1, undefined, what);
      }
      const labels = groups.map(({ name }, at) => {
        const place = places[at]?.get(String(row[name]));
        if (place === undefined) throw new RowRefused(rows + 1, name, 'is none of the labels declared');
        return place;
      });
      const before = clamped;
      try {
        const values = valuesOf(row);
        const cell = cellOf({ groups }, labels);
        for (const add of adders) add(cell, values);
      } catch (error) {
        clamped = before;
        throw error;
      }
      rows += 1;
    },
    valueOf(field, cell) {
      const sum = sums.get(field);
      if (!sum) throw new TypeError('a field of another layout');
      return sum.valueOf(cell);
    },
  };

  function adderOf({ measure }: Field, sum: Sums): (cell: number, values: readonly number[]) => void {
    switch (measure.kind) {
      case 'count':
        return (cell) => sum.add(cell, 1);
      case 'sum':
        return (cell, values) => sum.add(cell, values[measure.column] ?? 0);
      case 'squares':
        return (cell, values) => sum.addSquare(cell, values[measure.column] ?? 0);
      case 'bin': {
        const edges = columns[measure.column]?.edges ?? [];
        const from = edges[measure.bin - 1] ?? Number.NEGATIVE_INFINITY;
        const to = edges[measure.bin] ?? Number.POSITIVE_INFINITY;
        return (cell, values) => {
          const value = values[measure.column] ?? 0;
          if (value >= from && value < to) sum.add(cell, 1);
        };
      }
    }
  }
}

interface Sums {
  add(cell: number, value: number): void;
  addSquare(cell: number, value: number): void;
  valueOf(cell: number): bigint;
}

/** Exact sums that are numbers while they can be: a row costs nanoseconds, not a bigint for each of its values. */
function createSums(cells: number): Sums {
  const low = new Float64Array(cells);
  const high = new Map<number, bigint>();
  const carry = (cell: number, value: bigint) => void high.set(cell, (high.get(cell) ?? 0n) + value);
  function add(cell: number, value: number): void {
    const sum = (low[cell] ?? 0) + value;
    if (Number.isSafeInteger(sum)) low[cell] = sum;
    else {
      carry(cell, BigInt(low[cell] ?? 0) + BigInt(value));
      low[cell] = 0;
    }
  }
  return {
    add,
    addSquare(cell, value) {
      const square = value * value;
      if (Number.isSafeInteger(square)) add(cell, square);
      else carry(cell, BigInt(value) * BigInt(value));
    },
    valueOf: (cell) => BigInt(low[cell] ?? 0) + (high.get(cell) ?? 0n),
  };
}

const decimal = /^\s*(-?)(\d{1,30})(?:\.(\d{1,30}))?\s*$/;

/** A value as the column counts, exactly. @throws RowRefused */
function wholeNumber(value: Row[string] | undefined, column: ManifestColumn, row: number): number | bigint {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value)) return value;
    throw new RowRefused(row, column.name, 'is no whole number: give decimals as text');
  }
  const match = value === undefined ? null : decimal.exec(value);
  if (match === null) throw new RowRefused(row, column.name, 'is no number');
  const [, sign = '', whole = '', fraction = ''] = match;
  if (fraction.replace(/0+$/, '').length > column.scale) {
    throw new RowRefused(row, column.name, `has more than ${column.scale} decimal places`);
  }
  return BigInt(`${sign}${whole}${fraction.padEnd(column.scale, '0').slice(0, column.scale)}`);
}
