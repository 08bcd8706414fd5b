import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import Database from 'better-sqlite3';
import { Failed } from '../failed.ts';
import {
  type Change,
  type Column,
  type ColumnName,
  type Id,
  quoted,
  type Row,
  startBytes,
  startCharacters,
} from './column.ts';

const busyMilliseconds = 5_000;

export function openSqliteColumn(file: string, name: ColumnName): Column {
  if (!existsSync(file)) throw new Failed(`there is no database ${file}`);
  const database = new Database(file, { fileMustExist: true, timeout: busyMilliseconds });
  try {
    database.defaultSafeIntegers(true);
    requireColumns(database, name);
    return columnOf(database, resolve(file), name);
  } catch (error) {
    database.close();
    throw error instanceof Failed ? error : new Failed(`the database ${file}: ${(error as Error).message}`);
  }
}

const rowIds = ['rowid', '_rowid_', 'oid'];

function requireColumns(
  database: Database.Database,
  { table, column, idColumns, contextColumns, path }: ColumnName,
) {
  const columns = database
    .prepare(`select name, pk, "notnull" as required from pragma_table_xinfo(?)`)
    .all(table) as {
    name: string;
    pk: bigint;
    required: bigint;
  }[];
  if (columns.length === 0) throw new Failed(`--table ${table}: there is no such table`);
  const names = new Set(columns.map((each) => each.name));
  const isRowId = (each: string) => idColumns.length === 1 && rowIds.includes(each) && !names.has(each);
  for (const each of [column, ...idColumns, ...contextColumns]) {
    if (!names.has(each) && !isRowId(each)) throw new Failed(`${table} has no column ${each}`);
  }
  if (path?.some((step) => step.includes('"') || /^\d*$/.test(step)))
    throw new Failed('--json-pointer must name members of objects, without quotes');
  const primary = columns.filter((each) => each.pk > 0n).map((each) => each.name);
  const required = columns.filter((each) => each.required === 1n || each.pk > 0n).map((each) => each.name);
  const indexes = database
    .prepare('select name from pragma_index_list(?) where "unique" = 1 and partial = 0')
    .all(table) as { name: string }[];
  const unique = indexes.map(({ name: index }) =>
    (database.prepare('select name from pragma_index_info(?)').all(index) as { name: string | null }[]).map(
      (each) => each.name,
    ),
  );
  const within = (all: readonly (string | null)[]) =>
    all.length > 0 && all.every((each) => each !== null && idColumns.includes(each));
  const known = idColumns.every((each) => required.includes(each));
  if (idColumns.every(isRowId) || (known && [primary, ...unique].some(within))) return;
  throw new Failed(
    `--id-column ${idColumns.join(', ')}: must be the primary key, or columns that are NOT NULL and have a unique index`,
  );
}

function columnOf(database: Database.Database, file: string, name: ColumnName): Column {
  const table = quoted(name.table);
  const own = quoted(name.column);
  const json = name.path && `'$${name.path.map((step) => `."${step.replaceAll("'", "''")}"`).join('')}'`;
  const whole = json ? `json_extract(${own}, ${json})` : own;
  const ids = name.idColumns.map(quoted);
  const idList = ids.join(', ');
  const context = name.contextColumns.map((each, at) => `cast(${quoted(each)} as text) as context${at}`);
  const selected = [
    ...ids.map((each, at) => `${each} as id${at}`),
    // Of no bytes, substr makes NULL.
    `coalesce(substr(${whole}, 1, case typeof(${whole}) when 'blob' then ${startBytes} else ${startCharacters} end), ${whole}) as start`,
    `coalesce(length(${whole}), 0) as length`,
    ...context,
  ].join(', ');
  const holes = ids.map(() => '?').join(', ');
  const here = ids.map((each) => `${each} = ?`).join(' and ');
  const changed = (fresh: string) => (json ? `json_set(${own}, ${json}, ${fresh})` : fresh);
  // Joined bytes are text to SQLite, of the same bytes.
  const fresh = (as: string) => changed(`cast(? || substr(${whole}, ?) as ${as})`);
  const update = (as: string) =>
    database.prepare(
      `update ${table} set ${own} = ${fresh(as)} where ${here} and typeof(${whole}) = '${as}'
       and substr(${whole}, 1, ?) = ? and (? is null or length(${whole}) = ?)`,
    );
  const statements = {
    first: database.prepare(`select ${selected} from ${table} order by ${idList} limit ?`),
    next: database.prepare(
      `select ${selected} from ${table} where (${idList}) > (${holes}) order by ${idList} limit ?`,
    ),
    one: database.prepare(`select ${selected} from ${table} where ${here}`),
    count: database.prepare(`select count(*) as count from ${table}`),
    blob: update('blob'),
    text: update('text'),
  };

  function change({ id, from, to, whole: length }: Change): boolean {
    const statement = typeof from === 'string' ? statements.text : statements.blob;
    const cut = from.length;
    const bound = [to, cut + 1, ...id.map(valueOf), cut, from, length ?? null, length ?? null];
    return statement.run(...bound).changes === 1;
  }
  const changeAll = database.transaction((changes: readonly Change[]) => changes.map(change));

  const rowOf = (found: unknown): Row => {
    const values = found as Record<string, unknown>;
    const start = values['start'] as Uint8Array | string | bigint | number | null;
    return {
      id: ids.map((_, at) => textOf(values[`id${at}`])),
      start: start === null || start instanceof Uint8Array ? start : String(start),
      length: Number(values['length']),
      context: context.map((_, at) => values[`context${at}`] as string | null),
    };
  };
  return {
    system: 'sqlite',
    database: file,
    count: async () => Number((statements.count.get() as { count: bigint }).count),
    page: async (after, limit) =>
      (after === undefined
        ? statements.first.all(limit)
        : statements.next.all(...after.map(valueOf), limit)
      ).map(rowOf),
    rows: async (all) =>
      all.flatMap((id: Id) => {
        const found = statements.one.get(...id.map(valueOf));
        return found === undefined ? [] : [rowOf(found)];
      }),
    update: async (changes) => changeAll.immediate(changes),
    close: async () => void database.close(),
  };
}

// SQLite's values have a type each, which an id must keep: a text 7 is no number 7.

function textOf(value: unknown): string {
  if (typeof value === 'bigint') return `i${value}`;
  if (typeof value === 'number') return `r${value}`;
  if (value instanceof Uint8Array) return `b${Buffer.from(value).toString('base64')}`;
  if (typeof value === 'string') return `t${value}`;
  throw new Failed('a row has no id');
}

function valueOf(text: string): bigint | number | Buffer | string {
  const value = text.slice(1);
  if (text.startsWith('i')) return BigInt(value);
  if (text.startsWith('r')) return Number(value);
  return text.startsWith('b') ? Buffer.from(value, 'base64') : value;
}
