import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type CompiledQuery, Kysely, PostgresDialect, type PostgresPool } from 'kysely';
import { ServiceError } from '../core/errors.ts';
import { postgresDialect } from './dialects.ts';
import { postgresChanges } from './postgres-changes.ts';
import {
  type Connections,
  openConnections,
  type PostgresSettings,
  refusedAtStart,
  sqlState,
} from './postgres-connections.ts';
import type { Schema } from './schema.ts';
import type { PreparedQuery, Store } from './store.ts';

/** How long transactions that lose against others are tried again. */
const contendedMilliseconds = 5_000;

/**
 * Opens a PostgreSQL database: a commit is on its disk, and on that of a synchronous standby where one is set
 * up, when it returns.
 * @throws store/unavailable with a text for the operator: cannot be reached, or may lose what it committed
 */
export async function openPostgresStore(settings: PostgresSettings): Promise<Store> {
  const name = `stathera ${randomUUID()}`;
  const connections = openConnections(settings, name);
  try {
    // Now, and not with the first request, it shows what is wrong.
    (await connections.connect()).release();
    return createStore({ settings, name, connections });
  } catch (error) {
    throw refusedAtStart(settings, error instanceof ServiceError ? error.cause : error);
  }
}

interface Parts {
  readonly settings: PostgresSettings;
  readonly name: string;
  readonly connections: Connections;
}

function createStore({ settings, name, connections }: Parts): Store {
  const pool: PostgresPool = {
    connect: () => connections.connect() as never,
    end: () => connections.end(),
    options: {},
  };
  const db = new Kysely<Schema>({ dialect: new PostgresDialect({ pool }) });
  let statements = 0;
  // Snapshots keep the promise of Store.transaction. `serializable` would promise more, and refuses changes of
  // small tables for the sake of others they have nothing to do with: six out of seven, with 16 at once.
  const isolation = 'repeatable read';
  return {
    dialect: postgresDialect,
    db,
    changes: postgresChanges(settings, name),
    transaction: (work) =>
      untilUncontended(() => db.transaction().setIsolationLevel(isolation).execute(work)),
    prepare<Row>(build: (db: Kysely<Schema>) => { compile(): CompiledQuery<Row> }): PreparedQuery<Row> {
      const text = build(db).compile().sql;
      statements += 1;
      const statement = `stathera-${statements}`;
      return async (...values) =>
        (await readPrepared(connections, { name: statement, text, values })) as Row[];
    },
    refuse: (reason) => connections.refuse(reason),
    async probe() {
      const connection = await connections.connect();
      try {
        await connection.query('select 1');
      } finally {
        connection.release();
      }
    },
    async close() {
      await db.destroy();
      // A pool that gave out nothing is not known to the query builder.
      await connections.end();
    },
  };
}

/** 0A000: newer code has added a column meanwhile; the plan this connection keeps does not fit any more. */
async function readPrepared(
  connections: Connections,
  query: { name: string; text: string; values: readonly unknown[] },
): Promise<unknown[]> {
  const connection = await connections.connect();
  try {
    return (await connection.prepared(query)).rows;
  } catch (error) {
    if (sqlState((error as ServiceError).cause) !== '0A000') throw error;
    connection.discard();
    return (await connection.query(query.text, query.values)).rows;
  } finally {
    connection.release();
  }
}

/**
 * Runs a transaction again that the server refused for the sake of another's: nothing of it happened, and its
 * work has no effect but through it (see Store.transaction).
 */
async function untilUncontended<T>(run: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + contendedMilliseconds;
  for (let pause = 1; ; pause = Math.min(pause * 2, 64)) {
    try {
      return await run();
    } catch (error) {
      const lost = ['40001', '40P01'].includes(sqlState((error as Error).cause) ?? '');
      if (!lost || performance.now() > deadline) throw error;
    }
    await delay(pause * Math.random());
  }
}
