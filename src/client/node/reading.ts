import { open, stat } from 'node:fs/promises';
import { tagBytes } from '../../crypto/payload/ciphers.ts';
import { segmentBytes } from '../../crypto/payload/segments.ts';
import type { ByteSource } from '../streams.ts';

/** Told after each MiB or so: bytes read so far, and of how many, which is not known of a pipe. */
export type Progress = (done: number, total: number | undefined) => void;

/** Pieces of whole segments: none has to be put together from two. */
const segmentsAtOnce = 16;
export const pieceBytes = {
  plain: segmentsAtOnce * segmentBytes,
  sealed: segmentsAtOnce * (segmentBytes + tagBytes),
};

/**
 * Opens the file when it is read: what is never read must not fail unheard. A piece is good until the one after the
 * next is asked for: two buffers take turns.
 */
export async function* readFrom(
  path: string,
  { start, pieceBytes }: { start?: number; pieceBytes: number },
): AsyncGenerator<Uint8Array> {
  const file = await open(path);
  try {
    const buffers = [Buffer.allocUnsafeSlow(pieceBytes), Buffer.allocUnsafeSlow(pieceBytes)] as const;
    let position = start;
    for (let turn = 0; ; turn = 1 - turn) {
      const buffer = buffers[turn === 0 ? 0 : 1];
      let filled = 0;
      // A pipe gives what it has.
      while (filled < pieceBytes) {
        const at = position === undefined ? null : position + filled;
        const { bytesRead } = await file.read(buffer, filled, pieceBytes - filled, at);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      if (filled === 0) return;
      yield buffer.subarray(0, filled);
      if (position !== undefined) position += filled;
    }
  } finally {
    await file.close();
  }
}

export async function* after(header: Uint8Array, segments: ByteSource): AsyncGenerator<Uint8Array> {
  yield header;
  yield* segments;
}

export async function* counted(
  source: ByteSource,
  total: number | undefined,
  onProgress: Progress | undefined,
): AsyncGenerator<Uint8Array> {
  let done = 0;
  for await (const piece of source) {
    yield piece;
    done += piece.length;
    onProgress?.(done, total);
  }
}

/** Undefined for what is no regular file. */
export async function sizeOf(path: string): Promise<number | undefined> {
  const found = await stat(path);
  return found.isFile() ? found.size : undefined;
}
