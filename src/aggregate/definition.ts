import type { ColumnShape, DatasetShape, GroupShape } from '../crypto/homomorphic/layout.ts';

// What a dataset is and promises; it never changes. The process that decrypts takes it from what was signed.

export const statistics = [
  ...(['count', 'sum', 'mean', 'variance', 'standard-deviation', 'weighted-sum'] as const),
  ...(['histogram', 'group-by'] as const),
] as const;
export type Statistic = (typeof statistics)[number];

/** Of whole numbers: what they count is `unit` times 10^-scale. */
export interface Column extends ColumnShape {
  readonly scale: number;
  readonly unit: string;
}

export interface Definition {
  readonly columns: readonly Column[];
  readonly groups: readonly GroupShape[];
}

/**
 * What two datasets that an answer must not tell apart differ in: all rows of one contributor, or one row, are there or
 * not; or they are there with these or with other values.
 */
export const neighbourings = [
  ...(['contributor', 'row', 'contributor-replaced', 'row-replaced'] as const),
] as const;
export type Neighbouring = (typeof neighbourings)[number];

export interface Policy {
  readonly statistics: readonly Statistic[];
  readonly rowsPerContribution: number;
  /** An epoch takes so many. */
  readonly contributions: number;
  /** Of them one contributor's. */
  readonly contributionsPerContributor: number;
  /** Contributors that an answer is over at least. */
  readonly minimumCohort: number;
  /** Of each analyst, over all answers of the dataset. */
  readonly budget: { readonly epsilon: number; readonly delta: number };
  readonly neighbouring: Neighbouring;
  /** Answers are over parts that do not overlap, or over the same one. */
  readonly partitioned: boolean;
  /** Names or ids of principals, or prefixes of names that end in `*`. */
  readonly contributors: readonly string[];
  readonly analysts: readonly string[];
  /** Seconds after its end until an epoch is shredded; absent: never by itself. */
  readonly retentionSeconds?: number | undefined;
}

/** What contributors were promised; the rest of a policy is who may do what. */
export type Promises = Omit<Policy, 'contributors' | 'analysts'>;

/** What the layout of contributions is made from. */
export function shapeOf(
  { columns, groups }: Definition,
  { statistics: allowed, rowsPerContribution, contributions }: Promises,
): DatasetShape {
  const squares = allowed.includes('variance') || allowed.includes('standard-deviation');
  return { columns, groups, squares, rowsPerContribution, contributions };
}
