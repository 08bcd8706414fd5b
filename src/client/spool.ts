import type { Awaitable } from '../crypto/payload/ciphers.ts';

/** Keeps the segments of a stream, still encrypted, until the last of them is verified. */
export interface Spool {
  /** @param piece not to be kept: its memory may be used again */
  write(piece: Uint8Array): Awaitable<void>;
  /** All that was written, once. */
  read(): AsyncIterable<Uint8Array>;
  /** Called in every case, at the end. */
  close(): Awaitable<void>;
}

/** The spool is full: the stream is longer than what may be kept of it. */
export class SpoolFull extends Error {
  constructor(limitBytes: number) {
    super(
      `The stream is longer than the ${limitBytes} bytes that are kept in memory to verify it before any of it is ` +
        'given out. Pass a spool of your own, or unsafePipe to get what is not yet verified as a whole.',
    );
    this.name = 'SpoolFull';
  }
}

/** Keeps the segments in memory. */
export function createMemorySpool(limitBytes: number): Spool {
  let pieces: Uint8Array[] = [];
  let kept = 0;
  return {
    write(piece) {
      kept += piece.length;
      if (kept > limitBytes) throw new SpoolFull(limitBytes);
      pieces.push(piece.slice());
    },
    async *read() {
      yield* pieces;
    },
    close() {
      pieces = [];
    },
  };
}
