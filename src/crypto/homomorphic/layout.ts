import { largestTotal, type ParameterSet } from './parameters.ts';

/** What contributors count and add up: a dataset's definition, as far as numbers go. */
export interface DatasetShape {
  readonly columns: readonly ColumnShape[];
  readonly groups: readonly GroupShape[];
  /** Squares are added up too: what variances need. */
  readonly squares: boolean;
  /** Rows that a contribution may add up. */
  readonly rowsPerContribution: number;
  /** Contributions that an epoch takes. */
  readonly contributions: number;
}

export interface ColumnShape {
  readonly name: string;
  /** Whole numbers: what a value is clamped to. */
  readonly lower: number;
  readonly upper: number;
  /**
   * Where a histogram's bins begin, but the first, which begins at `lower`: ascending, above `lower`, up to `upper`.
   * Bin i holds what is at least edge i - 1 and below edge i.
   */
  readonly edges?: readonly number[] | undefined;
}

export interface GroupShape {
  readonly name: string;
  readonly labels: readonly string[];
}

/** What one number of a contribution is, in each cell. */
export type Measure =
  | { readonly kind: 'count' }
  | { readonly kind: 'sum'; readonly column: number }
  | { readonly kind: 'squares'; readonly column: number }
  | { readonly kind: 'bin'; readonly column: number; readonly bin: number };

/** A measure and where it is. */
export interface Field {
  readonly measure: Measure;
  /** Of limb i in cell j: slot `firstSlot + i * cells + j`. */
  readonly firstSlot: number;
  /** A number is the sum of limb i times 2^(i * limbBits); all but the last are at least 0. */
  readonly limbs: number;
  /** The largest absolute value that an honest contribution has here. */
  readonly bound: bigint;
}

/**
 * Which slot of which ciphertext holds what. Cells are the combinations of all groups' labels, the last group's label
 * counting fastest; without groups there is one. Slot s is slot `s % degree` of ciphertext `floor(s / degree)`.
 */
export interface Layout {
  readonly fields: readonly Field[];
  readonly cells: number;
  readonly limbBits: number;
  readonly slots: number;
  readonly ciphertexts: number;
  readonly degree: number;
}

/** Ciphertexts that a contribution may have. */
export const ciphertextsLimit = 16;

/** Why a shape has no layout. */
export class NoLayout extends Error {
  override readonly name = 'NoLayout';
  readonly reason: 'contributions' | 'slots';

  constructor(reason: 'contributions' | 'slots', message: string) {
    super(message);
    this.reason = reason;
  }
}

/**
 * The layout of a shape, and the proof that it is exact: over as many contributions as an epoch takes, each within the
 * bounds, no slot's total passes what it can hold, and noise stays within what decrypts. The same shape gives the same
 * layout for ever: contributors and the service each compute it.
 * @throws NoLayout
 */
export function layoutOf(shape: DatasetShape, set: ParameterSet): Layout {
  const { contributions } = shape;
  if (contributions > set.additions) {
    throw new NoLayout('contributions', `${set.name} adds ${set.additions} contributions at most`);
  }
  const slotBound = largestTotal(set) / BigInt(contributions);
  // All limbs but the last hold 0 to 2^limbBits - 1.
  const limbBits = bitLength(slotBound + 1n) - 1;
  const cells = shape.groups.reduce((product, { labels }) => product * labels.length, 1);
  const fields: Field[] = [];
  let firstSlot = 0;
  for (const measure of measuresOf(shape)) {
    const bound = boundOf(measure, shape);
    const limbs = limbsOf(bound, limbBits, slotBound);
    fields.push({ measure, firstSlot, limbs, bound });
    firstSlot += limbs * cells;
  }
  const ciphertexts = Math.ceil(firstSlot / set.degree);
  if (ciphertexts > ciphertextsLimit) {
    throw new NoLayout(
      'slots',
      `it takes ${firstSlot} numbers a contribution, and ${ciphertextsLimit * set.degree} fit`,
    );
  }
  return { fields, cells, limbBits, slots: firstSlot, ciphertexts, degree: set.degree };
}

function measuresOf({ columns, squares }: DatasetShape): Measure[] {
  const ofColumn = ({ edges }: ColumnShape, column: number): Measure[] => [
    { kind: 'sum', column },
    ...(squares ? [{ kind: 'squares', column } as const] : []),
    ...(edges === undefined ? [] : [...edges, 0].map((_, bin) => ({ kind: 'bin', column, bin }) as const)),
  ];
  return [{ kind: 'count' }, ...columns.flatMap(ofColumn)];
}

/** The largest absolute value of a measure over the rows of a contribution. */
function boundOf(measure: Measure, { columns, rowsPerContribution }: DatasetShape): bigint {
  const rows = BigInt(rowsPerContribution);
  if (measure.kind === 'count' || measure.kind === 'bin') return rows;
  const largest = largestOf(columns[measure.column]);
  return rows * (measure.kind === 'sum' ? largest : largest * largest);
}

/** The largest absolute value of a column. */
function largestOf(column: ColumnShape | undefined): bigint {
  return BigInt(Math.max(Math.abs(column?.lower ?? 0), Math.abs(column?.upper ?? 0)));
}

/** The fewest limbs of which the last, rounded down where it is negative, stays within what a slot takes. */
function limbsOf(bound: bigint, limbBits: number, slotBound: bigint): number {
  let limbs = 1;
  for (let last = bound; last + (limbs > 1 ? 1n : 0n) > slotBound; limbs += 1) last >>= BigInt(limbBits);
  return limbs;
}

function bitLength(value: bigint): number {
  return value.toString(2).length;
}

/** The cell of one label of each group, given by their places in `labels`. */
export function cellOf({ groups }: Pick<DatasetShape, 'groups'>, labels: readonly number[]): number {
  return groups.reduce((cell, group, at) => cell * group.labels.length + (labels[at] ?? 0), 0);
}

/** The places of the labels of a cell. */
export function labelsOf({ groups }: Pick<DatasetShape, 'groups'>, cell: number): number[] {
  const labels: number[] = [];
  let rest = cell;
  for (const { labels: own } of groups.toReversed()) {
    labels.unshift(rest % own.length);
    rest = Math.floor(rest / own.length);
  }
  return labels;
}

/** The field of a measure; undefined where the dataset does not have it. */
export function fieldOf({ fields }: Layout, wanted: Measure): Field | undefined {
  const key = JSON.stringify(wanted);
  return fields.find(({ measure }) => JSON.stringify(measure) === key);
}
