import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import pg from 'pg';
import { createClient } from '../../../src/client/node/index.ts';
import { startPostgres, type TestPostgres, whyNoPostgres } from '../../support/postgres.ts';
import type { TestService } from '../../support/service.ts';

/** An application's database, of either kind, as its programs use it. */
export interface Application {
  readonly kind: 'sqlite' | 'postgres';
  readonly url: string;
  /** What the types are called. */
  readonly binary: 'blob' | 'bytea';
  run(text: string, values?: readonly unknown[]): Promise<void>;
  /** Adds rows of `id` and `card` to the table of payments. */
  pay(rows: readonly (readonly [id: number, card: Uint8Array])[]): Promise<void>;
  all<Row>(text: string, values?: readonly unknown[]): Promise<Row[]>;
  /** A place for a value in a query: `?` or `$1`. */
  hole(at: number): string;
  close(): Promise<void>;
}

let server: Promise<TestPostgres> | undefined;
let started: TestPostgres | undefined;

export async function removeServer(): Promise<void> {
  started = undefined;
  await (await server)?.remove();
  server = undefined;
}

/** The same, for who cannot wait for a promise. */
export function removeServerNow(): void {
  started?.removeNow();
}

export const kinds: readonly Application['kind'][] =
  whyNoPostgres() === undefined ? ['sqlite', 'postgres'] : ['sqlite'];

export async function openApplication(kind: Application['kind']): Promise<Application> {
  return kind === 'sqlite' ? openSqlite() : await openPostgres();
}

function openSqlite(): Application {
  const directory = mkdtempSync(join(tmpdir(), 'stathera-application-'));
  const file = join(directory, 'app.db');
  const database = new Database(file);
  database.pragma('journal_mode = wal');
  return {
    ...{ kind: 'sqlite', url: `sqlite:${file}`, binary: 'blob', hole: () => '?' },
    async run(text, values = []) {
      if (values.length > 0) database.prepare(text).run(...values);
      else database.exec(text);
    },
    pay: async (rows) => {
      const insert = database.prepare('insert into payments (id, card) values (?, ?)');
      database.transaction(() => {
        for (const row of rows) insert.run(...row);
      })();
    },
    all: async (text, values = []) => database.prepare(text).all(...values) as never[],
    async close() {
      database.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function openPostgres(): Promise<Application> {
  // It is never killed here.
  server ??= startPostgres(['fsync=off', 'synchronous_commit=off']);
  started = await server;
  const url = await started.createDatabase();
  const pool = new pg.Pool({ connectionString: url, max: 4 });
  pool.on('error', () => undefined);
  return {
    ...{ kind: 'postgres', url, binary: 'bytea', hole: (at) => `$${at}` },
    async run(text, values = []) {
      await pool.query(text, [...values]);
    },
    pay: async (rows) => {
      const columns = [rows.map(([id]) => id), rows.map(([, card]) => Buffer.from(card))];
      await pool.query(
        'insert into payments (id, card) select * from unnest($1::bigint[], $2::bytea[])',
        columns,
      );
    },
    all: async (text, values = []) => (await pool.query(text, [...values])).rows as never[],
    close: () => pool.end(),
  };
}

/** What an application does with the service: encrypts and opens many values at once. */
export function cryptography(service: TestService) {
  const client = createClient({ url: service.url, credentials: service.token });
  return {
    client,
    async encryptAll(
      key: string,
      values: readonly { plaintext: Uint8Array; context: Record<string, string> }[],
    ) {
      const all: Uint8Array[] = [];
      for (let from = 0; from < values.length; from += 500) {
        const operations = values
          .slice(from, from + 500)
          .map((value) => ({ operation: 'encrypt' as const, key, ...value }));
        const { results } = await client.batch({ operations });
        for (const result of results) {
          if ('problem' in result) throw new Error(result.problem.code);
          all.push(result.ciphertext);
        }
      }
      return all;
    },
    async decryptAll(values: readonly { ciphertext: Uint8Array; context: Record<string, string> }[]) {
      const all: { text: string; version: number }[] = [];
      for (let from = 0; from < values.length; from += 500) {
        const operations = values
          .slice(from, from + 500)
          .map((value) => ({ operation: 'decrypt' as const, ...value }));
        const { results } = await client.batch({ operations });
        for (const result of results) {
          if ('problem' in result) throw new Error(result.problem.code);
          all.push({ text: Buffer.from(result.plaintext).toString(), version: result.keyVersion });
        }
      }
      return all;
    },
  };
}

export interface Told {
  readonly currentVersion: number;
  readonly rows: number;
  readonly nulls: number;
  readonly foreign: number;
  readonly unreadable: number;
  readonly versions: readonly {
    readonly version: number;
    readonly found: number;
    readonly rewrapped: number;
    readonly failed: number;
    readonly remaining: number;
  }[];
  readonly agreed: boolean;
  readonly complete: boolean;
  readonly unreadableIds: readonly (readonly string[])[];
  readonly failedIds: readonly { readonly id: readonly string[]; readonly code: string }[];
  readonly report?: string;
}
