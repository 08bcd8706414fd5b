import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createAccountant, type Noise, unitsPerOne } from '../../../src/crypto/privacy/accounting.ts';
import {
  around,
  marginOf,
  minus,
  normalQuantile,
  quotient,
  square,
  toNumber,
} from '../../../src/crypto/privacy/error-bars.ts';
import { fixedDown, logarithmUp, one } from '../../../src/crypto/privacy/fixed-point.ts';

const units = (value: number) => Math.round(value * Number(unitsPerOne));
const sensitivity = (l1: bigint) => ({ l1, l2Squared: l1 * l1 });

/** Weights of the integers around zero, over their sum; far enough that nothing is lost. */
function probabilities(noise: Noise): { readonly furthest: number; at(value: number): number } {
  if (noise.kind === 'none') throw new Error('no noise');
  const weight =
    noise.kind === 'laplace'
      ? (value: number) => Math.exp(-Math.abs(value) / toNumber(noise.scale))
      : (value: number) => Math.exp(-(value * value) / (2 * toNumber(noise.variance)));
  const furthest =
    noise.kind === 'laplace'
      ? Math.ceil(60 * toNumber(noise.scale)) + 60
      : Math.ceil(14 * Math.sqrt(toNumber(noise.variance))) + 14;
  let sum = 0;
  for (let value = -furthest; value <= furthest; value += 1) sum += weight(value);
  return { furthest, at: (value) => weight(value) / sum };
}

/** The least δ for which noise is (ε, δ)-private where one contributor moves the answer by `shift`: from the definition. */
function deltaOf(noise: Noise, shift: number, epsilon: number): number {
  const { furthest, at } = probabilities(noise);
  let delta = 0;
  for (let value = -furthest; value <= furthest + shift; value += 1) {
    delta += Math.max(0, at(value) - Math.exp(epsilon) * at(value - shift));
  }
  return delta;
}

describe('budgets of ε', () => {
  const accountant = createAccountant(0);

  /** Guarantees ε is counted exactly: ten tenths are one, which sums of doubles are not. */
  test('compose by addition', () => {
    expect(accountant.unit).toBe('epsilon');
    const tenth = accountant.unitsOf(0.1);
    expect(10n * tenth).toBe(accountant.unitsOf(1));
    expect(accountant.epsilonOf(10n * tenth)).toEqual({ numerator: unitsPerOne, denominator: unitsPerOne });
  });

  /** Guarantees what a sensitivity of %s gives away is ε, from the definition: δ is nothing, and ε is not wasted. */
  test.each([
    [1n, 1],
    [3n, 0.5],
    [7n, 0.1],
  ])('sensitivity %s at ε = %s', (l1, epsilon) => {
    const noise = accountant.noiseOf(sensitivity(l1), accountant.unitsOf(epsilon));
    expect(noise.kind).toBe('laplace');
    expect(deltaOf(noise, Number(l1), epsilon * (1 + 1e-12))).toBeLessThan(1e-12);
    expect(deltaOf(noise, Number(l1), epsilon * 0.98)).toBeGreaterThan(1e-6);
  });
});

describe('budgets of (ε, δ)', () => {
  /**
   * Guarantees ρ of an ε against a computation by hand. ln(10^6) = 13.815510557964; √13.815510557964 = 3.716922188850,
   * √14.815510557964 = 3.849092173223, their difference 0.132169984373, its square 0.017468904769.
   */
  test('one answer, by hand', () => {
    const accountant = createAccountant(1e-6);
    expect(accountant.unit).toBe('rho');
    expect(Math.abs(Number(accountant.unitsOf(1)) - units(0.017_468_904_769))).toBeLessThan(units(1e-11));
  });

  /**
   * Guarantees a composition against a computation by hand: 25 answers of ρ = 0.0004 and one of ρ = 0.005 are
   * ρ = 0.015, which at δ = 10^-5 (ln 10^5 = 11.512925464970) is 0.015 + 2 √(0.015 · 11.512925464970) = 0.846129068135
   */
  test('many answers, by hand', () => {
    const accountant = createAccountant(1e-5);
    const spent = 25n * BigInt(units(0.0004)) + BigInt(units(0.005));
    expect(toNumber(accountant.epsilonOf(spent))).toBeCloseTo(0.846_129_068_135, 11);
  });

  /** Guarantees rounding is to the side of privacy: what a budget allows never adds up to more than its ε. */
  test('never more than was allowed', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 1e-4, max: 1_000, noNaN: true }),
        fc.double({ min: 1, max: 30, noNaN: true }).map((power) => 10 ** -power),
        (epsilon, delta) => {
          const accountant = createAccountant(delta);
          const allowed = accountant.unitsOf(epsilon);
          // What is shown is rounded up to 12 decimals.
          expect(toNumber(accountant.epsilonOf(allowed))).toBeLessThanOrEqual(epsilon + 1.001e-12);
          // And no more is given away than the smallest unit.
          expect(toNumber(accountant.epsilonOf(allowed + 2n))).toBeGreaterThan(epsilon);
        },
      ),
    );
  });

  /** Guarantees noise of a sensitivity and ε is (ε, δ)-private from the definition, summed over all answers. */
  test.each([
    [1n, 1, 1e-6],
    [2n, 0.3, 1e-5],
    [5n, 4, 1e-9],
  ])('sensitivity %s at ε = %s, δ = %s', (l1, epsilon, delta) => {
    const accountant = createAccountant(delta);
    const noise = accountant.noiseOf(sensitivity(l1), accountant.unitsOf(epsilon));
    expect(noise.kind).toBe('gaussian');
    expect(deltaOf(noise, Number(l1), epsilon)).toBeLessThanOrEqual(delta);
  });

  /** Guarantees ten answers bought one after the other with a tenth of ρ each are (ε, δ)-private together. */
  test('a composition from the definition', () => {
    const delta = 1e-5;
    const accountant = createAccountant(delta);
    const budget = accountant.unitsOf(1);
    const each = accountant.noiseOf(sensitivity(1n), budget / 10n);
    if (each.kind !== 'gaussian') throw new Error('another noise');
    // Ten numbers moved by 1 under noise of variance v are one number moved by 1 under v / 10.
    const { numerator, denominator } = each.variance;
    const together: Noise = { kind: 'gaussian', variance: { numerator, denominator: denominator * 10n } };
    expect(deltaOf(together, 1, 1)).toBeLessThanOrEqual(delta);
  });
});

