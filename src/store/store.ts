import type { CompiledQuery, Kysely, Transaction } from 'kysely';
import type { ServiceError } from '../core/errors.ts';
import type { Changes } from './changes.ts';
import type { Dialect } from './dialects.ts';
import type { Schema } from './schema.ts';

export type StoreTransaction = Transaction<Schema>;

/** The database: durable on return. Adapters: ./sqlite.ts, ./postgres.ts. */
export interface Store {
  readonly dialect: Dialect;
  readonly db: Kysely<Schema>;
  /** What transactions touched, for whoever keeps rows in memory. */
  readonly changes: Changes;
  /**
   * Runs `work` in one transaction: everything it did is durable when this resolves, nothing of it is there
   * when it rejects, except after `store/unavailable` from the commit itself, whose outcome is unknown.
   * All of it sees the database as it was at its first query. Of two that change the same row the second is run
   * again, so `work` must have no effect but through `tx`; what it only reads may change meanwhile: let what it
   * decides rest on a row that it changes or on a unique key. Other queries may wait: do HSM and network work
   * before.
   */
  transaction<T>(work: (tx: StoreTransaction) => Promise<T>): Promise<T>;
  /** A query compiled once, for hot reads: give its parameters at each call. */
  prepare<Row>(build: (db: Kysely<Schema>) => { compile(): CompiledQuery<Row> }): PreparedQuery<Row>;
  /** Proves that the database answers. */
  probe(): Promise<void>;
  /** From now on whatever is asked of it is refused with this, the commit of what is open too. */
  refuse(reason: ServiceError): void;
  close(): Promise<void>;
}

export type PreparedQuery<Row> = (...parameters: readonly unknown[]) => Promise<Row[]>;

/** True when `error` is a violated unique constraint, in any of the databases. */
export function isUniqueViolation(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === 'SQLITE_CONSTRAINT_UNIQUE' || code === 'SQLITE_CONSTRAINT_PRIMARYKEY' || code === '23505';
}
