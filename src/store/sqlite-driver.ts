import { setTimeout as delay } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { CompiledQuery, type DatabaseConnection, type Driver, SqliteDialect, SqliteDriver } from 'kysely';

type SqliteDatabase = ConstructorParameters<typeof SqliteDialect>[0]['database'];

/**
 * SQLite for several processes. A transaction takes the writer lock when it begins: taken later, it would be
 * refused where another process had changed anything since its first read.
 * One with an isolation level is tried once, for whoever waits without keeping others from the connection
 * (`untilFree`). Everything else waits here.
 */
export function sharedSqliteDialect(database: SqliteDatabase, busyMilliseconds: number): SqliteDialect {
  const dialect = new SqliteDialect({ database });
  dialect.createDriver = () => sharedDriver(new SqliteDriver({ database }), busyMilliseconds);
  return dialect;
}

function sharedDriver(driver: SqliteDriver, busyMilliseconds: number): Driver {
  let patient: DatabaseConnection | undefined;
  return {
    init: () => driver.init(),
    async acquireConnection() {
      const connection = await driver.acquireConnection();
      patient ??= {
        executeQuery: (query) => untilFree(busyMilliseconds, () => connection.executeQuery(query)),
        streamQuery: (query, size) => connection.streamQuery(query, size),
      };
      return patient;
    },
    async beginTransaction(connection, { isolationLevel }) {
      const once = isolationLevel !== undefined;
      const on = once ? await driver.acquireConnection() : connection;
      await on.executeQuery(CompiledQuery.raw('begin immediate'));
    },
    commitTransaction: (connection) => driver.commitTransaction(connection),
    rollbackTransaction: (connection) => driver.rollbackTransaction(connection),
    releaseConnection: () => driver.releaseConnection(),
    destroy: () => driver.destroy(),
  };
}

const pauseMilliseconds = { first: 1, longest: 16 };

/** Tries again while another process has the writer lock. SQLite's own waiting would hold up the event loop. */
export async function untilFree<T>(milliseconds: number, work: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + milliseconds;
  for (let pause = pauseMilliseconds.first; ; pause = Math.min(2 * pause, pauseMilliseconds.longest)) {
    try {
      return await work();
    } catch (error) {
      if (!isBusy(error) || performance.now() > deadline) throw error;
    }
    await delay(pause * (0.5 + Math.random()));
  }
}

function isBusy(error: unknown): boolean {
  const cause = (error as Error).cause ?? error;
  return cause instanceof Database.SqliteError && cause.code.startsWith('SQLITE_BUSY');
}
