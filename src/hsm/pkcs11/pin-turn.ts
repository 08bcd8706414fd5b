import Database from 'better-sqlite3';
import { TokenRefusal } from './token-refusal.ts';

/** For the logins of other processes before this one. Less than a call may take before the device counts as hung. */
const waitMs = 8_000;

/**
 * Logs in while no other process does: whoever comes after a refusal finds it recorded, so that processes which lost
 * their token in the same moment do not each try the PIN that it no longer takes. The turn is an exclusive
 * transaction on the empty SQLite file `<pinFile>.lock`, which the kernel ends with the process. Where no such file
 * can be made, nothing can be recorded either, and every process has its own try.
 * @throws TokenRefusal when the turn does not come
 */
export function inPinTurn<Result>(pinFile: string, login: () => Result): Result {
  const turn = takeTurn(`${pinFile}.lock`);
  try {
    return login();
  } finally {
    turn?.close();
  }
}

function takeTurn(path: string): Database.Database | undefined {
  let database: Database.Database | undefined;
  try {
    database = new Database(path, { timeout: waitMs });
    // Nothing is ever written.
    database.pragma('journal_mode = memory');
    database.exec('begin exclusive');
    return database;
  } catch (error) {
    database?.close();
    if (error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')) {
      throw new TokenRefusal('Another process has been logging in to the token for too long.', error);
    }
    return undefined;
  }
}
