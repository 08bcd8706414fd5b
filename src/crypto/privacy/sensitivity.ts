import type { Sensitivity } from './accounting.ts';

/**
 * Which two states of a dataset must give answers that are hard to tell apart. Who contributed is not secret in either;
 * what they contributed is.
 * `add-remove`: one contributor's rows are there, or none of them.
 * `replace`: one contributor's rows are these, or any others.
 */
export const neighbours = ['add-remove', 'replace'] as const;
export type Neighbours = (typeof neighbours)[number];

/** What one row may add to a number, the least and the most. */
export interface Range {
  readonly least: bigint;
  readonly most: bigint;
}

/** How the rows of one contributor get into an answer. */
export interface Reach {
  readonly neighbours: Neighbours;
  /** Rows of one contributor in one epoch, at most; there may be none. */
  readonly rows: bigint;
  /** Epochs that the answer is made of, at least 1. */
  readonly epochs: bigint;
  /** Whether each epoch has numbers of its own. */
  readonly byEpoch: boolean;
  /** Numbers of which a row adds to exactly one, in one epoch: 1 without groups. */
  readonly cells: bigint;
}

/**
 * How far one contributor can move the numbers of an answer, if it keeps to the bounds. What a contributor adds lies in
 * the hull of nothing, all its rows in one cell at their most, and all in one cell at their least, and the change of
 * both norms is convex: so it is largest between two corners, and the corners are what is compared here.
 */
export function sensitivityOf({ least, most }: Range, reach: Reach): Sensitivity {
  if (reach.rows < 1n || reach.epochs < 1n || reach.cells < 1n) throw new RangeError('a reach is at least 1');
  const up = most > 0n ? most : 0n;
  const down = least < 0n ? -least : 0n;
  const furthest = up > down ? up : down;
  const inOneCell = reach.neighbours === 'replace' ? up + down : furthest;
  const inTwoCells = reach.neighbours === 'replace' && reach.cells > 1n;
  const l1 = inTwoCells ? larger(inOneCell, 2n * furthest) : inOneCell;
  const l2Squared = inTwoCells ? larger(inOneCell ** 2n, 2n * furthest ** 2n) : inOneCell ** 2n;
  // Epochs with numbers of their own add up as vectors do; else all rows meet in the same numbers.
  const rows = reach.byEpoch ? reach.rows : reach.rows * reach.epochs;
  const times = reach.byEpoch ? reach.epochs : 1n;
  return { l1: times * rows * l1, l2Squared: times * rows ** 2n * l2Squared };
}

function larger(one: bigint, other: bigint): bigint {
  return one > other ? one : other;
}

/** A public polynomial of a row's value: it adds `constant` + `linear` v + `square` v². */
export interface Measure {
  readonly constant: bigint;
  readonly linear: bigint;
  readonly square: bigint;
}

/** What a measure of an integer v from `least` to `most` may be: its ends, or where a square turns. */
export function rangeOf({ constant, linear, square }: Measure, { least, most }: Range): Range {
  if (least > most) throw new RangeError('a range has its least first');
  const at = (value: bigint) => constant + linear * value + square * value * value;
  const places = [least, most];
  if (square !== 0n) {
    // Of the integers around -linear / 2 square; division goes towards zero, so one on each side.
    const turn = -linear / (2n * square);
    for (const near of [turn - 1n, turn, turn + 1n]) if (near >= least && near <= most) places.push(near);
  }
  const values = places.map(at);
  return { least: values.reduce(smaller), most: values.reduce(larger) };
}

function smaller(one: bigint, other: bigint): bigint {
  return one < other ? one : other;
}
