import { createHash } from 'node:crypto';
import { createNoiseStream } from '../../../src/crypto/privacy/noise-stream.ts';
import { createUniform, type Uniform } from '../../../src/crypto/privacy/uniform.ts';

/** The same numbers in every run: what a test finds of them it finds always. */
export function seeded(name: string): Uniform {
  return createUniform(createNoiseStream(createHash('sha256').update(name).digest()).fill);
}

/** Of 1e-6, one-sided. */
const deviation = 4.753;

/**
 * Pearson's statistic against the bound that it exceeds with the probability 1e-6 when the counts are of those
 * probabilities (Wilson, Hilferty, 1931). Cells that expect fewer than 20 are put together.
 */
export function chiSquare(
  counts: ReadonlyMap<number, number>,
  probability: ReadonlyMap<number, number>,
): { readonly statistic: number; readonly bound: number } {
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  let statistic = 0;
  let cells = 0;
  let restObserved = total;
  let restExpected = total;
  for (const [value, p] of probability) {
    const expected = p * total;
    if (expected < 20) continue;
    const observed = counts.get(value) ?? 0;
    statistic += (observed - expected) ** 2 / expected;
    cells += 1;
    restObserved -= observed;
    restExpected -= expected;
  }
  if (restExpected >= 20) {
    statistic += (restObserved - restExpected) ** 2 / restExpected;
    cells += 1;
  }
  const freedom = cells - 1;
  const bound = freedom * (1 - 2 / (9 * freedom) + deviation * Math.sqrt(2 / (9 * freedom))) ** 3;
  return { statistic, bound };
}

export function tally(count: number, draw: () => bigint): Map<number, number> {
  const counts = new Map<number, number>();
  for (let index = 0; index < count; index += 1) {
    const value = Number(draw());
    counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  return counts;
}
