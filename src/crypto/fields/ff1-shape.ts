import { type AesBlocks, blockBytes } from './ciphers.ts';

export const ff1Rounds = 10;

/** Below it a half is one number, and its remainders are exact in doubles: 65,536 times it is below 2^53. */
const exactHalf = 2 ** 37;

/** What all values of one length and length of tweak have in common; names as in Algorithm 7. */
export interface Shape {
  readonly radix: number;
  readonly length: number;
  readonly u: number;
  readonly v: number;
  /** Bytes of a half. */
  readonly b: number;
  /** Bytes of the round function's output. */
  readonly d: number;
  /** The CBC-MAC's state after P. */
  readonly state: Uint8Array;
  readonly qBytes: number;
  /** What `baseOf` gives for a tweak of zeros, and so for the empty one. */
  readonly base: Uint8Array;
  /** Halves are numbers, and what changes from round to round is one block. */
  readonly small: boolean;
}

export function makeShape(
  aes: AesBlocks,
  { radix, tweakBytes, length }: { radix: number; tweakBytes: number; length: number },
): Shape {
  const u = Math.floor(length / 2);
  const v = length - u;
  const b = halfBytes(radix, v);
  const d = 4 * Math.ceil(b / 4) + 4;
  const state = new Uint8Array(blockBytes);
  const view = new DataView(state.buffer);
  state.set([1, 2, 1]);
  view.setUint16(4, radix);
  state[6] = ff1Rounds;
  state[7] = u & 0xff;
  view.setUint32(8, length);
  view.setUint32(12, tweakBytes);
  aes.encrypt(state);
  const qBytes = Math.ceil((tweakBytes + 1 + b) / blockBytes) * blockBytes;
  const shape = { radix, length, u, v, b, d, state, qBytes, base: state, small: radix ** v < exactHalf };
  return { ...shape, base: baseOf(aes, shape, new Uint8Array()) };
}

/**
 * The last blocks of Q, in which alone a round's number and half are still missing, with the CBC-MAC's state of all
 * that is before them in the first.
 */
export function baseOf(aes: AesBlocks, { b, state: afterP, qBytes }: Shape, tweak: Uint8Array): Uint8Array {
  const q = new Uint8Array(qBytes);
  q.set(tweak);
  const changing = Math.ceil((b + 1) / blockBytes) * blockBytes;
  const state = Uint8Array.from(afterP);
  for (let at = 0; at < qBytes - changing; at += blockBytes) {
    for (let i = 0; i < blockBytes; i += 1) state[i] = (state[i] ?? 0) ^ (q[at + i] ?? 0);
    aes.encrypt(state);
  }
  const base = q.slice(qBytes - changing);
  for (let i = 0; i < blockBytes; i += 1) base[i] = (base[i] ?? 0) ^ (state[i] ?? 0);
  return base;
}

/** ⌈⌈v · log2(radix)⌉ / 8⌉, exactly. */
function halfBytes(radix: number, v: number): number {
  const bits = (BigInt(radix) ** BigInt(v) - 1n).toString(2).length;
  return Math.ceil(bits / 8);
}
