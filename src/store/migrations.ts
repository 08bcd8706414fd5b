import { setTimeout as delay } from 'node:timers/promises';
import { type Kysely, sql } from 'kysely';
import { ServiceError } from '../core/errors.ts';
import { serviceNamespaceId } from '../core/ids.ts';
import { schemaSubject } from './changes.ts';
import { createCoverageTable } from './coverage-tables.ts';
import { createDatasetTables } from './dataset-tables.ts';
import { advisory, type Dialect } from './dialects.ts';
import { createEventTables } from './event-tables.ts';
import { createFieldTables } from './field-tables.ts';
import { firstTables } from './first-tables.ts';
import { createJobTables, createLeaseTable } from './job-tables.ts';
import { createLifecycleTables } from './lifecycle-tables.ts';
import { createQueryTables } from './query-tables.ts';
import { createRotationTables } from './rotation-tables.ts';
import type { Schema } from './schema.ts';

export interface Migration {
  readonly number: number;
  readonly name: string;
  /**
   * Code whose newest migration is at least this may use the database afterwards, beside this one too. Older code
   * does not start, and refuses everything where it runs; what it had begun at that moment may still commit.
   */
  readonly oldestCode: number;
  up(db: Kysely<Schema>, dialect: Dialect): Promise<void>;
}

const first: Migration = { number: 1, name: 'spine', oldestCode: 1, up: firstTables };

/** Code before it refuses the rows in which the column is set, and no others. */
const dataKeyReuse: Migration = {
  number: 2,
  name: 'data-key-reuse',
  oldestCode: 1,
  async up(db, { text }) {
    await db.schema.alterTable('keys').addColumn('data_key_reuse', text).execute();
  },
};

const leases: Migration = { number: 3, name: 'leases', oldestCode: 1, up: createLeaseTable };

/** Code before it refuses the rows in which a new column is set, and no others. */
const imports: Migration = {
  number: 4,
  name: 'imports',
  oldestCode: 1,
  async up(db, { binary, text, integer }) {
    await db.schema.alterTable('keys').addColumn('origin', text).execute();
    await db.schema.alterTable('key_versions').addColumn('origin', text).execute();
    await db.schema.alterTable('key_versions').addColumn('expires_at', 'bigint').execute();
    await db.schema
      .createTable('import_wrapping_keys')
      .addColumn('id', text, (c) => c.primaryKey().notNull())
      .addColumn('namespace_id', text, (c) => c.notNull().references('namespaces.id'))
      // One open import a key: the newest.
      .addColumn('key_id', text, (c) => c.unique().references('keys.id'))
      .addColumn('wrapping', text, (c) => c.notNull())
      .addColumn('kek_id', text, (c) => c.notNull().references('system_keys.id'))
      .addColumn('public_key', binary, (c) => c.notNull())
      .addColumn('blob', binary, (c) => c.notNull())
      .addColumn('created_at', 'bigint', (c) => c.notNull())
      .addColumn('expires_at', 'bigint')
      .addColumn('revision', integer, (c) => c.notNull())
      .addColumn('mac', binary, (c) => c.notNull())
      .execute();
    await db.schema
      .createIndex('import_wrapping_keys_expiry')
      .on('import_wrapping_keys')
      .column('expires_at')
      .execute();
  },
};

/** Code before it changes rows without telling, so that newer code may go on with what it has in memory. */
const changes: Migration = {
  number: 5,
  name: 'changes',
  oldestCode: 5,
  async up(db, { text, integer, serial }) {
    await db.schema
      .createTable('changes')
      .addColumn('revision', integer, (c) => serial(c).notNull())
      .addColumn('namespace_id', text, (c) => c.notNull())
      .addColumn('subjects', text, (c) => c.notNull())
      .addColumn('created_at', 'bigint', (c) => c.notNull())
      .execute();
  },
};

