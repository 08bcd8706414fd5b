import { constants } from 'node:fs';
import { type FileHandle, open, readdir, rm, stat } from 'node:fs/promises';

/** A segment being written. Every method rejects with the system's error, unchanged. */
export interface SegmentFile {
  /** Appends with one write. Durable on return. @throws also when fewer bytes were taken */
  append(bytes: Uint8Array): Promise<void>;
  /** Cuts the file; durable on return. */
  truncate(bytes: number): Promise<void>;
  /** True when `path` still leads to this very file. False, too, when nothing is there. */
  isAt(path: string): Promise<boolean>;
  close(): Promise<void>;
}

/** The file system as the writer uses it: the seam at which the tests let it fail. */
export interface AuditFiles {
  /** A new file with `content`. The file and its name are durable on return. @throws EEXIST */
  create(directory: string, path: string, content: Uint8Array): Promise<SegmentFile>;
  open(path: string): Promise<SegmentFile>;
  remove(path: string): Promise<void>;
  /** Names in the directory. */
  list(directory: string): Promise<string[]>;
}

const { O_APPEND, O_CREAT, O_DSYNC, O_EXCL, O_RDWR } = constants;

/** O_DSYNC makes each append durable in the same call, in one trip through the thread pool. */
export const nodeFiles: AuditFiles = {
  async create(directory, path, content) {
    const handle = await open(path, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_DSYNC, 0o600);
    try {
      const file = await segmentFile(handle);
      await file.append(content);
      await handle.sync();
      await syncDirectory(directory);
      return file;
    } catch (error) {
      await handle.close().catch(() => undefined);
      throw error;
    }
  },
  async open(path) {
    const handle = await open(path, O_RDWR | O_APPEND | O_DSYNC);
    try {
      // A process killed before its write was synced left it in the page cache: what follows must not outlast it.
      await handle.sync();
      return await segmentFile(handle);
    } catch (error) {
      await handle.close().catch(() => undefined);
      throw error;
    }
  },
  remove: (path) => rm(path),
  list: (directory) => readdir(directory),
};

async function segmentFile(handle: FileHandle): Promise<SegmentFile> {
  const { dev, ino } = await handle.stat({ bigint: true });
  return {
    async append(bytes) {
      const { bytesWritten } = await handle.write(bytes, 0, bytes.length, null);
      if (bytesWritten !== bytes.length) throw new Error('the file system took a part of the group only');
    },
    async truncate(bytes) {
      await handle.truncate(bytes);
      await handle.sync();
    },
    async isAt(path) {
      try {
        const there = await stat(path, { bigint: true });
        return there.ino === ino && there.dev === dev && there.nlink >= 1n;
      } catch (error) {
        if (isMissing(error)) return false;
        throw error;
      }
    },
    close: () => handle.close(),
  };
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export function isMissing(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** The system's name of an error (ENOSPC, EIO, …): all of it that is logged. */
export function errorCode(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : 'unknown';
}
