import { type AesBlocks, blockBytes } from './ciphers.ts';

/** Numerals of one radix, most significant first: each from 0 to radix - 1. */
export type Numerals = readonly number[];

/**
 * Format-preserving encryption FF1 (NIST SP 800-38G r1, draft 2) under one key, radix and tweak: a permutation of the
 * numerals of each length. It authenticates nothing: whatever has the form is decrypted to something.
 */
export interface Ff1 {
  /** Fewest numerals: their number of combinations is a million at least (Algorithm 7, prerequisites). */
  readonly leastNumerals: number;
  /**
   * Several values of any lengths, together.
   * @throws RangeError for a length or a numeral that it does not have
   */
  encrypt(values: readonly Numerals[]): number[][];
  decrypt(values: readonly Numerals[]): number[][];
}

export const leastCombinations = 1_000_000;
const mostNumerals = 4_096;
const rounds = 10;

/** Below it a half is one number, and its remainders are exact in doubles: 65,536 times it is below 2^53. */
const exactHalf = 2 ** 37;

/** @param radix 2–65,535. @param tweak up to 65,535 bytes; public. @throws RangeError */
export function createFf1(
  aes: AesBlocks,
  { radix, tweak = new Uint8Array() }: { radix: number; tweak?: Uint8Array },
): Ff1 {
  if (!Number.isInteger(radix) || radix < 2 || radix > 65_535)
    throw new RangeError('radix must be 2 to 65535');
  if (tweak.length > 65_535) throw new RangeError('tweak must have at most 65535 bytes');
  const leastNumerals = Math.max(2, fewest(radix));
  const shapes = new Map<number, Shape>();

  function shapeOf(length: number): Shape {
    const known = shapes.get(length);
    if (known !== undefined) return known;
    if (length < leastNumerals || length > mostNumerals)
      throw new RangeError(`values must have ${leastNumerals} to ${mostNumerals} numerals`);
    const made = makeShape(aes, { radix, tweak, length });
    // Lengths are few; where they are not, making one anew costs two blocks.
    if (shapes.size >= 256) shapes.clear();
    shapes.set(length, made);
    return made;
  }

  function run(values: readonly Numerals[], direction: Direction): number[][] {
    const out = new Array<number[]>(values.length);
    for (const [length, places] of byLength(values, radix)) {
      const shape = shapeOf(length);
      const of = places.map((place) => values[place] as Numerals);
      const results = shape.small ? runSmall(aes, shape, of, direction) : runLarge(aes, shape, of, direction);
      places.forEach((place, index) => {
        out[place] = results[index] as number[];
      });
    }
    return out;
  }

  return {
    leastNumerals,
    encrypt: (values) => run(values, 1),
    decrypt: (values) => run(values, -1),
  };
}

/** Encryption adds in each round, decryption subtracts. */
type Direction = 1 | -1;

/** The fewest numerals of a radix that have enough combinations. */
function fewest(radix: number): number {
  let length = 0;
  for (let combinations = 1; combinations < leastCombinations; combinations *= radix) length += 1;
  return length;
}

function byLength(values: readonly Numerals[], radix: number): Map<number, number[]> {
  const lengths = new Map<number, number[]>();
  values.forEach((value, place) => {
    for (const numeral of value)
      if (!Number.isInteger(numeral) || numeral < 0 || numeral >= radix)
        throw new RangeError('a numeral is not of the radix');
    const places = lengths.get(value.length);
    if (places === undefined) lengths.set(value.length, [place]);
    else places.push(place);
  });
  return lengths;
}

/** What all values of one length have in common; names as in Algorithm 7. */
interface Shape {
  readonly radix: number;
  readonly length: number;
  readonly u: number;
  readonly v: number;
  /** Bytes of a half. */
  readonly b: number;
  /** Bytes of the round function's output. */
  readonly d: number;
  /** The CBC-MAC's state after P ‖ Q without its last blocks, xored into the first of these. */
  readonly base: Uint8Array;
  /** Halves are numbers, and what changes from round to round is one block. */
  readonly small: boolean;
}

