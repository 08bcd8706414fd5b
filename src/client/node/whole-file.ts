import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { link, lstat, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fsyncPath } from '../../core/durable-file.ts';
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
}

/**
 * Writes a file that appears under its name when all of it is on disk, or not at all: until then it is called
 * `.stathera-….partial`, which stays behind only if the process is killed.
 * @throws FileExists, or the system's error
 */
export async function writeWholeFile(
  path: string,
  source: ByteSource,
  { overwrite = false, mode }: WholeFileOptions,
): Promise<void> {
  await requirePlace(path, overwrite);
  const partial = join(dirname(path), `.stathera-${randomUUID()}.partial`);
  try {
    const flags = { flags: 'wx', mode, flush: true, highWaterMark: 1024 * 1024 };
    await pipeline(source, createWriteStream(partial, flags));
    await (overwrite ? rename(partial, path) : appear(partial, path));
    fsyncPath(dirname(path));
  } catch (error) {
    await unlink(partial).catch(() => undefined);
    throw error;
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