/** Code before it would look for the log in files, and take it for lost. */
const auditInDatabase: Migration = {
  number: 6,
  name: 'audit-in-database',
  oldestCode: 6,
  async up(db, { binary, text, integer }) {
    await db.schema
      .createTable('audit_writers')
      .addColumn('writer', text, (c) => c.primaryKey().notNull())
      .addColumn('namespace_id', text, (c) => c.notNull())
      .addColumn('epoch', 'bigint', (c) => c.notNull())
      .addColumn('held', integer, (c) => c.notNull())
      .addColumn('beat', 'bigint', (c) => c.notNull())
      .execute();
    await db.schema
      .createTable('audit_segment_bytes')
      .addColumn('namespace_id', text, (c) => c.notNull())
      .addColumn('writer', text, (c) => c.notNull())
      .addColumn('number', integer, (c) => c.notNull())
      .addColumn('start', 'bigint', (c) => c.notNull())
      .addColumn('bytes', binary, (c) => c.notNull())
      .addPrimaryKeyConstraint('audit_segment_bytes_key', ['writer', 'number', 'start'])
      .execute();
  },
};

const jobs: Migration = { number: 7, name: 'jobs', oldestCode: 6, up: createJobTables };

/** Code before it makes keys for its own token alone; newer code hands them over to the others. */
const enrolment: Migration = {
  number: 8,
  name: 'enrolment',
  oldestCode: 6,
  async up(db, { binary, text, integer }) {
    await db.schema
      .createTable('root_transport_keys')
      .addColumn('root_id', text, (c) => c.primaryKey().notNull().references('roots.id'))
      .addColumn('namespace_id', text, (c) => c.notNull())
      .addColumn('public_key', binary, (c) => c.notNull())
      .addColumn('created_at', 'bigint', (c) => c.notNull())
      .addColumn('revision', integer, (c) => c.notNull())
      .addColumn('mac', binary, (c) => c.notNull())
      .execute();
    await db.schema
      .createTable('system_key_transports')
      .addColumn('system_key_id', text, (c) => c.notNull().references('system_keys.id'))
      .addColumn('root_id', text, (c) => c.notNull().references('root_transport_keys.root_id'))
      .addColumn('namespace_id', text, (c) => c.notNull())
      .addColumn('blob', binary, (c) => c.notNull())
      .addColumn('mac', binary, (c) => c.notNull())
      .addPrimaryKeyConstraint('system_key_transports_key', ['system_key_id', 'root_id'])
      .execute();
  },
};

const coverage: Migration = { number: 9, name: 'coverage', oldestCode: 6, up: createCoverageTable };
/** Code before it takes a version that is destroyed for one that it cannot open. */
const lifecycle: Migration = { number: 10, name: 'lifecycle', oldestCode: 6, up: createLifecycleTables };

const datasets: Migration = { number: 11, name: 'datasets', oldestCode: 6, up: createDatasetTables };
/**
 * Code before it makes keys without a schedule, and refuses the rows in which a new column is set; what it rotates has
 * no place in the history, and its date stays.
 */
const rotation: Migration = { number: 12, name: 'rotation', oldestCode: 6, up: createRotationTables };

const queries: Migration = { number: 13, name: 'queries', oldestCode: 6, up: createQueryTables };
const events: Migration = { number: 14, name: 'events', oldestCode: 6, up: createEventTables };
const fields: Migration = { number: 15, name: 'fields', oldestCode: 6, up: createFieldTables };

/** In order, without gaps; a landed migration is never edited. */
export const migrations: readonly Migration[] = [
  ...[first, dataKeyReuse, leases, imports, changes],
  ...[auditInDatabase, jobs, enrolment, coverage, lifecycle, datasets, rotation, queries, events, fields],
];

/**
 * Brings the database to the newest schema this code knows. Each migration commits with its row; of several
 * processes that start at once, one migrates and the others wait.
 * @param known the migrations of this code (tests pass others)
 * @throws store/unavailable when newer code has made the database unusable for this code
 */
