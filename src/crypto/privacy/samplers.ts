/**
 * Exact samplers of integer noise: Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy"
 * (NeurIPS 2020), Algorithms 1 to 3. All arithmetic is on integers, so no rounding of floating point can be told from
 * the answers (Mironov, CCS 2012). How long a sampler takes depends on what it draws (Jin, McMurtry, Rubinstein,
 * Ohrimenko, arXiv 2112.05307): let nobody see when it ended.
 */
import { floorSquareRoot, type Rational } from './rational.ts';
import type { Uniform } from './uniform.ts';

/** True with probability exp(-`numerator` / `denominator`): Algorithm 1. */
export function bernoulliExp(uniform: Uniform, numerator: bigint, denominator: bigint): boolean {
  if (numerator < 0n || denominator < 1n) throw new RangeError('an exponent is at most 0');
  let left = numerator;
  for (; left > denominator; left -= denominator) if (!bernoulliExpSmall(uniform, 1n, 1n)) return false;
  return bernoulliExpSmall(uniform, left, denominator);
}

/** For exponents of -1 to 0: the parity of the first of ever rarer events that does not happen. */
function bernoulliExpSmall(uniform: Uniform, numerator: bigint, denominator: bigint): boolean {
  let count = 1n;
  while (uniform.bernoulli(numerator, denominator * count)) count += 1n;
  return (count & 1n) === 1n;
}

/**
 * An integer z with probability proportional to exp(-|z| / scale): Algorithm 2.
 * @param scale above 0. With sensitivity Δ (in the sum of absolute changes) and scale Δ/ε the answer is ε-private
 */
export function discreteLaplace(uniform: Uniform, { numerator, denominator }: Rational): bigint {
  if (numerator < 1n || denominator < 1n) throw new RangeError('scale: above 0');
  for (;;) {
    const low = uniform.below(numerator);
    if (!bernoulliExp(uniform, low, numerator)) continue;
    let high = 0n;
    while (bernoulliExpSmall(uniform, 1n, 1n)) high += 1n;
    const magnitude = (low + numerator * high) / denominator;
    const negative = uniform.coin();
    // Zero has one sign.
    if (negative && magnitude === 0n) continue;
    return negative ? -magnitude : magnitude;
  }
}

/**
 * An integer z with probability proportional to exp(-z² / 2σ²): Algorithm 3.
 * @param variance σ², above 0; the variance of the noise is at most that
 */
export function discreteGaussian(uniform: Uniform, { numerator, denominator }: Rational): bigint {
  if (numerator < 1n || denominator < 1n) throw new RangeError('variance: above 0');
  const scale = floorSquareRoot(numerator / denominator) + 1n;
  const scaleDenominator = denominator * scale;
  // (|z| - σ²/t)² / 2σ², over one denominator.
  const exponentDenominator = 2n * numerator * denominator * scale * scale;
  for (;;) {
    const drawn = discreteLaplace(uniform, { numerator: scale, denominator: 1n });
    const distance = (drawn < 0n ? -drawn : drawn) * scaleDenominator - numerator;
    if (bernoulliExp(uniform, distance * distance, exponentDenominator)) return drawn;
  }
}
