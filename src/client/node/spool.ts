import { randomUUID } from 'node:crypto';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Spool } from '../spool.ts';

/** Keeps the segments, still encrypted, in a file without a name in the directory for temporary files. */
export function createFileSpool(directory: string = tmpdir()): Spool {
  let file: FileHandle | undefined;

  async function opened(): Promise<FileHandle> {
    const path = join(directory, `stathera-${randomUUID()}.spool`);
    const handle = await open(path, 'wx+', 0o600);
    // It is gone with the process, however that ends.
    await unlink(path);
    return handle;
  }

  return {
    async write(piece) {
      file ??= await opened();
      await file.appendFile(piece);
    },
    async *read() {
      if (file) yield* file.createReadStream({ start: 0, autoClose: false, highWaterMark: 1024 * 1024 });
    },
    async close() {
      await file?.close();
      file = undefined;
    },
  };
}
