import { expect, test } from 'vitest';
import { seededRandom, shuffled, uniform, zipf } from '../../bench/support/sampling.ts';

const draws = 200_000;

function counts(size: number, pick: () => number): number[] {
  const found = Array.from({ length: size }, () => 0);
  for (let draw = 0; draw < draws; draw += 1) {
    const index = pick();
    found[index] = (found[index] ?? 0) + 1;
  }
  // One that is out of bounds made it longer.
  expect(found).toHaveLength(size);
  return found;
}

/** Guarantees that keys are asked for as often as Zipf's law with exponent 1 says, or equally often. */
test('follows its laws', () => {
  const size = 50;
  const harmonic = Array.from({ length: size }, (_, rank) => 1 / (rank + 1)).reduce((a, b) => a + b);
  for (const [rank, count] of counts(size, zipf(size, seededRandom(7))).entries()) {
    const expected = draws / harmonic / (rank + 1);
    // Six standard deviations; the seed is fixed.
    expect(Math.abs(count - expected)).toBeLessThan(6 * Math.sqrt(expected));
  }
  for (const count of counts(size, uniform(size, seededRandom(7)))) {
    expect(Math.abs(count - draws / size)).toBeLessThan(6 * Math.sqrt(draws / size));
  }
});

/** Guarantees that two runs ask for the same, and that no key is lost when their order is mixed. */
test('repeats itself', () => {
  const first = zipf(1_000, seededRandom(1));
  const again = zipf(1_000, seededRandom(1));
  const sequence = Array.from({ length: 100 }, first);
  expect(Array.from({ length: 100 }, again)).toEqual(sequence);
  const items = Array.from({ length: 100 }, (_, index) => index);
  const mixed = shuffled(items, seededRandom(1));
  expect(mixed).not.toEqual(items);
  expect(mixed.toSorted((a, b) => a - b)).toEqual(items);
});
