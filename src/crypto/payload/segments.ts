import { type Awaitable, tagBytes } from './ciphers.ts';
import type { StreamKey } from './derive.ts';

/**
 * A stream's segments (STREAM, Hoang, Reyhanitabar, Rogaway and Vizár 2015): each is sealed under a nonce that
 * counts it and tells whether it is the last, so none can be left out, repeated, moved or cut off unseen.
 */

/** Of plaintext in every segment but the last. */
export const segmentBytes = 65_536;
const sealedSegmentBytes = segmentBytes + tagBytes;
/** 2^32 segments: 256 TiB. */
const segmentLimit = 2 ** 32;
const none = new Uint8Array();

/** Length of the segments of `plaintextBytes` of plaintext. */
export function sealedBytes(plaintextBytes: number): number {
  return plaintextBytes + Math.max(1, Math.ceil(plaintextBytes / segmentBytes)) * tagBytes;
}

/** The stream cannot be opened: changed, cut off, spliced, or of another key, context or associated data. */
export class StreamDamaged extends Error {
  constructor() {
    super('The stream cannot be decrypted: it was changed or cut off, or belongs elsewhere.');
    this.name = 'StreamDamaged';
  }
}

/** Seals a plaintext of any length. @yields pieces of the segments in turn */
export async function* sealSegments(
  { key, noncePrefix }: StreamKey,
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const splitter = createSplitter(segmentBytes);
  let counter = 0;
  function seal(block: Uint8Array, last: boolean): Awaitable<readonly Uint8Array[]> {
    if (counter >= segmentLimit) throw new RangeError('a stream holds at most 256 TiB');
    const nonce = nonceOf(noncePrefix, counter, last);
    counter += 1;
    return key.seal(nonce, block, none);
  }
  for await (const piece of source) {
    for (const block of splitter.push(piece)) yield* await seal(block, false);
  }
  yield* await seal(splitter.last(), true);
}

/**
 * Opens segments in turn. What is yielded is authentic and in its place; that it is all shows at the end alone.
 * @yields the plaintext of each, for the caller to wipe
 * @throws StreamDamaged
 */
export async function* openSegments(
  { key, noncePrefix }: StreamKey,
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const splitter = createSplitter(sealedSegmentBytes);
  let counter = 0;
  async function open(block: Uint8Array, last: boolean): Promise<Uint8Array> {
    if (counter >= segmentLimit) throw new StreamDamaged();
    const plaintext = await key.open(nonceOf(noncePrefix, counter, last), block, none);
    // The last segment is empty only where there is no other.
    if (!plaintext || (plaintext.length === 0 && counter > 0)) throw new StreamDamaged();
    counter += 1;
    return plaintext;
  }
  for await (const piece of source) {
    for (const block of splitter.push(piece)) yield open(block, false);
  }
  yield open(splitter.last(), true);
}

/** prefix(7) ‖ counter(4, big endian) ‖ 1 for the last segment, else 0 */
function nonceOf(prefix: Uint8Array, counter: number, last: boolean): Uint8Array {
  const nonce = new Uint8Array(12);
  nonce.set(prefix);
  new DataView(nonce.buffer).setUint32(7, counter);
  nonce[11] = last ? 1 : 0;
  return nonce;
}

/** Cuts what comes into blocks of one size. */
interface Splitter {
  /**
   * @param piece not to be written to before the second push after this one: blocks may be views of it
   * @returns blocks that are not the last, in turn; to be used before the next push
   */
  push(piece: Uint8Array): readonly Uint8Array[];
  /** When nothing more comes: the last block, shorter or as long, and empty only when nothing came. */
  last(): Uint8Array;
}

function createSplitter(size: number): Splitter {
  /** A whole block, which may be the last. Never there together with one that is begun. */
  let held: Uint8Array = none;
  // Two to put blocks together in: one may be held, or given out, while the other is filled.
  let [filling, other]: (Uint8Array | undefined)[] = [];
  let filled = 0;

  /** @returns what it left of the piece */
  function fill(piece: Uint8Array): Uint8Array {
    filling ??= new Uint8Array(size);
    const taken = piece.subarray(0, size - filled);
    filling.set(taken, filled);
    filled += taken.length;
    if (filled === size) {
      held = filling;
      [filling, other] = [other, filling];
      filled = 0;
    }
    return piece.subarray(taken.length);
  }

  return {
    push(piece) {
      const ready: Uint8Array[] = [];
      let rest = piece;
      while (rest.length > 0) {
        // More follows, so what is held is not the last.
        if (held.length === size) {
          ready.push(held);
          held = none;
        }
        if (filled > 0 || rest.length < size) rest = fill(rest);
        else {
          held = rest.subarray(0, size);
          rest = rest.subarray(size);
        }
      }
      return ready;
    },
    last: () => (filled === 0 ? held : (filling ?? none).subarray(0, filled)),
  };
}