export async function migrate(
  db: Kysely<Schema>,
  dialect: Dialect,
  now: number,
  known: readonly Migration[] = migrations,
): Promise<void> {
  if (dialect.name === 'sqlite') return await migrateAlone(db, dialect, now, known);
  await db.connection().execute(async (connection) => {
    await lockMigrations(connection);
    try {
      await migrateAlone(connection, dialect, now, known);
    } finally {
      await sql`select pg_advisory_unlock(${sql.raw(advisory.migration)})`.execute(connection);
    }
  });
}

const migrationsWaitMilliseconds = 60_000;

/** Asked again and again: a statement may not wait as long as another's migration may take. */
async function lockMigrations(db: Kysely<Schema>): Promise<void> {
  const deadline = performance.now() + migrationsWaitMilliseconds;
  for (;;) {
    const { rows } = await sql<{
      locked: boolean;
    }>`select pg_try_advisory_lock(${sql.raw(advisory.migration)}) as locked`.execute(db);
    if (rows[0]?.locked) return;
    if (performance.now() > deadline) {
      throw new ServiceError(
        'store/unavailable',
        'Another process has been migrating the database for a minute.',
      );
    }
    await delay(50);
  }
}

async function migrateAlone(
  db: Kysely<Schema>,
  dialect: Dialect,
  now: number,
  known: readonly Migration[],
): Promise<void> {
  await db.schema
    .createTable('schema_migrations')
    .ifNotExists()
    .addColumn('number', 'integer', (c) => c.primaryKey().notNull())
    .addColumn('name', 'text', (c) => c.notNull())
    .addColumn('oldest_code', 'integer', (c) => c.notNull())
    .addColumn('namespace_id', 'text', (c) => c.notNull())
    .addColumn('applied_at', 'bigint', (c) => c.notNull())
    .execute();
  const refusal = await refusalOfOldCode(db, known);
  if (refusal) throw refusal;
  const applied = await db.selectFrom('schema_migrations').select('number').execute();
  const done = new Set(applied.map((row) => Number(row.number)));
  for (const migration of known) {
    if (done.has(migration.number)) continue;
    await db.transaction().execute(async (tx) => {
      // SQLite's transactions come one after the other: another process may have been first.
      if (await isApplied(tx, migration)) return;
      await migration.up(tx, dialect);
      await tx
        .insertInto('schema_migrations')
        .values({
          number: migration.number,
          name: migration.name,
          oldest_code: migration.oldestCode,
          namespace_id: serviceNamespaceId,
          applied_at: now,
        })
        .execute();
      // Older code that runs looks whether it may go on.
      if (migration.number > changes.number) {
        const subjects = [schemaSubject];
        await dialect.recordChange(tx, { namespaceId: serviceNamespaceId, subjects, at: now });
      }
    });
  }
}

/** @returns what to refuse with where newer code has closed the database to code that knows these migrations */
export async function refusalOfOldCode(
  db: Kysely<Schema>,
  known: readonly Migration[] = migrations,
): Promise<ServiceError | undefined> {
  const newest = known.at(-1)?.number ?? 0;
  const blocking = await db
    .selectFrom('schema_migrations')
    .selectAll()
    .where('oldest_code', '>', newest)
    .orderBy('number')
    .executeTakeFirst();
  if (!blocking) return undefined;
  return new ServiceError(
    'store/unavailable',
    `The database was migrated by newer software (migration ${blocking.number}, ${blocking.name}); ` +
      `this version knows migrations up to ${newest} and at least ${blocking.oldest_code} is needed: upgrade it.`,
    { retryAfterSeconds: 1 },
  );
}

async function isApplied(tx: Kysely<Schema>, { number }: Migration): Promise<boolean> {
  const row = await tx
    .selectFrom('schema_migrations')
    .select('number')
    .where('number', '=', number)
    .executeTakeFirst();
  return row !== undefined;
}

/** The newest migration the database has; undefined when it has none. */
export async function schemaNumber(db: Kysely<Schema>): Promise<number | undefined> {
  const result = await sql<{
    newest: number | null;
  }>`select max(number) as newest from schema_migrations`.execute(db);
  const newest = result.rows[0]?.newest;
  return newest === null || newest === undefined ? undefined : Number(newest);
}
