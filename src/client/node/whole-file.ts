import { randomUUID } from 'node:crypto';
import { type FileHandle, link, lstat, open, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fsyncPath } from '../../core/durable-file.ts';
import { discard, release } from '../discard.ts';
import type { ByteSource } from '../streams.ts';

/** A file of that name is there, and was not to be written over. */
export class FileExists extends Error {
  readonly path: string;

  constructor(path: string) {
    super(`${path} is already there`);
    this.name = 'FileExists';
    this.path = path;
  }
}

export interface WholeFileOptions {
  /** Takes the place of a file of that name. Default false. */
  readonly overwrite?: boolean | undefined;
  /** Access rights of the new file, of which the process's umask takes away. */
  readonly mode: number;
  /** The pieces are overwritten when they are written. Default false. */
  readonly secret?: boolean;
}

/**
 * Writes a file that appears under its name when all of it is on disk, or not at all: until then it is called
 * `.stathera-….partial`, which stays behind only if the process is killed.
 * @param source its pieces are this function's: they are not there any more when they are written
 * @throws FileExists, or the system's error
 */
export async function writeWholeFile(
  path: string,
  source: ByteSource,
  { overwrite = false, mode, secret = false }: WholeFileOptions,
): Promise<void> {
  await requirePlace(path, overwrite);
  const partial = join(dirname(path), `.stathera-${randomUUID()}.partial`);
  try {
    await writePieces(partial, source, { mode, secret });
    await (overwrite ? rename(partial, path) : appear(partial, path));
    fsyncPath(dirname(path));
  } catch (error) {
    await unlink(partial).catch(() => undefined);
    throw error;
  }
}

const writeBytes = 1024 * 1024;

async function writePieces(
  path: string,
  source: ByteSource,
  { mode, secret }: { mode: number; secret: boolean },
): Promise<void> {
  const file = await open(path, 'wx', mode);
  try {
    let pieces: Uint8Array[] = [];
    let held = 0;
    for await (const piece of source) {
      pieces.push(piece);
      held += piece.length;
      if (held < writeBytes) continue;
      await writeAll(file, pieces);
      pieces.forEach(secret ? discard : release);
      pieces = [];
      held = 0;
    }
    await writeAll(file, pieces);
    pieces.forEach(secret ? discard : release);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function writeAll(file: FileHandle, pieces: readonly Uint8Array[]): Promise<void> {
  let left = pieces.filter(({ length }) => length > 0);
  while (left.length > 0) {
    let { bytesWritten } = await file.writev(left);
    left = left.flatMap((piece) => {
      const rest = piece.subarray(Math.min(bytesWritten, piece.length));
      bytesWritten -= piece.length - rest.length;
      return rest.length === 0 ? [] : [rest];
    });
  }
}

/** Before any work is done for it. */
async function requirePlace(path: string, overwrite: boolean): Promise<void> {
  const there = await lstat(path).catch(() => undefined);
  if (there && !(overwrite && there.isFile())) throw new FileExists(path);
}

/** Gives a file its name unless that is taken: `rename` would write over what came meanwhile. */
async function appear(partial: string, path: string): Promise<void> {
  try {
    await link(partial, path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') throw new FileExists(path);
    // File systems without hard links.
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'ENOSYS') throw error;
    await requirePlace(path, false);
    await rename(partial, path);
    return;
  }
  await unlink(partial);
}
