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

/** Processes that can write one log at a time. */
export const mostSlots = 256;

/**
 * The slot of that name, or the first that nobody has of `w1`, `w2`, … One process at a time writes to a slot:
 * it holds an exclusive transaction on an empty SQLite file. The lock is the kernel's (fcntl), so it ends with
 * the process however that dies, which a file holding a process id cannot promise; SQLite also keeps two handles
 * of one process apart, which fcntl alone does not.
 * @throws audit/unavailable when the slot, or every slot, is taken, or the directory cannot be written
 */
export function takeSlot(directory: string, wanted?: string): { writer: string; lock: SlotLock } {
  const names = wanted === undefined ? Array.from({ length: mostSlots }, (_, at) => `w${at + 1}`) : [wanted];
  for (const writer of names) {
    const lock = tryLockSlot(directory, writer);
    if (lock) return { writer, lock };
  }
  if (wanted !== undefined) throw isTaken(wanted);
  throw unavailable(`${mostSlots} processes write the audit log already: no more can.`);
}

/** @returns undefined when another process has the slot @throws audit/unavailable when it cannot be locked */
export function tryLockSlot(directory: string, writer: string): SlotLock | undefined {
  const path = join(directory, `${writer}.lock`);
  const first = take(path);
  if (!first) return undefined;
  let held = first;
  return {
    renew() {
      if (inode(path) === held.inode) return;
      const next = take(path);
      if (!next) throw isTaken(writer);
      held.database.close();
      held = next;
    },
    release() {
      held.database.close();
    },
  };
}

interface Held {
  readonly database: Database.Database;
  readonly inode: bigint | undefined;
}

function take(path: string): Held | undefined {
  let database: Database.Database | undefined;
  try {
    database = new Database(path, { timeout: 0 });
    // Nothing is ever written: a journal file would only be one more thing for a full disk to refuse.
    database.pragma('journal_mode = memory');
    database.exec('begin exclusive');
    return { database, inode: inode(path) };
  } catch (error) {
    database?.close();
    if (error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')) return undefined;
    throw unavailable(`${path} cannot be locked: the audit directory must exist and be writable.`, error);
  }
}

function isTaken(writer: string) {
  return unavailable(`Another process writes the audit log as ${writer}: stop it first.`);
}

function inode(path: string): bigint | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino;
}