function makeShape(
  aes: AesBlocks,
  { radix, tweak, length }: { radix: number; tweak: Uint8Array; length: number },
): Shape {
  const u = Math.floor(length / 2);
  const v = length - u;
  const b = halfBytes(radix, v);
  const d = 4 * Math.ceil(b / 4) + 4;
  const p = new Uint8Array(blockBytes);
  const view = new DataView(p.buffer);
  p.set([1, 2, 1]);
  view.setUint16(4, radix);
  p[6] = rounds;
  p[7] = u & 0xff;
  view.setUint32(8, length);
  view.setUint32(12, tweak.length);

  const padding = modulo(-tweak.length - b - 1, blockBytes);
  const q = new Uint8Array(tweak.length + padding + 1 + b);
  q.set(tweak);
  // What never changes comes first: the round's number is b + 1 bytes before the end.
  const changing = Math.ceil((b + 1) / blockBytes) * blockBytes;
  const state = p;
  aes.encrypt(state);
  for (let at = 0; at < q.length - changing; at += blockBytes) {
    for (let i = 0; i < blockBytes; i += 1) state[i] = (state[i] ?? 0) ^ (q[at + i] ?? 0);
    aes.encrypt(state);
  }
  const base = q.slice(q.length - changing);
  for (let i = 0; i < blockBytes; i += 1) base[i] = (base[i] ?? 0) ^ (state[i] ?? 0);
  const small = radix ** v < exactHalf;
  return { radix, length, u, v, b, d, base, small };
}

/** ⌈⌈v · log2(radix)⌉ / 8⌉, exactly. */
function halfBytes(radix: number, v: number): number {
  const bits = (BigInt(radix) ** BigInt(v) - 1n).toString(2).length;
  return Math.ceil(bits / 8);
}

function modulo(value: number, by: number): number {
  return ((value % by) + by) % by;
}

/** All values go through a round in one call of the block cipher. */
function runSmall(
  aes: AesBlocks,
  { radix, length, u, v, b, d, base }: Shape,
  values: readonly Numerals[],
  direction: Direction,
): number[][] {
  const count = values.length;
  const encrypting = direction === 1;
  const left = Float64Array.from(values, (value) => numberOf(value, 0, u, radix));
  const right = Float64Array.from(values, (value) => numberOf(value, u, length, radix));
  // `source` goes through the round function and is added to `target`: B and A, or backwards A and B.
  let target = encrypting ? left : right;
  let source = encrypting ? right : left;
  const blocks = new Uint8Array(count * blockBytes);
  const numberAt = blockBytes - b;
  for (let round = 0; round < rounds; round += 1) {
    const i = encrypting ? round : rounds - 1 - round;
    for (let place = 0, at = 0; place < count; place += 1, at += blockBytes) {
      for (let k = 0; k < blockBytes; k += 1) blocks[at + k] = base[k] ?? 0;
      blocks[at + numberAt - 1] = (blocks[at + numberAt - 1] ?? 0) ^ i;
      let rest = source[place] ?? 0;
      for (let k = blockBytes - 1; k >= numberAt; k -= 1) {
        const higher = Math.floor(rest / 256);
        blocks[at + k] = (blocks[at + k] ?? 0) ^ (rest - higher * 256);
        rest = higher;
      }
    }
    aes.encrypt(blocks);
    const modulus = radix ** (i % 2 === 0 ? u : v);
    for (let place = 0, at = 0; place < count; place += 1, at += blockBytes) {
      let y = 0;
      for (let k = at; k < at + d; k += 2)
        y = (y * 65_536 + (blocks[k] ?? 0) * 256 + (blocks[k + 1] ?? 0)) % modulus;
      const sum = (target[place] ?? 0) + direction * y;
      target[place] = sum < 0 ? sum + modulus : sum >= modulus ? sum - modulus : sum;
    }
    [target, source] = [source, target];
  }
  blocks.fill(0);
  // After an even number of rounds the halves are where they began.
  return Array.from({ length: count }, (_, place) => {
    const out = new Array<number>(length);
    write(out, left[place] ?? 0, 0, u, radix);
    write(out, right[place] ?? 0, u, length, radix);
    return out;
  });
}

