/** A fraction, not necessarily reduced. */
export interface Rational {
  readonly numerator: bigint;
  /** At least 1. */
  readonly denominator: bigint;
}

/** The largest integer whose square is at most `value`. @param value at least 0 */
export function floorSquareRoot(value: bigint): bigint {
  if (value < 0n) throw new RangeError('value: at least 0');
  if (value < 2n) return value;
  // Newton's iteration from above: the first step that does not go down has ended at the root.
  let root = 1n << BigInt(Math.ceil(value.toString(2).length / 2));
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

export function ceilDivide(numerator: bigint, denominator: bigint): bigint {
  return (numerator + denominator - 1n) / denominator;
}

const decimal = /^(\d+)(?:\.(\d+))?(?:e([+-]?\d{1,3}))?$/;

/**
 * What a number's shortest decimal form says, exactly: 0.1 is one tenth, not the double beside it.
 * @param value finite, at least 0
 */
export function rationalOf(value: number): Rational {
  const [, whole, fraction = '', exponent = '0'] = decimal.exec(String(value)) ?? [];
  if (whole === undefined) throw new RangeError('value: a number of at least 0');
  const digits = BigInt(whole + fraction);
  const scale = Number(exponent) - fraction.length;
  const power = 10n ** BigInt(Math.abs(scale));
  return scale >= 0
    ? { numerator: digits * power, denominator: 1n }
    : { numerator: digits, denominator: power };
}
