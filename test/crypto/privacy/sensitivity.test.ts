import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { neighbours, type Reach, rangeOf, sensitivityOf } from '../../../src/crypto/privacy/sensitivity.ts';

/** All that one contributor may add to an epoch's cells with up to `rows` rows. */
function contributions(rows: number, cells: number, values: readonly number[]): number[][] {
  let all = new Map<string, number[]>([['', Array<number>(cells).fill(0)]]);
  for (let row = 0; row < rows; row += 1) {
    const more = new Map(all);
    for (const sums of all.values())
      for (let cell = 0; cell < cells; cell += 1)
        for (const value of values) {
          const next = sums.with(cell, (sums[cell] ?? 0) + value);
          more.set(next.join(), next);
        }
    all = more;
  }
  return [...all.values()];
}

/** What the two norms are at most, by trying everything. */
function tried(values: readonly number[], reach: Reach): { l1: bigint; l2Squared: bigint } {
  const inEpoch = contributions(Number(reach.rows), Number(reach.cells), values);
  let whole = inEpoch;
  for (let epoch = 1n; epoch < reach.epochs; epoch += 1n) {
    whole = whole.flatMap((before) =>
      inEpoch.map((now) =>
        reach.byEpoch ? [...before, ...now] : before.map((sum, cell) => sum + (now[cell] ?? 0)),
      ),
    );
  }
  const nothing = whole.filter((sums) => sums.every((sum) => sum === 0)).slice(0, 1);
  let [l1, l2Squared] = [0, 0];
  for (const one of whole) {
    for (const other of reach.neighbours === 'replace' ? whole : nothing) {
      const changes = one.map((sum, cell) => sum - (other[cell] ?? 0));
      l1 = Math.max(
        l1,
        changes.reduce((total, change) => total + Math.abs(change), 0),
      );
      l2Squared = Math.max(
        l2Squared,
        changes.reduce((total, change) => total + change * change, 0),
      );
    }
  }
  return { l1: BigInt(l1), l2Squared: BigInt(l2Squared) };
}

describe('sensitivity', () => {
  /** Guarantees both norms are what trying every contribution of every neighbour finds, neither less nor more. */
  test.each([
    [0, 5],
    [1, 1],
    [-3, 4],
    [-5, 2],
    [-4, -1],
    [2, 7],
  ])('of rows from %s to %s', (least, most) => {
    const values = [...new Set([least, most, Math.trunc((least + most) / 2)])];
    const counts = [1n, 2n];
    const reaches: Reach[] = neighbours.flatMap((relation) =>
      [false, true].flatMap((byEpoch) =>
        counts.flatMap((epochs) =>
          counts.flatMap((cells) =>
            counts.map((rows) => ({ neighbours: relation, byEpoch, epochs, cells, rows })),
          ),
        ),
      ),
    );
    for (const reach of reaches) {
      const found = sensitivityOf({ least: BigInt(least), most: BigInt(most) }, reach);
      expect(found, Object.values(reach).join()).toEqual(tried(values, reach));
    }
  });

  /** Guarantees what is no reach is refused. */
  test('refuses nothing as a bound', () => {
    const reach: Reach = { neighbours: 'replace', rows: 1n, epochs: 1n, byEpoch: false, cells: 1n };
    for (const none of [{ rows: 0n }, { epochs: 0n }, { cells: 0n }])
      expect(() => sensitivityOf({ least: 0n, most: 1n }, { ...reach, ...none })).toThrow(RangeError);
  });
});

describe('the range of what a row adds', () => {
  /** Guarantees it is what trying every value finds, for every polynomial of the second degree. */
  test('against trying', () => {
    const small = fc.integer({ min: -30, max: 30 });
    fc.assert(
      fc.property(small, small, small, small, fc.nat(60), (constant, linear, square, least, width) => {
        const all = Array.from({ length: width + 1 }, (_, index) => {
          const value = least + index;
          return constant + linear * value + square * value * value;
        });
        expect(
          rangeOf(
            { constant: BigInt(constant), linear: BigInt(linear), square: BigInt(square) },
            { least: BigInt(least), most: BigInt(least + width) },
          ),
        ).toEqual({ least: BigInt(Math.min(...all)), most: BigInt(Math.max(...all)) });
      }),
    );
    const twisted = { least: 1n, most: 0n };
    expect(() => rangeOf({ constant: 0n, linear: 1n, square: 0n }, twisted)).toThrow(RangeError);
  });
});
