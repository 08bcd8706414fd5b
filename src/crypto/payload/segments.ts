import { tagBytes } from './ciphers.ts';
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
  let counter = 0;
  for await (const { block, last } of blocks(source, segmentBytes)) {
    if (counter >= segmentLimit) throw new RangeError('a stream holds at most 256 TiB');
    yield* await key.seal(nonceOf(noncePrefix, counter, last), block, none);
    counter += 1;
  }
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
  let counter = 0;
  for await (const { block, last } of blocks(source, sealedSegmentBytes)) {
    if (counter >= segmentLimit) throw new StreamDamaged();
    const plaintext = await key.open(nonceOf(noncePrefix, counter, last), block, none);
    // The last segment is empty only where there is no other.
    if (!plaintext || (plaintext.length === 0 && counter > 0)) throw new StreamDamaged();
    yield plaintext;
    counter += 1;
  }
}

/** prefix(7) ‖ counter(4, big endian) ‖ 1 for the last segment, else 0 */
function nonceOf(prefix: Uint8Array, counter: number, last: boolean): Uint8Array {
  const nonce = new Uint8Array(12);
  nonce.set(prefix);
  new DataView(nonce.buffer).setUint32(7, counter);
  nonce[11] = last ? 1 : 0;
  return nonce;
}

interface Block {
  readonly block: Uint8Array;
  readonly last: boolean;
}

/**
 * Cuts what comes into blocks of one size. The last is shorter or as long, and is empty only when nothing came.
 * A block that lies whole in a piece is a view of it, so pieces must not be written to again; one that was put
 * together lies in memory that is used again: it is good until the next is asked for.
 */
async function* blocks(source: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Block> {
  let held: Uint8Array = none;
  // Two to put blocks together in: one may be held while the other is filled.
  let [filling, other]: (Uint8Array | undefined)[] = [];
  let filled = 0;
  for await (const piece of source) {
    let at = 0;
    while (at < piece.length) {
      // More follows, so what is held is not the last.
      if (held.length === size) {
        yield { block: held, last: false };
        held = none;
      }
      if (filled === 0 && piece.length - at >= size) {
        held = piece.subarray(at, at + size);
        at += size;
        continue;
      }
      filling ??= new Uint8Array(size);
      const taken = Math.min(size - filled, piece.length - at);
      filling.set(piece.subarray(at, at + taken), filled);
      filled += taken;
      at += taken;
      if (filled < size) continue;
      held = filling;
      [filling, other] = [other, filling];
      filled = 0;
    }
  }
  yield { block: filled === 0 ? held : (filling ?? none).subarray(0, filled), last: true };
}
