import { type AesBlocks, blockBytes } from './ciphers.ts';
import { baseOf, makeShape, ff1Rounds as rounds, type Shape } from './ff1-shape.ts';

/** Numerals of one radix, most significant first: each from 0 to radix - 1. */
export type Numerals = readonly number[];

/**
 * Format-preserving encryption FF1 (NIST SP 800-38G r1, draft 2) under one key and radix: with each tweak a permutation
 * of the numerals of each length. It authenticates nothing: whatever has the form is decrypted to something.
 */
export interface Ff1 {
  /** Fewest numerals: their number of combinations is a million at least (Algorithm 7, prerequisites). */
  readonly leastNumerals: number;
  /**
   * Several values of any lengths, together.
   * @param tweaks one a value, up to 65,535 bytes, public; default: empty
   * @throws RangeError for a length, a numeral or a tweak that it does not have
   */
  encrypt(values: readonly Numerals[], tweaks?: readonly Uint8Array[]): number[][];
  decrypt(values: readonly Numerals[], tweaks?: readonly Uint8Array[]): number[][];
}

export const leastCombinations = 1_000_000;
const mostNumerals = 4_096;
const mostTweakBytes = 65_535;
const none = new Uint8Array();

/** @param radix 2–65,535. @throws RangeError */
export function createFf1(aes: AesBlocks, { radix }: { radix: number }): Ff1 {
  if (!Number.isInteger(radix) || radix < 2 || radix > 65_535)
    throw new RangeError('radix must be 2 to 65535');
  const leastNumerals = Math.max(2, fewest(radix));
  const shapes = new Map<string, Shape>();

  function shapeOf(name: string, length: number, tweakBytes: number): Shape {
    const known = shapes.get(name);
    if (known !== undefined) return known;
    if (length < leastNumerals || length > mostNumerals)
      throw new RangeError(`values must have ${leastNumerals} to ${mostNumerals} numerals`);
    if (tweakBytes > mostTweakBytes) throw new RangeError(`tweaks must have at most ${mostTweakBytes} bytes`);
    const made = makeShape(aes, { radix, tweakBytes, length });
    // They are few; where they are not, making one anew costs a block.
    if (shapes.size >= 256) shapes.clear();
    shapes.set(name, made);
    return made;
  }

  function run(
    values: readonly Numerals[],
    tweaks: readonly Uint8Array[] | undefined,
    direction: Direction,
  ): number[][] {
    const out = new Array<number[]>(values.length);
    for (const [name, places] of byShape(values, tweaks, radix)) {
      const first = places[0] ?? 0;
      const shape = shapeOf(name, values[first]?.length ?? 0, tweaks?.[first]?.length ?? 0);
      const of = places.map((place) => values[place] as Numerals);
      const bases = tweaks && places.map((place) => baseOf(aes, shape, tweaks[place] ?? none));
      const input = { shape, values: of, bases: bases ?? of.map(() => shape.base) };
      const results = shape.small ? runSmall(aes, input, direction) : runLarge(aes, input, direction);
      places.forEach((place, index) => {
        out[place] = results[index] as number[];
      });
    }
    return out;
  }

  return {
    leastNumerals,
    encrypt: (values, tweaks) => run(values, tweaks, 1),
    decrypt: (values, tweaks) => run(values, tweaks, -1),
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

/** The places of values of one length, with tweaks of one length. */
function byShape(
  values: readonly Numerals[],
  tweaks: readonly Uint8Array[] | undefined,
  radix: number,
): Map<string, number[]> {
  const shapes = new Map<string, number[]>();
  values.forEach((value, place) => {
    for (const numeral of value)
      if (!Number.isInteger(numeral) || numeral < 0 || numeral >= radix)
        throw new RangeError('a numeral is not of the radix');
    const name = `${value.length}/${tweaks?.[place]?.length ?? 0}`;
    const places = shapes.get(name);
    if (places === undefined) shapes.set(name, [place]);
    else places.push(place);
  });
  return shapes;
}

interface Input {
  readonly shape: Shape;
  readonly values: readonly Numerals[];
  /** One a value. */
  readonly bases: readonly Uint8Array[];
}

/** All values go through a round in one call of the block cipher. */
function runSmall(
  aes: AesBlocks,
  { shape: { radix, length, u, v, b, d }, values, bases }: Input,
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
      blocks.set(bases[place] as Uint8Array, at);
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
function runLarge(aes: AesBlocks, { shape, values, bases }: Input, direction: Direction): number[][] {
  const { radix, u, v } = shape;
  const encrypting = direction === 1;
  const big = BigInt(radix);
  return values.map((value, place) => {
    let left = bigOf(value.slice(0, u), big);
    let right = bigOf(value.slice(u), big);
    for (let round = 0; round < rounds; round += 1) {
      const i = encrypting ? round : rounds - 1 - round;
      const modulus = big ** BigInt(i % 2 === 0 ? u : v);
      const [target, source] = encrypting ? [left, right] : [right, left];
      const y = roundFunction(aes, { shape, base: bases[place] as Uint8Array, i, source });
      const sum = (target + BigInt(direction) * y) % modulus;
      const next = sum < 0n ? sum + modulus : sum;
      [left, right] = encrypting ? [right, next] : [next, left];
    }
    return [...numeralsOf(left, u, big), ...numeralsOf(right, v, big)];
  });
}

/** Steps 6.i to 6.iv of Algorithm 7: y. */
function roundFunction(
  aes: AesBlocks,
  { shape: { b, d }, base, i, source }: { shape: Shape; base: Uint8Array; i: number; source: bigint },
): bigint {
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