describe('bad input', () => {
  /** Guarantees parameters outside their bounds are refused, and an answer that nobody moves has no noise. */
  test('is refused', () => {
    for (const delta of [-1e-9, 1, 1e-31, Number.NaN])
      expect(() => createAccountant(delta)).toThrow(RangeError);
    for (const delta of [0, 1e-6]) {
      const accountant = createAccountant(delta);
      for (const epsilon of [0, -1, 1_001, Number.NaN])
        expect(() => accountant.unitsOf(epsilon)).toThrow(RangeError);
      expect(() => accountant.noiseOf(sensitivity(1n), 0n)).toThrow(RangeError);
      expect(accountant.noiseOf(sensitivity(0n), 1n)).toEqual({ kind: 'none' });
      expect(toNumber(accountant.epsilonOf(0n))).toBe(0);
    }
  });
});

describe('logarithms', () => {
  /** Guarantees they are never below the value and above it by far less than is counted, against doubles. */
  test('are rounded up', () => {
    for (const value of [1, 1.5, 2, 3, 1e3, 1e6, 123_456_789, 1e15]) {
      const found = Number(logarithmUp({ numerator: BigInt(Math.round(value * 2)), denominator: 2n }) >> 75n);
      expect(found / 2 ** 53).toBeCloseTo(Math.log(value), 13);
    }
    // e from above and from below, to 30 places: its logarithm is 1, rounded up.
    const digits = 2_718_281_828_459_045_235_360_287_471_352n;
    const above = logarithmUp({ numerator: digits + 1n, denominator: 10n ** 30n });
    expect(above > one).toBe(true);
    expect(above - one < fixedDown({ numerator: 1n, denominator: 10n ** 29n })).toBe(true);
    expect(() => logarithmUp({ numerator: 1n, denominator: 2n })).toThrow(RangeError);
  });
});

describe('error bars', () => {
  /** Guarantees the noise is within the margin as often as is said, and a margin less by an eighth is too small. */
  test.each([
    [createAccountant(0), 1n],
    [createAccountant(0), 50n],
    [createAccountant(1e-6), 1n],
    [createAccountant(1e-6), 40n],
  ])('hold the noise: %#', (accountant, l1) => {
    const noise = accountant.noiseOf(sensitivity(l1), accountant.unitsOf(2));
    const { at } = probabilities(noise);
    const inside = (margin: number) => {
      let sum = 0;
      for (let value = -margin; value <= margin; value += 1) sum += at(value);
      return sum;
    };
    for (const outside of [0.5, 0.05, 1e-3]) {
      const margin = marginOf(noise, outside);
      expect(inside(margin)).toBeGreaterThanOrEqual(1 - outside);
      if (margin > 16) expect(inside(Math.floor((margin * 7) / 8))).toBeLessThan(1 - outside);
    }
  });

  /** Guarantees the normal's quantiles against published ones. */
  test('quantiles', () => {
    expect(normalQuantile(0.025)).toBeCloseTo(1.959_963_985, 8);
    expect(normalQuantile(0.1)).toBeCloseTo(1.281_551_566, 8);
    expect(normalQuantile(0.005)).toBeCloseTo(2.575_829_304, 8);
    expect(normalQuantile(1e-6)).toBeCloseTo(4.753_424_309, 8);
    expect(marginOf({ kind: 'none' }, 0.05)).toBe(0);
  });

  /** Guarantees intervals of what is computed hold every value that the parts in their intervals can give. */
  test('propagate', () => {
    // Thousandths: quotients of them are no infinities.
    const value = fc.integer({ min: -1e9, max: 1e9 }).map((thousandths) => thousandths / 1_000);
    const part = fc.record({ value, margin: fc.nat(1_000) });
    const at = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(part, part, at, at, (one, other, oneAt, otherAt) => {
        const [first, second] = [around(one.value, one.margin), around(other.value, other.margin)];
        const x = first.from + oneAt * (first.to - first.from);
        const y = second.from + otherAt * (second.to - second.from);
        const close = 1e-9 * (1 + x * x + y * y);
        const difference = minus(first, second);
        expect(x - y).toBeGreaterThanOrEqual(difference.from - close);
        expect(x - y).toBeLessThanOrEqual(difference.to + close);
        expect(x * x).toBeGreaterThanOrEqual(square(first).from - close);
        expect(x * x).toBeLessThanOrEqual(square(first).to + close);
        const ratio = quotient(first, second);
        if (second.from <= 0) {
          expect(ratio).toEqual({ from: Number.NEGATIVE_INFINITY, to: Number.POSITIVE_INFINITY });
          return;
        }
        const room = 1e-9 * (1 + Math.abs(x / y));
        expect(x / y).toBeGreaterThanOrEqual(ratio.from - room);
        expect(x / y).toBeLessThanOrEqual(ratio.to + room);
      }),
    );
  });
});
