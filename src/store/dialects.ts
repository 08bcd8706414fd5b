import { type ColumnDataType, type ColumnDefinitionBuilder, type RawBuilder, sql } from 'kysely';

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
}

export const sqliteDialect: Dialect = {
  name: 'sqlite',
  binary: 'blob',
  text: 'text',
  integer: 'integer',
  serial: (column) => column.primaryKey().autoIncrement(),
};
export const postgresDialect: Dialect = {
  name: 'postgres',
  binary: 'bytea',
  text: sql`text collate "C"`,
  integer: 'bigint',
  serial: (column) => column.primaryKey().generatedAlwaysAsIdentity(),
};

/** Numbers of PostgreSQL's advisory locks, within a database. */
export const advisory = {
  /** Held while migrating. */
  migration: '1400132722, 2',
  /** Held by a transaction from when it takes the number of its change. */
  changes: '1400132722, 3',
} as const;
