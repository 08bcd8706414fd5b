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

/** A segment being read. Every method rejects with the system's error, unchanged. */
export interface SegmentReader {
  size(): Promise<number>;
  /** @returns fewer bytes at the end alone */
  read(offset: number, bytes: number): Promise<Buffer>;
  /** What was read of it before this call is durable when it resolves. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** Segments as files: of a file system (`nodeFiles`), or rows (./database-files.ts). Tests let it fail here. */
export interface AuditFiles {
  /** A new file with `content`. The file and its name are durable on return. @throws EEXIST */
  create(directory: string, path: string, content: Uint8Array): Promise<SegmentFile>;
  open(path: string): Promise<SegmentFile>;
  /** @throws ENOENT */
  read(path: string): Promise<SegmentReader>;
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
  async read(path) {
    const handle = await open(path, 'r');
    return {
      size: async () => (await handle.stat()).size,
      read: (offset, bytes) => readBlock(handle, offset, bytes),
      sync: () => handle.datasync(),
      close: () => handle.close(),
    };
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

async function readBlock(handle: FileHandle, offset: number, bytes: number): Promise<Buffer> {
  const block = Buffer.allocUnsafe(bytes);
  let filled = 0;
  while (filled < bytes) {
    const { bytesRead } = await handle.read(block, filled, bytes - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return block.subarray(0, filled);
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

/** Runs `work` over a segment, which is closed afterwards. @throws what opening and `work` throw */
export async function reading<T>(
  files: Pick<AuditFiles, 'read'>,
  path: string,
  work: (reader: SegmentReader) => Promise<T>,
): Promise<T> {
  const reader = await files.read(path);
  try {
    return await work(reader);
  } finally {
    await reader.close();
  }
}

/** The system's name of an error (ENOSPC, EIO, …): all of it that is logged. */
export function errorCode(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : 'unknown';
}
