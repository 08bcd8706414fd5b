import { sql } from 'kysely';
import { ServiceError } from '../core/errors.ts';
import { schemaNumber } from './migrations.ts';
import { isAuthenticated, type RowAuthenticator } from './rows.ts';
import type { Store, StoreTransaction } from './store.ts';

/** What means something to the processes of one database alone. */
const ofItsOwn = ['schema_migrations', 'changes', 'leases', 'audit_writers', 'audit_segment_bytes'];

/** Rows of a page: some hold a megabyte. */
const pageRows = 20;

export interface TableRows {
  readonly table: string;
  readonly rows: number;
}

/** How many rows there are to copy, by table. */
export async function rowsToCopy(store: Store): Promise<TableRows[]> {
  const found: TableRows[] = [];
  for (const table of await tablesOf(store)) found.push({ table, rows: await count(store.db, table) });
  return found;
}

/**
 * Copies every row of a SQLite database into an empty PostgreSQL database of the same schema, in one transaction: all
 * of it or nothing. Nobody writes to the source meanwhile. What arrived is read back, and each MAC checked.
 * @param verify of the source's record key
 * @throws store/unavailable with what to do; internal where a row of the source was altered
 */
export async function copyRows(
  source: Store,
  target: Store,
  verify: RowAuthenticator['verify'],
  onCopied: (copied: TableRows) => void,
): Promise<void> {
  const [from, to] = [await schemaNumber(source.db), await schemaNumber(target.db)];
  if (from !== to) {
    throw refused(
      `the SQLite database is of another version (migration ${from}, not ${to}): run \`stathera init\` with it first`,
    );
  }
  const tables = await inOrder(target, await tablesOf(source));
  // SQLite's writer lock is held all the while.
  await source.transaction((reading) =>
    target.transaction(async (writing) => {
      for (const table of tables) {
        if (await hasRows(writing, table))
          throw refused('the PostgreSQL database is not empty: make a new one, without `init`');
      }
      for (const table of tables) {
        onCopied({ table, rows: await copyTable(reading, writing, table, verify) });
      }
    }),
  );
}

type Row = Record<string, unknown>;

async function copyTable(
  reading: StoreTransaction,
  writing: StoreTransaction,
  table: string,
  verify: RowAuthenticator['verify'],
): Promise<number> {
  let [after, rows] = [0, 0];
  for (;;) {
    const { rows: page } = await sql<Row & { copied_rowid: number }>`
      select rowid as copied_rowid, * from ${sql.table(table)}
      where rowid > ${after} order by rowid limit ${pageRows}`.execute(reading);
    const last = page.at(-1);
    if (!last) break;
    const arrived = await insert(
      writing,
      table,
      page.map(({ copied_rowid: _, ...row }) => row),
    );
    if (arrived.length !== page.length) throw new Error(`not all rows of ${table} arrived`);
    if (isAuthenticated(table)) await Promise.all(arrived.map((row) => verify(table, row as never)));
    after = last.copied_rowid;
    rows += page.length;
  }
  if (rows > 0) await countOn(writing, table);
  return rows;
}

/** Numbers that the database gave out stay what they were. @returns what it has */
async function insert(writing: StoreTransaction, table: string, page: readonly Row[]): Promise<Row[]> {
  const columns = Object.keys(page[0] ?? {});
  const values = page.map((row) => sql`(${sql.join(columns.map((column) => row[column]))})`);
  const { rows } = await sql<Row>`
    insert into ${sql.table(table)} (${sql.join(columns.map((column) => sql.ref(column)))})
    overriding system value values ${sql.join(values)} returning *`.execute(writing);
  return rows;
}

/** What the database counts up goes on after what was copied. */
async function countOn(writing: StoreTransaction, table: string): Promise<void> {
  const { rows } = await sql<{ name: string }>`
    select attname as name from pg_attribute
    where attrelid = ${table}::regclass and attidentity <> ''`.execute(writing);
  for (const { name } of rows) {
    await sql`select setval(pg_get_serial_sequence(${table}, ${name}), max(${sql.ref(name)}))
      from ${sql.table(table)}`.execute(writing);
  }
}

async function tablesOf(store: Store): Promise<string[]> {
  const tables = await store.db.introspection.getTables();
  return tables.map(({ name }) => name).filter((name) => !ofItsOwn.includes(name));
}

/** Those that others refer to first. */
async function inOrder(target: Store, tables: readonly string[]): Promise<string[]> {
  const { rows: references } = await sql<{ of: string; to: string }>`
    select conrelid::regclass::text as of, confrelid::regclass::text as to from pg_constraint
    where contype = 'f' and conrelid <> confrelid`.execute(target.db);
  const ordered: string[] = [];
  const add = (table: string): void => {
    if (ordered.includes(table)) return;
    for (const { of, to } of references) if (of === table) add(to);
    ordered.push(table);
  };
  for (const table of tables) add(table);
  return ordered;
}

async function count(db: Store['db'], table: string): Promise<number> {
  const { rows } = await sql<{ n: number }>`select count(*) as n from ${sql.table(table)}`.execute(db);
  return Number(rows[0]?.n ?? 0);
}

async function hasRows(db: Store['db'], table: string): Promise<boolean> {
  const { rows } = await sql`select 1 from ${sql.table(table)} limit 1`.execute(db);
  return rows.length > 0;
}

function refused(why: string): ServiceError {
  return new ServiceError('store/unavailable', `Nothing was copied: ${why}.`);
}
