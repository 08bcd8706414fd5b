import { type ColumnDataType, type RawBuilder, sql } from 'kysely';

/** What differs between the databases; everything else is one text. */
export interface Dialect {
  readonly name: 'sqlite' | 'postgres';
  readonly binary: ColumnDataType | RawBuilder<unknown>;
  /** Compared byte by byte, whatever the database's locale is and its libraries become. */
  readonly text: ColumnDataType | RawBuilder<unknown>;
  /** Takes whatever number is asked for: another type would refuse a question about version 2^31. */
  readonly integer: ColumnDataType;
}

export const sqliteDialect: Dialect = { name: 'sqlite', binary: 'blob', text: 'text', integer: 'integer' };
export const postgresDialect: Dialect = {
  name: 'postgres',
  binary: 'bytea',
  text: sql`text collate "C"`,
  integer: 'bigint',
};

/** Numbers of PostgreSQL's advisory locks, within a database. */
export const advisory = {
  /** Held by the service that has the database. */
  service: '1400132722, 1',
  /** Held while migrating. */
  migration: '1400132722, 2',
} as const;
