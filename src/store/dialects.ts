import {
  type ColumnDataType,
  type ColumnDefinitionBuilder,
  type RawBuilder,
  sql,
  type Transaction,
} from 'kysely';
import { type Change, cutEvery, keptChanges, subjectsText } from './changes.ts';
import type { Schema } from './schema.ts';

/** What differs between the databases; everything else is one text. */
export interface Dialect {
  readonly name: 'sqlite' | 'postgres';
  readonly binary: ColumnDataType | RawBuilder<unknown>;
  /** Compared byte by byte, whatever the database's locale is and its libraries become. */
  readonly text: ColumnDataType | RawBuilder<unknown>;
  /** Takes whatever number is asked for: another type would refuse a question about version 2^31. */
  readonly integer: ColumnDataType;
  /** A primary key that the database counts up, and never gives out twice. */
  serial(column: ColumnDefinitionBuilder): ColumnDefinitionBuilder;
  /** @see Changes.record */
  recordChange(tx: Transaction<Schema>, change: Change): Promise<number>;
  /** From here to its end, a transaction that writes events is alone: they commit in the order of their numbers. */
  lockEvents(tx: Transaction<Schema>): Promise<void>;
}

export const sqliteDialect: Dialect = {
  name: 'sqlite',
  binary: 'blob',
  text: 'text',
  integer: 'integer',
  serial: (column) => column.primaryKey().autoIncrement(),
  async recordChange(tx, { namespaceId, subjects, at }) {
    const { insertId } = await tx
      .insertInto('changes')
      .values({ namespace_id: namespaceId, subjects: subjectsText(subjects), created_at: at })
      .executeTakeFirstOrThrow();
    return await cutBack(tx, Number(insertId));
  },
  lockEvents: async () => undefined,
};
export const postgresDialect: Dialect = {
  name: 'postgres',
  binary: 'bytea',
  text: sql`text collate "C"`,
  integer: 'bigint',
  serial: (column) => column.primaryKey().generatedAlwaysAsIdentity(),
  /** Numbers are given out in another order than transactions commit: a lock makes it one. */
  async recordChange(tx, { namespaceId, subjects, at }) {
    const { rows } = await sql<{ revision: number }>`
      with alone as materialized (select pg_advisory_xact_lock(${sql.raw(advisory.changes)}))
      insert into changes (namespace_id, subjects, created_at)
      select ${namespaceId}, ${subjectsText(subjects)}, ${at}::bigint from alone
      returning revision, pg_notify(${changesChannel}, '')`.execute(tx);
    return await cutBack(tx, rows[0]?.revision ?? 0);
  },
  async lockEvents(tx) {
    await sql`select pg_advisory_xact_lock(${sql.raw(advisory.events)})`.execute(tx);
  },
};

async function cutBack(tx: Transaction<Schema>, revision: number): Promise<number> {
  if (revision % cutEvery === 0)
    await tx
      .deleteFrom('changes')
      .where('revision', '<=', revision - keptChanges)
      .execute();
  return revision;
}

/** Where PostgreSQL announces changes. */
export const changesChannel = 'stathera_changes';

/** Numbers of PostgreSQL's advisory locks, within a database. */
export const advisory = {
  /** Held while migrating. */
  migration: '1400132722, 2',
  /** Held by a transaction from when it takes the number of its change. */
  changes: '1400132722, 3',
  /** Held by a transaction from when it writes events. */
  events: '1400132722, 4',
} as const;
