import { statSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { unavailable } from './unavailable.ts';

/** The hold on a writer's slot. */
export interface SlotLock {
  /**
   * Takes the lock anew where the directory was replaced, so that the slot stays ours in the new one.
   * @throws audit/unavailable when another process has it there
   */
  renew(): void;
  release(): void;
}

/**
 * Makes sure that one process at a time writes as `writer`: it holds an exclusive transaction on an empty
 * SQLite file. The lock is the kernel's (fcntl), so it ends with the process however that dies, which a file
 * holding a process id cannot promise; SQLite also keeps two handles of one process apart, which fcntl alone
 * does not.
 * @throws audit/unavailable when the slot is taken or the directory cannot be written
 */
export function lockSlot(directory: string, writer: string): SlotLock {
  const path = join(directory, `${writer}.lock`);
  let held = take(path, writer);
  return {
    renew() {
      if (inode(path) === held.inode) return;
      const next = take(path, writer);
      held.database.close();
      held = next;
    },
    release() {
      held.database.close();
    },
  };
}

function take(path: string, writer: string): { database: Database.Database; inode: bigint | undefined } {
  let database: Database.Database | undefined;
  try {
    database = new Database(path, { timeout: 0 });
    // Nothing is ever written: a journal file would only be one more thing for a full disk to refuse.
    database.pragma('journal_mode = memory');
    database.exec('begin exclusive');
    return { database, inode: inode(path) };
  } catch (error) {
    database?.close();
    if (error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')) {
      throw unavailable(`Another process writes the audit log as ${writer}: stop it first.`, error);
    }
    throw unavailable(`${path} cannot be locked: the audit directory must exist and be writable.`, error);
  }
}

function inode(path: string): bigint | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino;
}
