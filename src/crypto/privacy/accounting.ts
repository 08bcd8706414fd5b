/**
 * What answers cost, and what a budget allows. A budget with δ = 0 counts ε, and answers carry discrete Laplace noise;
 * one with δ > 0 counts ρ of zero-concentrated differential privacy, and answers carry discrete Gaussian noise. All of
 * it is arithmetic on integers; where something is irrational it is rounded to the side of privacy.
 *
 * 1. Discrete Laplace noise of scale Δ₁/ε makes an answer with L1 sensitivity Δ₁ ε-private. (Ghosh, Roughgarden,
 *    Sundararajan, 2009; Canonne, Kamath, Steinke, 2020)
 * 2. Discrete Gaussian noise of parameter σ² on each of its numbers makes an answer with L2 sensitivity Δ₂
 *    Δ₂²/2σ²-zCDP. (Canonne, Kamath, Steinke, 2020, Theorems 4 and 14)
 * 3. ρ₁-zCDP and ρ₂-zCDP compose to (ρ₁ + ρ₂)-zCDP. (Bun, Steinke, 2016, Lemma 1.7) That holds too where an answer and
 *    its cost are chosen in view of the answers before, as long as the sum of the costs stays within a bound fixed
 *    before the first. (Feldman, Zrnic, 2021; for ε: Rogers, Roth, Ullman, Vadhan, 2016)
 * 4. ρ-zCDP is (ρ + 2√(ρ ln(1/δ)), δ)-private for every δ > 0. (Bun, Steinke, 2016, Proposition 1.3)
 */
import { fixedDown, fixedUp, logarithmUp, one, rootDown, rootUp } from './fixed-point.ts';
import { ceilDivide, type Rational, rationalOf } from './rational.ts';

/** Costs and budgets are integers: 10^-12 of ε, or of ρ. */
export const unitsPerOne = 10n ** 12n;

/** How far one contributor can move an answer: over all its numbers. */
export interface Sensitivity {
  /** The sum of the absolute changes. */
  readonly l1: bigint;
  /** The sum of the squared changes. */
  readonly l2Squared: bigint;
}

export interface Accountant {
  /** What is counted. */
  readonly unit: 'epsilon' | 'rho';
  /**
   * The most units that are (ε, δ)-private, alone: a budget, and the cost of an answer.
   * @param epsilon above 0, at most 1,000
   */
  unitsOf(epsilon: number): bigint;
  /** The least ε that so many units are (ε, δ)-private for, rounded up to 12 decimals. */
  epsilonOf(units: bigint): Rational;
  /** The noise that makes an answer of that sensitivity cost `units`. @param units at least 1 */
  noiseOf(sensitivity: Sensitivity, units: bigint): Noise;
}

export type Noise =
  /** None: nothing that a contributor does moves the answer. */
  | { readonly kind: 'none' }
  | { readonly kind: 'laplace'; readonly scale: Rational }
  | { readonly kind: 'gaussian'; readonly variance: Rational };

const accountingLimits = { epsilon: 1_000, smallestDelta: 1e-30 } as const;

/** @param delta 0, or from 1e-30 to below 1 */
export function createAccountant(delta: number): Accountant {
  if (delta === 0) return laplaceAccountant;
  if (!(delta >= accountingLimits.smallestDelta && delta < 1))
    throw new RangeError('delta: 0, or 1e-30 to below 1');
  const { numerator, denominator } = rationalOf(delta);
  // Too large a logarithm makes every answer dearer and every budget smaller.
  return gaussianAccountant(logarithmUp({ numerator: denominator, denominator: numerator }));
}

function checkedEpsilon(epsilon: number): Rational {
  if (!(epsilon > 0 && epsilon <= accountingLimits.epsilon)) {
    throw new RangeError('epsilon: above 0, at most 1,000');
  }
  return rationalOf(epsilon);
}

function checkedUnits(units: bigint): bigint {
  if (units < 1n) throw new RangeError('units: at least 1');
  return units;
}

const laplaceAccountant: Accountant = {
  unit: 'epsilon',
  unitsOf(epsilon) {
    const { numerator, denominator } = checkedEpsilon(epsilon);
    return (numerator * unitsPerOne) / denominator;
  },
  epsilonOf: (units) => ({ numerator: units, denominator: unitsPerOne }),
  noiseOf({ l1 }, units) {
    if (l1 === 0n) return { kind: 'none' };
    return {
      kind: 'laplace',
      scale: { numerator: l1 * unitsPerOne, denominator: checkedUnits(units) },
    };
  },
};

/** @param log ln(1/δ), rounded up */
function gaussianAccountant(log: bigint): Accountant {
  return {
    unit: 'rho',
    // √ρ = √(ln(1/δ) + ε) - √ln(1/δ) solves ρ + 2√(ρ ln(1/δ)) = ε, and falls as the logarithm grows.
    unitsOf(epsilon) {
      const root = rootDown(log + fixedDown(checkedEpsilon(epsilon))) - rootUp(log);
      return root <= 0n ? 0n : (root * root * unitsPerOne) / (one * one);
    },
    epsilonOf(units) {
      const rho = fixedUp({ numerator: units, denominator: unitsPerOne });
      const epsilon = units === 0n ? 0n : rho + 2n * rootUp(ceilDivide(rho * log, one));
      return { numerator: ceilDivide(epsilon * unitsPerOne, one), denominator: unitsPerOne };
    },
    noiseOf({ l2Squared }, units) {
      if (l2Squared === 0n) return { kind: 'none' };
      return {
        kind: 'gaussian',
        variance: { numerator: l2Squared * unitsPerOne, denominator: 2n * checkedUnits(units) },
      };
    },
  };
}
