import { describe, expect, test } from 'vitest';
import { normalQuantile } from '../../../src/crypto/privacy/error-bars.ts';
import { createNoiseStream } from '../../../src/crypto/privacy/noise-stream.ts';
import { floorSquareRoot, type Rational, rationalOf } from '../../../src/crypto/privacy/rational.ts';
import { bernoulliExp, discreteGaussian, discreteLaplace } from '../../../src/crypto/privacy/samplers.ts';
import { createUniform } from '../../../src/crypto/privacy/uniform.ts';
import { chiSquare, seeded, tally } from './support.ts';

const samples = process.env['STATHERA_TEST_SCALE'] === 'nightly' ? 2_000_000 : 60_000;
const name = ({ numerator, denominator }: Rational) => `${numerator}/${denominator}`;
const toNumber = ({ numerator, denominator }: Rational) => Number(numerator) / Number(denominator);

/** Each integer's weight over the sum of all. */
function distribution(weight: (value: number) => number, furthest: number): Map<number, number> {
  const values = Array.from({ length: 2 * furthest + 1 }, (_, index) => index - furthest);
  const sum = values.reduce((total, value) => total + weight(value), 0);
  return new Map(values.map((value) => [value, weight(value) / sum]));
}

describe('uniform numbers', () => {
  /** Guarantees numbers stay below their limit and fall into each sixteenth of it equally often. */
  test.each([
    1n,
    2n,
    3n,
    255n,
    256n,
    257n,
    2n ** 32n,
    2n ** 32n + 1n,
    2n ** 48n - 1n,
    2n ** 48n + 1n,
    10n ** 30n,
  ])('below %s', (limit) => {
    const uniform = seeded(`below ${limit}`);
    const parts = limit < 16n ? limit : 16n;
    const counts = tally(8_000, () => {
      const value = uniform.below(limit);
      expect(value >= 0n && value < limit).toBe(true);
      return (value * parts) / limit;
    });
    // Integers are in the first part whose beginning they reach.
    const begin = (part: bigint) => (part * limit + parts - 1n) / parts;
    const probability = new Map(
      Array.from({ length: Number(parts) }, (_, part) => [
        part,
        Number(((begin(BigInt(part) + 1n) - begin(BigInt(part))) * 10n ** 15n) / limit) / 1e15,
      ]),
    );
    if (limit === 1n) return expect([...counts]).toEqual([[0, 8_000]]);
    const { statistic, bound } = chiSquare(counts, probability);
    expect(statistic).toBeLessThan(bound);
  });

  /** Guarantees what cannot be a limit or a probability is refused. */
  test('refuses other bounds', () => {
    const uniform = seeded('bounds');
    expect(() => uniform.below(0n)).toThrow(RangeError);
    expect(() => uniform.bernoulli(3n, 2n)).toThrow(RangeError);
    expect(() => uniform.bernoulli(-1n, 2n)).toThrow(RangeError);
    expect(() => bernoulliExp(uniform, -1n, 1n)).toThrow(RangeError);
    expect(() => discreteLaplace(uniform, { numerator: 0n, denominator: 1n })).toThrow(RangeError);
    expect(() => discreteGaussian(uniform, { numerator: 1n, denominator: 0n })).toThrow(RangeError);
  });

  /** Guarantees no byte is used twice: numbers that take a byte each are the stream itself, over several fillings. */
  test('uses each byte once', () => {
    let next = 0;
    const counting = createUniform((target) => {
      for (let at = 0; at < target.length; at += 1) target[at] = next++;
    });
    const drawn = Array.from({ length: 10_000 }, () => Number(counting.below(256n)));
    expect(drawn).toEqual(drawn.map((_, index) => index % 256));
  });
});

describe('exp(-x)', () => {
  /** Guarantees an event of probability exp(-x) happens so often, for x below, at and above 1. */
  test.each<Rational>([
    { numerator: 0n, denominator: 1n },
    { numerator: 1n, denominator: 3n },
    { numerator: 1n, denominator: 1n },
    { numerator: 5n, denominator: 2n },
  ])('x = $numerator/$denominator', (x) => {
    const uniform = seeded(`exp ${name(x)}`);
    const p = Math.exp(-toNumber(x));
    const counts = tally(samples, () => (bernoulliExp(uniform, x.numerator, x.denominator) ? 1n : 0n));
    if (p === 1) return expect(counts.get(0) ?? 0).toBe(0);
    const { statistic, bound } = chiSquare(
      counts,
      new Map([
        [0, 1 - p],
        [1, p],
      ]),
    );
    expect(statistic).toBeLessThan(bound);
  });
});

