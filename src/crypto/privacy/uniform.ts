/** Fills `target` with independent uniform bytes. */
export type RandomSource = (target: Uint8Array) => void;

/** Uniform numbers, exact: no remainder is favoured, no floating point is used. */
export interface Uniform {
  /** 0 to `limit` - 1. @param limit at least 1 */
  below(limit: bigint): bigint;
  /** True with probability `numerator` / `denominator`. @param numerator 0 to `denominator` */
  bernoulli(numerator: bigint, denominator: bigint): boolean;
  coin(): boolean;
}

const poolBytes = 4096;
const smallBits = 48;

/** Draws bytes from `source` 4,096 at a time; each is used once. */
export function createUniform(source: RandomSource): Uniform {
  const pool = new Uint8Array(poolBytes);
  let used = poolBytes;

  function byte(): number {
    if (used === poolBytes) {
      source(pool);
      used = 0;
    }
    const value = pool[used] ?? 0;
    pool[used] = 0;
    used += 1;
    return value;
  }

  function small(limit: number): number {
    const high = Math.floor((limit - 1) / 2 ** 32);
    const bits = high > 0 ? 64 - Math.clz32(high) : 32 - Math.clz32(limit - 1);
    for (;;) {
      let value = 0;
      let left = bits;
      for (; left >= 8; left -= 8) value = value * 256 + byte();
      if (left > 0) value = value * 2 ** left + (byte() >> (8 - left));
      if (value < limit) return value;
    }
  }

  function large(limit: bigint): bigint {
    const bits = (limit - 1n).toString(2).length;
    for (;;) {
      let value = 0n;
      let left = bits;
      for (; left >= 8; left -= 8) value = (value << 8n) | BigInt(byte());
      if (left > 0) value = (value << BigInt(left)) | BigInt(byte() >> (8 - left));
      if (value < limit) return value;
    }
  }

  const below = (limit: bigint) => {
    if (limit < 1n) throw new RangeError('limit: at least 1');
    return limit < 1n << BigInt(smallBits) ? BigInt(small(Number(limit))) : large(limit);
  };

  return {
    below,
    bernoulli(numerator, denominator) {
      if (numerator < 0n || numerator > denominator) throw new RangeError('a probability is 0 to 1');
      return below(denominator) < numerator;
    },
    coin: () => byte() >= 128,
  };
}
