/** Logarithms and roots as integers in units of 2^-128, with the direction of each rounding known. */
import { ceilDivide, floorSquareRoot, type Rational } from './rational.ts';

const bits = 128n;
export const one = 1n << bits;

/** Not below the value: for what makes an answer cost more when it is larger. */
export const fixedUp = ({ numerator, denominator }: Rational) => ceilDivide(numerator << bits, denominator);

/** Not above the value. */
export const fixedDown = ({ numerator, denominator }: Rational) => (numerator << bits) / denominator;

/** √`value`, not above it. */
export const rootDown = (value: bigint) => floorSquareRoot(value << bits);

/** √`value`, not below it. */
export const rootUp = (value: bigint) => floorSquareRoot(value << bits) + 1n;

/**
 * The natural logarithm, not below it and at most (k + 1) 2^-118 above, where 2^k is the largest power of two that is
 * not above `value`.
 * @param value at least 1
 */
export function logarithmUp({ numerator, denominator }: Rational): bigint {
  if (denominator < 1n || numerator < denominator) throw new RangeError('value: at least 1');
  let power = BigInt((numerator / denominator).toString(2).length - 1);
  // Of a value from 1 to 2.
  const rest = logarithmDown(numerator, denominator << power);
  const two = power === 0n ? 0n : logarithmDown(2n, 1n);
  const sum = rest + power * two;
  // Each of the power + 1 logarithms was rounded down by less than `slack`.
  power += 1n;
  return sum + power * slack;
}

/**
 * ln m = 2 (y + y³/3 + y⁵/5 + …) with y = (m - 1) / (m + 1). For m of 1 to 2, y is at most 1/3: after 60 terms what
 * is left is below 2^-180. Each of the terms loses less than 8 units to rounding: y one, its powers under two, the
 * quotients one, and the factor 2 doubles them. So all of it is below 2^10 units.
 */
function logarithmDown(numerator: bigint, denominator: bigint): bigint {
  const y = ((numerator - denominator) << bits) / (numerator + denominator);
  const square = (y * y) >> bits;
  let power = y;
  let sum = 0n;
  for (let term = 1n; term < 120n; term += 2n) {
    sum += power / term;
    power = (power * square) >> bits;
  }
  return 2n * sum;
}

const slack = 1n << 10n;
