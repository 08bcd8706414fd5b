import Database from 'better-sqlite3';
import { ServiceError } from '../core/errors.ts';
import { type ChangeFeed, type Changes, changesPage, readPages } from './changes.ts';
import { sqliteDialect } from './dialects.ts';
import type { Schema } from './schema.ts';

/**
 * SQLite commits one transaction after the other, so numbers given out by the table are in the order of the commits.
 * Reading has a connection of its own: on the store's it would see what is not committed yet.
 */
export function sqliteChanges(file: string): Changes {
  return {
    record: sqliteDialect.recordChange,
    follow: async () => attempt(() => follow(file)),
  };
}

function follow(file: string): ChangeFeed {
  const database = new Database(file, { readonly: true, fileMustExist: true, timeout: 0 });
  const version = database.prepare('pragma data_version').pluck();
  const newest = database.prepare('select coalesce(max(revision), 0) from changes').pluck();
  const oldest = database.prepare('select min(revision) from changes').pluck();
  const after = database.prepare<[number], Pick<Schema['changes'], 'subjects'> & { revision: number }>(
    `select revision, subjects from changes where revision > ? order by revision limit ${changesPage}`,
  );
  let seen = version.get();
  let cursor = newest.get() as number;
  return {
    pollMilliseconds: 25,
    async read() {
      return await attempt(async () => {
        // Some 2 µs while nobody commits: the number is in memory that all connections share.
        const now = version.get();
        if (now === seen) return { changes: [], lost: false };
        const found = await readPages(cursor, async (from) => ({
          oldest: oldest.get() as number | null,
          rows: after.all(from),
        }));
        // Only now: a read that failed is made again.
        seen = now;
        cursor = found.cursor;
        return found;
      });
    },
    onAnnounced: () => undefined,
    async close() {
      database.close();
    },
  };
}

async function attempt<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw sqliteUnavailable(error);
  }
}

export function sqliteUnavailable(error: unknown): ServiceError {
  return new ServiceError('store/unavailable', 'The database cannot be used right now.', {
    cause: error,
    retryAfterSeconds: 1,
  });
}
