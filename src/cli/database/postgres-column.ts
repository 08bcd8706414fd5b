import { readFileSync } from 'node:fs';
import pg from 'pg';
import type { PostgresServer } from '../../core/database-url.ts';
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

/** @param server without a password: PGPASSWORD or the file that PGPASSFILE names has it, if one is needed */
export async function openPostgresColumn(
  server: Omit<PostgresServer, 'connections'>,
  name: ColumnName,
): Promise<Column> {
  const pool = new pg.Pool({
    ...{ host: server.host, port: server.port, database: server.database, user: server.user },
    ...(server.password && { password: server.password }),
    ssl: server.tls && {
      ...(server.tls.ca && { ca: server.tls.ca() }),
      ...{ host: server.host, rejectUnauthorized: true, minVersion: 'TLSv1.2' as const },
    },
    ...{ max: 4, application_name: 'stathera rewrap', connectionTimeoutMillis: 10_000 },
    ...{ lock_timeout: 5_000, statement_timeout: 60_000, query_timeout: 65_000 },
    idle_in_transaction_session_timeout: 60_000,
    // Every question is answered by the index of the ids.
    options: '-c enable_seqscan=off -c client_encoding=UTF8',
  });
  pool.on('error', () => undefined);
  try {
    return await describe(pool, server, name);
  } catch (error) {
    await pool.end();
    throw explained(error);
  }
}

interface Found {
  /** As the catalog writes it, quoted where it must be. */
  readonly type: string;
  readonly required: boolean;
}

async function describe(
  pool: pg.Pool,
  { host, port, database }: Omit<PostgresServer, 'connections'>,
  name: ColumnName,
): Promise<Column> {
  const [table, ...rest] = name.table.split('.').map(quoted);
  const place = [table, ...rest].join('.');
  if (rest.length > 1) throw new Failed(`--table ${name.table}: must be TABLE or SCHEMA.TABLE`);
  const { rows: tables } = await pool.query<{ oid: number; kind: string }>(
    'select oid, relkind as kind from pg_class where oid = to_regclass($1)',
    [place],
  );
  const [found] = tables;
  if (!found) throw new Failed(`--table ${name.table}: there is no such table, or this user may not see it`);
  if (!['r', 'p'].includes(found.kind)) throw new Failed(`--table ${name.table}: is no table`);
  const { rows: attributes } = await pool.query<{ name: string; type: string; required: boolean }>(
    `select attname as name, format_type(atttypid, atttypmod) as type, attnotnull as required
     from pg_attribute where attrelid = $1 and attnum > 0 and not attisdropped`,
    [found.oid],
  );
  const columns = new Map<string, Found>(attributes.map((each) => [each.name, each]));
  for (const each of [name.column, ...name.idColumns, ...name.contextColumns]) {
    if (!columns.has(each)) throw new Failed(`${name.table} has no column ${each}`);
  }
  await requireUnique(pool, found.oid, name, columns);
  const value = valueOf(name, columns.get(name.column)?.type ?? '');
  return columnOf(
    { pool, place, name, value, ids: idsOf(name, columns) },
    `${host}:${port}/${database}`,
    found.oid,
  );
}

/** Without an index a page would read the whole table, and with equal ids rows would be left out. */
async function requireUnique(
  pool: pg.Pool,
  table: number,
  { idColumns }: ColumnName,
  columns: ReadonlyMap<string, Found>,
): Promise<void> {
  const { rows } = await pool.query<{ names: string[] }>(
    `select array_agg(a.attname::text) as names from pg_index i
     join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
     where i.indrelid = $1 and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
     group by i.indexrelid`,
    [table],
  );
  const required = idColumns.every((each) => columns.get(each)?.required);
  if (required && rows.some(({ names }) => names.every((each) => idColumns.includes(each)))) return;
  throw new Failed(
    `--id-column ${idColumns.join(', ')}: must be the primary key, or columns that are NOT NULL and have a unique index`,
  );
}

/** Parts of the queries that depend on what the column holds. */
interface Value {
  /** The whole, of the row `t`. */
  readonly whole: string;
  readonly type: 'bytea' | 'text';
  /** What the column becomes of a new value. */
  set(expression: string): string;
}

function valueOf({ column, path }: ColumnName, type: string): Value {
  const own = `t.${quoted(column)}`;
  if (path) {
    if (type !== 'jsonb')
      throw new Failed(`--json-pointer is for columns of jsonb, and ${column} is of ${type}`);
    const steps = `array[${path.map(literal).join(', ')}]::text[]`;
    return {
      whole: `(${own} #>> ${steps})`,
      type: 'text',
      set: (expression) => `jsonb_set(${own}, ${steps}, to_jsonb(${expression}))`,
    };
  }
  if (type === 'bytea') return { whole: own, type: 'bytea', set: (expression) => expression };
  if (type === 'text' || type.startsWith('character varying'))
    return { whole: own, type: 'text', set: (expression) => expression };
  throw new Failed(
    `${column} is of ${type}: ciphertexts are in columns of bytea, of text as base64, or of jsonb`,
  );
}

function literal(text: string): string {
  return pg.escapeLiteral(text);
}

function idsOf({ idColumns }: ColumnName, columns: ReadonlyMap<string, Found>) {
  return idColumns.map((each) => ({ name: `t.${quoted(each)}`, type: columns.get(each)?.type ?? '' }));
}

