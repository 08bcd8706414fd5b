import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import Database from 'better-sqlite3';
import { type CompiledQuery, Kysely, type SqliteStatement } from 'kysely';
import { fsyncPath } from '../core/durable-file.ts';
import type { ServiceError } from '../core/errors.ts';
import { sqliteDialect } from './dialects.ts';
import type { Schema } from './schema.ts';
import { sqliteChanges, sqliteUnavailable } from './sqlite-changes.ts';
import { sharedSqliteDialect, untilFree } from './sqlite-driver.ts';
import type { PreparedQuery, Store } from './store.ts';

export interface SqliteSettings {
  readonly file: string;
  /** For tools that only look: no lock is taken, nothing is created. */
  readonly readonly?: boolean;
  /** How long to wait for another process's write lock. */
  readonly busyMilliseconds?: number;
}

const statementLimit = 200;

/**
 * Opens SQLite in WAL mode with FULL synchronisation: a commit is on disk when it returns.
 * @throws store/unavailable when the file cannot be opened
 */
export function openSqliteStore(settings: SqliteSettings): Store {
  const { busyMilliseconds = 5000 } = settings;
  const database = open(settings);
  let refusal: ServiceError | undefined;
  const admit = (): void => {
    if (refusal) throw refusal;
  };
  const db = new Kysely<Schema>({
    dialect: sharedSqliteDialect(cachingStatements(database, admit), busyMilliseconds),
  });
  return {
    dialect: sqliteDialect,
    db,
    changes: sqliteChanges(settings.file),
    transaction: (work) =>
      untilFree(busyMilliseconds, () => db.transaction().setIsolationLevel('serializable').execute(work)),
    prepare<Row>(build: (db: Kysely<Schema>) => { compile(): CompiledQuery<Row> }): PreparedQuery<Row> {
      const query = build(db).compile();
      return async (...parameters) => {
        const result = await db.executeQuery<Row>({ ...query, parameters });
        return result.rows;
      };
    },
    refuse(reason) {
      refusal = reason;
    },
    async probe() {
      admit();
      try {
        database.prepare('select 1').get();
      } catch (error) {
        throw sqliteUnavailable(error);
      }
    },
    async close() {
      await db.destroy();
    },
  };
}

function open({ file, readonly = false, busyMilliseconds = 5000 }: SqliteSettings): Database.Database {
  try {
    const database = new Database(file, { readonly, fileMustExist: readonly, timeout: busyMilliseconds });
    if (!readonly) {
      database.pragma('journal_mode = WAL');
      database.pragma('synchronous = FULL');
      syncRecovered(file);
    }
    database.pragma('foreign_keys = ON');
    database.pragma('trusted_schema = OFF');
    database.pragma('cell_size_check = ON');
    // From here on waiting is ./sqlite-driver.ts's.
    database.pragma('busy_timeout = 0');
    return database;
  } catch (error) {
    throw sqliteUnavailable(error);
  }
}

/**
 * A process that was killed between the write of a commit and its sync left it in the page cache, and SQLite
 * takes it for committed without a sync of its own. What is built on it must not outlast it.
 */
function syncRecovered(file: string): void {
  const log = `${file}-wal`;
  if (existsSync(log)) fsyncPath(log);
  fsyncPath(dirname(resolve(file)));
}

/**
 * Kysely prepares at every call; preparing costs more than a read, so statements are kept by their text.
 * Errors of the database itself become typed ones here; a violated constraint passes unchanged.
 * @param admit throws where nothing may be asked any more
 */
function cachingStatements(database: Database.Database, admit: () => void) {
  const statements = new Map<string, SqliteStatement>();
  return {
    prepare(text: string): SqliteStatement {
      // What is open is rolled back.
      if (text !== 'rollback') admit();
      let statement = statements.get(text);
      if (!statement) {
        statement = typedErrors(attempt(() => database.prepare(text)));
        if (statements.size >= statementLimit) statements.delete(statements.keys().next().value ?? text);
        statements.set(text, statement);
      }
      return statement;
    },
    close: () => void database.close(),
  };
}

function typedErrors(statement: Database.Statement): SqliteStatement {
  return {
    reader: statement.reader,
    all: (parameters) => attempt(() => statement.all(parameters)),
    run: (parameters) => attempt(() => statement.run(parameters)),
    iterate: (parameters) => attempt(() => statement.iterate(parameters)),
  };
}

function attempt<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof Database.SqliteError) || error.code.startsWith('SQLITE_CONSTRAINT')) throw error;
    throw sqliteUnavailable(error);
  }
}
