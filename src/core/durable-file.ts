import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';

/** Makes what was written to a file survive a power failure; of a directory: new names, renames, removals. */
export function fsyncPath(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Of a directory that this user cannot read, that nothing is written to, or whose file system has no sync. */
const unsyncable = ['EACCES', 'EPERM', 'EROFS', 'EINVAL'];

/**
 * Makes a directory (mode 0700), and those above it, so that no power failure takes it away with all that is
 * in it. One that is there already may have been made by a run that was killed before its sync.
 */
export function mkdirDurably(path: string): void {
  const absolute = resolve(path);
  mkdirSync(absolute, { recursive: true, mode: 0o700 });
  for (let at = absolute; at !== dirname(at); at = dirname(at)) {
    try {
      fsyncPath(dirname(at));
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && unsyncable.includes(String(error.code))))
        throw error;
    }
  }
}

function writeTemporary(path: string, content: string | Uint8Array): string {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  const file = openSync(temporary, 'wx', 0o600);
  try {
    writeFileSync(file, content);
    fsyncSync(file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
  return temporary;
}

/** Writes a file (mode 0600) so that after any crash the old or the new content is there, whole. */
export function writeDurably(path: string, content: string | Uint8Array): void {
  const temporary = writeTemporary(path, content);
  try {
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  fsyncPath(dirname(path));
}

/**
 * As `writeDurably`, but never over an existing file.
 * @returns false when the file was there already; it is left as it is
 */
export function createDurably(path: string, content: string): boolean {
  const temporary = writeTemporary(path, content);
  let created = true;
  try {
    linkSync(temporary, path);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    created = false;
  } finally {
    rmSync(temporary, { force: true });
  }
  // Also of a file that was there: a run that was killed here before may not have synced its name.
  fsyncPath(dirname(path));
  return created;
}