interface Parts {
  readonly pool: pg.Pool;
  readonly place: string;
  readonly name: ColumnName;
  readonly value: Value;
  readonly ids: readonly { readonly name: string; readonly type: string }[];
}

function columnOf({ pool, place, name, value, ids }: Parts, database: string, oid: number): Column {
  const { whole, type } = value;
  // Of text too: base64 has as many bytes as characters, and whoever counts characters has to read all of them.
  const length = `octet_length(${whole})`;
  const most = type === 'bytea' ? startBytes : startCharacters;
  const idTexts = ids.map((each) => `${each.name}::text`);
  const contextTexts = name.contextColumns.map((each) => `t.${quoted(each)}::text`);
  const selected = [
    `array[${idTexts.join(', ')}] as id`,
    `substring(${whole} from 1 for ${most}) as start`,
    `coalesce(${length}, 0) as length`,
    `array[${contextTexts.join(', ')}]::text[] as context`,
  ].join(', ');
  const idNames = ids.map((each) => each.name).join(', ');
  const after = ids.map((each, at) => `$${at + 1}::${each.type}`).join(', ');
  const order = `order by ${idNames} limit`;
  const dataIds = ids.map((_, at) => `id${at}`);
  const matches = ids.map((each, at) => `${each.name} = d.id${at}::${each.type}`).join(' and ');
  const first = ids.length + 1;
  const arrays = [
    ...ids.map((_, at) => `$${at + 1}::text[]`),
    ...[
      `$${first}::${type}[]`,
      `$${first + 1}::${type}[]`,
      `$${first + 2}::integer[]`,
      `$${first + 3}::bigint[]`,
    ],
  ].join(', ');
  // Whatever the column's own collation takes for equal.
  const exactly = type === 'text' ? ' collate "C"' : '';
  const queries = {
    first: `select ${selected} from ${place} as t ${order} $1`,
    next: `select ${selected} from ${place} as t where (${idNames}) > (${after}) ${order} $${first}`,
    some: `select ${selected} from unnest(${ids.map((_, at) => `$${at + 1}::text[]`).join(', ')})
      as d(${dataIds.join(', ')}) join ${place} as t on ${matches}`,
    update: `update ${place} as t set ${quoted(name.column)} = ${value.set(`d.fresh || substring(${whole} from d.cut + 1)`)}
      from unnest(${arrays}) as d(${dataIds.join(', ')}, old, fresh, cut, whole)
      where ${matches} and substring(${whole} from 1 for d.cut)${exactly} = d.old
        and (d.whole is null or ${length} = d.whole)
      returning array[${idTexts.join(', ')}] as id`,
  };

  async function ask<R extends pg.QueryResultRow>(text: string, values: unknown[]): Promise<R[]> {
    try {
      return (await pool.query<R>(text, values)).rows;
    } catch (error) {
      throw explained(error);
    }
  }

  const columnsOf = (all: readonly Id[]) => ids.map((_, at) => all.map((id) => id[at]));
  return {
    system: 'postgres',
    database,
    async count() {
      const rows = await ask<{ count: number }>(
        'select reltuples::float8 as count from pg_class where oid = $1',
        [oid],
      );
      const count = rows[0]?.count ?? -1;
      return count > 0 ? count : undefined;
    },
    page: (last, limit) =>
      last === undefined
        ? ask<Row & pg.QueryResultRow>(queries.first, [limit])
        : ask(queries.next, [...last, limit]),
    rows: (all) => ask(queries.some, columnsOf(all)),
    async update(changes) {
      const own = [
        changes.map(({ from }) => from),
        changes.map(({ to }) => to),
        changes.map(({ from }) => from.length),
        changes.map((change) => change.whole ?? null),
      ];
      const done = await ask<{ id: string[] }>(queries.update, [
        ...columnsOf(changes.map(({ id }) => id)),
        ...own,
      ]);
      const updated = new Set(done.map(({ id }) => JSON.stringify(id)));
      return changes.map(({ id }: Change) => updated.has(JSON.stringify(id)));
    },
    close: () => pool.end(),
  };
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOENT: 'there is no such socket',
  ENOTFOUND: 'its name is not known',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another host',
  '28P01': 'it refuses the password: PGPASSFILE names a file that has it, or --database-password-file',
  '28000': 'it refuses the user',
  '3D000': 'there is no such database',
  '42501': 'this user may not: it needs SELECT and UPDATE on the table',
};

/** PostgreSQL's own texts hold no password; some hold values of a row, which a constraint may have refused. */
function explained(error: unknown): unknown {
  if (error instanceof Failed) return error;
  const { code, message = '' } = error as { code?: string; message?: string };
  if (code === '40P01' || code === '55P03' || code === '40001') return error;
  const text =
    reasons[code ?? ''] ?? (code?.startsWith('23') ? 'a constraint of the table refuses it' : message);
  return new Failed(`the database: ${text}${code === undefined ? '' : ` (${code})`}`);
}

/** True for what another transaction made fail, and may succeed when it is tried again. */
export function isContended(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return code === '40P01' || code === '55P03' || code === '40001' || String(code).startsWith('SQLITE_BUSY');
}

/** @throws Failed */
export function passwordFrom(file: string): () => string {
  return () => {
    try {
      return readFileSync(file, 'utf8').replace(/\r?\n$/, '');
    } catch {
      throw new Failed(`--database-password-file ${file}: cannot be read`);
    }
  };
}