describe('discrete Laplace', () => {
  /** Guarantees the noise has the exact distribution, for scales below and above 1 and between integers. */
  test.each<Rational>([
    { numerator: 1n, denominator: 3n },
    { numerator: 5n, denominator: 2n },
    { numerator: 40n, denominator: 1n },
  ])('scale $numerator/$denominator', (scale) => {
    const uniform = seeded(`laplace ${name(scale)}`);
    const width = toNumber(scale);
    const counts = tally(samples, () => discreteLaplace(uniform, scale));
    const exact = distribution((value) => Math.exp(-Math.abs(value) / width), Math.ceil(60 * width));
    const { statistic, bound } = chiSquare(counts, exact);
    expect(statistic).toBeLessThan(bound);
  });
});

describe('discrete Gaussian', () => {
  /** Guarantees the noise has the exact distribution, for variances below and above 1 and between integers. */
  test.each<Rational>([
    { numerator: 1n, denominator: 3n },
    { numerator: 1n, denominator: 1n },
    { numerator: 45n, denominator: 7n },
    { numerator: 2_500n, denominator: 1n },
  ])('variance $numerator/$denominator', (variance) => {
    const uniform = seeded(`gaussian ${name(variance)}`);
    const sigmaSquared = toNumber(variance);
    const counts = tally(samples, () => discreteGaussian(uniform, variance));
    const exact = distribution(
      (value) => Math.exp(-(value * value) / (2 * sigmaSquared)),
      Math.ceil(12 * Math.sqrt(sigmaSquared)) + 12,
    );
    const { statistic, bound } = chiSquare(counts, exact);
    expect(statistic).toBeLessThan(bound);
  });

  /** Guarantees noise for large sums, beyond what a double holds exactly, falls into a normal's parts equally often. */
  test('a deviation of 10^20', () => {
    const uniform = seeded('gaussian 10^20');
    const sigma = 10n ** 20n;
    const edges = Array.from({ length: 7 }, (_, index) => normalQuantile((index + 1) / 16)).toReversed();
    const counts = tally(samples / 2, () => {
      const value = discreteGaussian(uniform, { numerator: sigma * sigma, denominator: 1n });
      const deviations = Number(value) / Number(sigma);
      const part = edges.filter((edge) => Math.abs(deviations) >= edge).length;
      return BigInt(deviations < 0 ? 7 - part : 8 + part);
    });
    const { statistic, bound } = chiSquare(
      counts,
      new Map(Array.from({ length: 16 }, (_, index) => [index, 1 / 16])),
    );
    expect(statistic).toBeLessThan(bound);
  });
});

describe('the test of distributions', () => {
  /** Guarantees the test tells a distribution apart from one whose scale differs by a twentieth. */
  test('finds a wrong scale', () => {
    const uniform = seeded('wrong scale');
    const counts = tally(samples, () => discreteLaplace(uniform, { numerator: 21n, denominator: 2n }));
    const { statistic, bound } = chiSquare(
      counts,
      distribution((value) => Math.exp(-Math.abs(value) / 10), 600),
    );
    expect(statistic).toBeGreaterThan(bound);
  });
});

describe('seeds', () => {
  /** Guarantees one seed gives the same noise again, another gives other noise, and an ended stream gives none. */
  test('decide the noise', () => {
    const draw = (seed: Uint8Array) => {
      const uniform = createUniform(createNoiseStream(seed).fill);
      return Array.from({ length: 20 }, () =>
        discreteGaussian(uniform, { numerator: 10n ** 12n, denominator: 1n }),
      );
    };
    const seed = new Uint8Array(32).fill(7);
    const other = new Uint8Array(32).fill(7);
    other[31] = 8;
    expect(draw(seed)).toEqual(draw(seed));
    expect(draw(other)).not.toEqual(draw(seed));
    const stream = createNoiseStream(seed);
    stream.end();
    expect(() => stream.fill(new Uint8Array(1))).toThrow();
    expect(() => createNoiseStream(new Uint8Array(31))).toThrow(RangeError);
  });
});

describe('integers', () => {
  /** Guarantees roots are the largest whose square is not above the value, also around squares. */
  test('roots', () => {
    for (let root = 1n; root < 10n ** 40n; root *= 7n) {
      expect(floorSquareRoot(root * root)).toBe(root);
      expect(floorSquareRoot(root * root - 1n)).toBe(root - 1n);
      expect(floorSquareRoot(root * root + 2n * root)).toBe(root);
    }
    expect(() => floorSquareRoot(-1n)).toThrow(RangeError);
  });

  /** Guarantees a number stands for its decimal form and not for the double beside it. */
  test('decimals', () => {
    const exactly = (value: number) => {
      const { numerator, denominator } = rationalOf(value);
      return numerator * 10n ** 40n === BigInt(Math.round(value * 10 ** 7)) * 10n ** 33n * denominator;
    };
    for (const value of [0, 0.1, 1, 1.25, 100, 0.0000001, 1e-7, 12.5e3]) expect(exactly(value)).toBe(true);
    expect(rationalOf(1e21)).toEqual({ numerator: 10n ** 21n, denominator: 1n });
    for (const value of [-1, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => rationalOf(value)).toThrow(RangeError);
  });
});
