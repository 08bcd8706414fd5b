import type { Noise } from './accounting.ts';
import type { Rational } from './rational.ts';

/** An interval, with what was answered in it. */
export interface Interval {
  readonly from: number;
  readonly to: number;
}

/**
 * The noise lies within ± this with at least the probability `1 - outside`. For people: it decides nothing, and is
 * computed in floating point.
 * @param outside 1e-12 to 0.5
 */
export function marginOf(noise: Noise, outside: number): number {
  if (noise.kind === 'none') return 0;
  if (noise.kind === 'laplace') {
    // P(|Z| > m) = 2 r^(m+1) / (1 + r), with r = exp(-1 / scale).
    const rate = 1 / toNumber(noise.scale);
    const margin = Math.log(2 / ((1 + Math.exp(-rate)) * outside)) / rate - 1;
    return Math.max(0, Math.ceil(margin));
  }
  // P(Z ≥ m) ≤ P(N(0, σ²) ≥ m - 1): Canonne, Kamath, Steinke, 2020, on its tails.
  return Math.ceil(normalQuantile(outside / 2) * Math.sqrt(toNumber(noise.variance))) + 1;
}

/** What a normal deviate exceeds with the probability `tail`. @param tail above 0, at most 0.5 */
export function normalQuantile(tail: number): number {
  let low = 0;
  let high = 40;
  while (high - low > 1e-9) {
    const middle = (low + high) / 2;
    if (normalTail(middle) > tail) low = middle;
    else high = middle;
  }
  return high;
}

/** Abramowitz, Stegun, 1964, 26.2.14: the continued fraction of Mills' ratio; below 2 the series 26.2.11. */
function normalTail(x: number): number {
  const density = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  if (x >= 2) {
    let fraction = x;
    for (let term = 120; term >= 1; term -= 1) fraction = x + term / fraction;
    return density / fraction;
  }
  let power = x;
  let sum = x;
  for (let term = 1; term < 60; term += 1) {
    power *= (x * x) / (2 * term + 1);
    sum += power;
  }
  return 0.5 - density * sum;
}

export function toNumber({ numerator, denominator }: Rational): number {
  const shift = Math.max(0, numerator.toString(2).length - denominator.toString(2).length - 64);
  const scaled = ((numerator << 80n) >> BigInt(shift)) / denominator;
  return (Number(scaled) / 2 ** 80) * 2 ** shift;
}

export function around(value: number, margin: number): Interval {
  return { from: value - margin, to: value + margin };
}

/** Of a quotient whose parts lie in these intervals; unbounded where the divisor may be 0. */
export function quotient(dividend: Interval, divisor: Interval): Interval {
  if (divisor.from <= 0) return { from: Number.NEGATIVE_INFINITY, to: Number.POSITIVE_INFINITY };
  const ends = [
    ...[dividend.from / divisor.from, dividend.from / divisor.to],
    ...[dividend.to / divisor.from, dividend.to / divisor.to],
  ];
  return { from: Math.min(...ends), to: Math.max(...ends) };
}

/** Of x², for an x in the interval. */
export function square({ from, to }: Interval): Interval {
  const ends = [from * from, to * to];
  return { from: from <= 0 && to >= 0 ? 0 : Math.min(...ends), to: Math.max(...ends) };
}

export function minus(one: Interval, other: Interval): Interval {
  return { from: one.from - other.to, to: one.to - other.from };
}
