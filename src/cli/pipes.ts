import { closeSync, createReadStream, fstatSync, openSync, statSync } from 'node:fs';
import { discard } from '../client/discard.ts';
import type { Progress } from '../client/node/reading.ts';
import type { ByteSource } from '../client/streams.ts';
import { Failed } from './failed.ts';
import { abortable, orAborted } from './interrupt.ts';

export interface Input {
  /** Where it is, if it is a file that can be read from any place. */
  readonly path: string | undefined;
  readonly pieces: ByteSource;
}

/** Whole segments, so that none has to be put together from two. */
const pieceBytes = 1024 * 1024;

/** @param path undefined: stdin. @throws the system's error for what is not there */
export function openInput(path: string | undefined, onProgress: Progress, signal: AbortSignal): Input {
  const found = path === undefined ? fstatSync(0) : statSync(path);
  if (found.isDirectory()) throw new Failed(`${path} is a directory: name a file in it`);
  const total = found.isFile() ? found.size : undefined;
  // Before a data key is asked for, and the beginning of a ciphertext written.
  if (path !== undefined && total !== undefined) closeSync(openSync(path, 'r'));
  const read = (): ByteSource =>
    path === undefined ? process.stdin : createReadStream(path, { highWaterMark: pieceBytes });
  return { path: total === undefined ? undefined : path, pieces: counted(read, total, onProgress, signal) };
}

/** Opens the source when it is read. */
async function* counted(
  read: () => ByteSource,
  total: number | undefined,
  onProgress: Progress,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let done = 0;
  for await (const piece of abortable(read(), signal)) {
    yield piece;
    done += piece.length;
    onProgress(done, total);
  }
}

/** @throws the system's error; of a reader that has gone, EPIPE */
export async function writeToStdout(pieces: ByteSource, signal: AbortSignal): Promise<void> {
  for await (const piece of process.stdout.isTTY ? textAlone(pieces) : pieces) {
    await orAborted(written(piece), signal);
    discard(piece);
  }
}

function written(piece: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(piece, (error) => (error ? reject(error) : resolve()));
  });
}

const notText =
  'what was decrypted is no text, and is not shown on a terminal: write it to a file with -o FILE';

/** Terminals obey some bytes that are no text. */
async function* textAlone(pieces: ByteSource): AsyncGenerator<Uint8Array> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  for await (const piece of pieces) {
    let text: string | undefined;
    try {
      text = decoder.decode(piece, { stream: true });
    } catch {
      // Not UTF-8.
    }
    if (text === undefined || /[^\P{Cc}\t\n\r]/u.test(text)) throw new Failed(notText);
    yield piece;
  }
}