function numberOf(numerals: Numerals, from: number, to: number, radix: number): number {
  let value = 0;
  for (let at = from; at < to; at += 1) value = value * radix + (numerals[at] ?? 0);
  return value;
}

function write(out: number[], value: number, from: number, to: number, radix: number): void {
  let rest = value;
  for (let at = to - 1; at >= from; at -= 1) {
    const higher = Math.floor(rest / radix);
    out[at] = rest - higher * radix;
    rest = higher;
  }
}

/** Halves of any length, one value after the other. */
function runLarge(
  aes: AesBlocks,
  shape: Shape,
  values: readonly Numerals[],
  direction: Direction,
): number[][] {
  const { radix, u, v } = shape;
  const encrypting = direction === 1;
  const base = BigInt(radix);
  return values.map((value) => {
    let left = bigOf(value.slice(0, u), base);
    let right = bigOf(value.slice(u), base);
    for (let round = 0; round < rounds; round += 1) {
      const i = encrypting ? round : rounds - 1 - round;
      const modulus = base ** BigInt(i % 2 === 0 ? u : v);
      const [target, source] = encrypting ? [left, right] : [right, left];
      const sum = (target + BigInt(direction) * roundFunction(aes, shape, i, source)) % modulus;
      const next = sum < 0n ? sum + modulus : sum;
      [left, right] = encrypting ? [right, next] : [next, left];
    }
    return [...numeralsOf(left, u, base), ...numeralsOf(right, v, base)];
  });
}

/** Steps 6.i to 6.iv of Algorithm 7: y. */
function roundFunction(aes: AesBlocks, { b, d, base }: Shape, i: number, source: bigint): bigint {
  const input = Uint8Array.from(base);
  const number = bytesOf(source, b);
  const numberAt = input.length - b;
  input[numberAt - 1] = (input[numberAt - 1] ?? 0) ^ i;
  for (let k = 0; k < b; k += 1) input[numberAt + k] = (input[numberAt + k] ?? 0) ^ (number[k] ?? 0);
  const r = input.slice(0, blockBytes);
  aes.encrypt(r);
  for (let at = blockBytes; at < input.length; at += blockBytes) {
    for (let k = 0; k < blockBytes; k += 1) r[k] = (r[k] ?? 0) ^ (input[at + k] ?? 0);
    aes.encrypt(r);
  }
  const blocks = Math.ceil(d / blockBytes);
  const more = new Uint8Array((blocks - 1) * blockBytes);
  for (let j = 1; j < blocks; j += 1) {
    more.set(r, (j - 1) * blockBytes);
    const view = new DataView(more.buffer, j * blockBytes - 4);
    view.setUint32(0, view.getUint32(0) ^ j);
  }
  if (more.length > 0) aes.encrypt(more);
  const s = new Uint8Array(blocks * blockBytes);
  s.set(r);
  s.set(more, blockBytes);
  return bigOf([...s.subarray(0, d)], 256n);
}

function bigOf(numerals: readonly number[], base: bigint): bigint {
  let value = 0n;
  for (const numeral of numerals) value = value * base + BigInt(numeral);
  return value;
}

function numeralsOf(value: bigint, length: number, base: bigint): number[] {
  const out = new Array<number>(length);
  let rest = value;
  for (let at = length - 1; at >= 0; at -= 1) {
    out[at] = Number(rest % base);
    rest /= base;
  }
  return out;
}

function bytesOf(value: bigint, length: number): Uint8Array {
  return Uint8Array.from(numeralsOf(value, length, 256n));
}
