import { concatBytes, equalBytes, lengthPrefixed, utf8 } from '../core/bytes.ts';
import { ServiceError } from '../core/errors.ts';
import type { Prf } from '../crypto/kdf.ts';
import { labels } from '../crypto/labels.ts';
import type { Schema } from './schema.ts';

/**
 * Which columns a row's MAC covers, by layout number. The number is the MAC's first byte, so that rows
 * written before a column existed stay readable: a new column means a new layout, never a changed one. A row
 * is sealed by the oldest layout that covers whatever of it is not null, which older code can read too.
 */
const keyColumns = [
  ...['id', 'namespace_id', 'name', 'algorithm', 'purpose', 'protection', 'exportable', 'state'],
  ...['description', 'tags', 'current_version_id', 'current_ordinal', 'created_at', 'updated_at', 'revision'],
] as const;

const versionColumns = [
  ...['id', 'namespace_id', 'key_id', 'ordinal', 'algorithm', 'usage', 'protection', 'exportable'],
  ...['state', 'kek_id', 'public_key', 'blob', 'created_at', 'revision'],
] as const;

const layouts = {
  system_keys: { 1: ['id', 'namespace_id', 'purpose', 'generation', 'state', 'created_at', 'revision'] },
  system_key_wrappings: { 1: ['system_key_id', 'root_id', 'namespace_id', 'blob'] },
  root_transport_keys: { 1: ['root_id', 'namespace_id', 'public_key', 'created_at', 'revision'] },
  system_key_transports: { 1: ['system_key_id', 'root_id', 'namespace_id', 'blob'] },
  namespaces: { 1: ['id', 'namespace_id', 'name', 'region', 'created_at', 'revision'] },
  keys: {
    1: keyColumns,
    2: [...keyColumns, 'data_key_reuse'],
    3: [...keyColumns, 'data_key_reuse', 'origin'],
    4: [...keyColumns, 'data_key_reuse', 'origin', 'rotate_after'],
  },
  key_versions: { 1: versionColumns, 2: [...versionColumns, 'origin', 'expires_at'] },
  import_wrapping_keys: {
    1: [
      ...['id', 'namespace_id', 'key_id', 'wrapping', 'kek_id', 'public_key', 'blob', 'created_at'],
      ...['expires_at', 'revision'],
    ],
  },
  key_usage: {
    1: ['version_id', 'namespace_id', 'reserved', 'revision'],
    2: ['version_id', 'namespace_id', 'reserved', 'revision', 'reserved_bytes'],
  },
  rotation_schedules: {
    1: [
      ...['key_id', 'namespace_id', 'source', 'policy', 'paused', 'due_at', 'act_at', 'reckoned_at'],
      ...['failures', 'error_code', 'revision'],
    ],
  },
  rotation_defaults: { 1: ['namespace_id', 'policy', 'purposes', 'updated_at', 'revision'] },
  rotations: {
    1: [
      ...['namespace_id', 'key_id', 'to_ordinal', 'to_version_id', 'from_ordinal', 'from_version_id'],
      ...['cause', 'due_at', 'by_kind', 'by_id', 'by_name', 'rotated_at'],
    ],
  },
  tokens: {
    1: [
      ...['id', 'namespace_id', 'name', 'secret_hash', 'scopes', 'key_patterns', 'created_at', 'expires_at'],
      ...['revoked_at', 'revision'],
    ],
  },
  jobs: {
    1: [
      ...['id', 'namespace_id', 'kind', 'input', 'chunks', 'state', 'created_by', 'error_code', 'result'],
      ...['created_at', 'started_at', 'finished_at', 'revision'],
    ],
  },
  job_chunks: {
    1: [
      ...['job_id', 'ordinal', 'namespace_id', 'piece', 'state', 'cursor', 'done', 'total', 'attempts'],
      ...['error_code', 'result', 'revision'],
    ],
  },
  coverage_reports: {
    1: [
      ...['id', 'namespace_id', 'key_id', 'place_id', 'place', 'current_version_id', 'current_ordinal'],
      ...['counts', 'agreed', 'scan_started_at', 'reported_by', 'created_at'],
    ],
  },
  field_schemas: { 1: ['id', 'namespace_id', 'name', 'version', 'definition', 'created_at'] },
  version_destructions: {
    1: [
      ...['id', 'namespace_id', 'key_id', 'version_id', 'ordinal', 'state', 'previous_state', 'coverage'],
      ...['reason', 'requested_by', 'scheduled_at', 'destroy_at', 'ended_at', 'record', 'revision'],
    ],
  },
  key_retention: {
    1: [
      ...['key_id', 'namespace_id', 'keep_latest', 'retire_after_seconds', 'finally', 'window_seconds'],
      ...['reason', 'updated_at', 'revision'],
    ],
  },
  datasets: {
    1: [
      ...['id', 'namespace_id', 'name', 'description', 'definition', 'policy', 'parameters'],
      ...['current_epoch', 'verification_key', 'kek_id', 'signing_blob', 'created_at', 'revision'],
    ],
  },
  dataset_epochs: {
    1: [
      ...['id', 'namespace_id', 'dataset_id', 'ordinal', 'state', 'kek_id', 'sealing_blob'],
      ...['public_key_hash', 'secret_key_hash', 'manifest', 'opened_at', 'closed_at', 'retained_until'],
      ...['revision'],
    ],
  },
  contributions: {
    1: [
      ...['id', 'namespace_id', 'dataset_id', 'epoch_id', 'contributor_id', 'ordinal'],
      ...['ciphertext_digests', 'created_at', 'revision'],
    ],
  },
  dataset_queries: {
    1: [
      ...['id', 'namespace_id', 'dataset_id', 'analyst', 'digest', 'query', 'units', 'numbers'],
      ...['created_at', 'answered_at', 'revision'],
    ],
  },
  dataset_budgets: {
    1: ['dataset_id', 'analyst', 'namespace_id', 'units', 'answers', 'regions', 'revision'],
  },
  webhooks: {
    1: [
      ...['id', 'namespace_id', 'url', 'description', 'types', 'state', 'kek_id', 'blob', 'created_at'],
      'revision',
    ],
  },
} as const satisfies { [Table in keyof Schema]?: Record<number, readonly string[]> };

export type AuthenticatedTable = keyof typeof layouts;

/** True for a table whose rows carry MACs. */
export function isAuthenticated(table: string): table is AuthenticatedTable {
  return Object.hasOwn(layouts, table);
}

/** Columns that no MAC covers. */
type Uncovered =
  | ('mac' | 'last_used_at' | 'next_at' | 'shard' | 'holder' | 'fence' | 'beat' | 'quiet_milliseconds')
  | ('contributions' | 'job');
type Row<Table extends AuthenticatedTable> = Omit<Schema[Table], Uncovered>;

export interface RowAuthenticator {
  /** The row with its `mac`: 1 byte of layout and HMAC-SHA-256 under the record key. */
  seal<Table extends AuthenticatedTable, R extends Row<Table>>(
    table: Table,
    row: R,
  ): Promise<R & { mac: Uint8Array }>;
  /**
   * Proves that the service wrote this row.
   * @throws internal: the row was altered outside the service. Nothing of it may be used.
   * @throws store/unavailable: newer software wrote it, in a layout that is not known here
   */
  verify<Table extends AuthenticatedTable>(
    table: Table,
    row: Schema[Table] & { mac: Uint8Array },
  ): Promise<void>;
}

/** @param mac HMAC-SHA-256 under the record key, in the HSM */
export function createRowAuthenticator(mac: Prf): RowAuthenticator {
  return {
    async seal(table, row) {
      const layout = oldestLayout(table, row);
      const tag = await mac(encodeRow(table, layout, row));
      return { ...row, mac: concatBytes(Uint8Array.of(layout), tag) };
    },
    async verify(table, row) {
      const layout = row.mac[0];
      const values = row as unknown as Record<string, unknown>;
      if (layout !== undefined && layout > newestLayout(table)) throw newer(table);
      if (layout === undefined || !covers(table, layout, values)) throw altered(table);
      const expected = await mac(encodeRow(table, layout, values));
      if (!equalBytes(row.mac.subarray(1), expected)) throw altered(table);
    },
  };
}

function altered(table: string): ServiceError {
  return new ServiceError('internal', 'A stored record failed its authentication.', {
    // The log shows the code alone: an operator must know where to look.
    cause: Object.assign(new Error('a row was altered outside the service'), {
      code: `altered-row/${table}`,
    }),
  });
}

/** Another node may have the software that can use it. */
function newer(table: string): ServiceError {
  return new ServiceError(
    'store/unavailable',
    'A stored record was written by newer software than this one: upgrade it.',
    {
      retryAfterSeconds: 1,
      cause: Object.assign(new Error('the layout of a row is not known'), { code: `newer-row/${table}` }),
    },
  );
}

function newestLayout(table: AuthenticatedTable): number {
  return Math.max(...Object.keys(layouts[table]).map(Number));
}

type Values = Readonly<Record<string, unknown>>;

function oldestLayout(table: AuthenticatedTable, row: Values): number {
  const oldest = Object.keys(layouts[table]).find((layout) => covers(table, Number(layout), row));
  return Number(oldest);
}

/** False for a layout that is unknown, or that would leave a value of the row unauthenticated. */
function covers(table: AuthenticatedTable, layout: number, row: Values): boolean {
  const columns = columnsOf(table, layout);
  if (columns === undefined) return false;
  const all = Object.values(layouts[table] as Record<number, readonly string[]>).flat();
  return all.every((name) => columns.includes(name) || row[name] === null);
}

function columnsOf(table: AuthenticatedTable, layout: number): readonly string[] | undefined {
  return (layouts[table] as Record<number, readonly string[]>)[layout];
}

function encodeRow(table: AuthenticatedTable, layout: number, row: Record<string, unknown>): Uint8Array {
  const names = columnsOf(table, layout);
  if (names === undefined) throw new TypeError('a row has no layout');
  const fields: (Uint8Array | string)[] = [labels.row, table, Uint8Array.of(layout)];
  for (const name of names) fields.push(name, encodeValue(row[name]));
  return lengthPrefixed(...fields);
}

/** A type byte before each value keeps null, '', 0 and empty bytes apart. */
function encodeValue(value: unknown): Uint8Array {
  if (value === null) return Uint8Array.of(0);
  if (typeof value === 'string') return concatBytes(Uint8Array.of(1), utf8(value));
  if (typeof value === 'number' && Number.isSafeInteger(value)) {
    return concatBytes(Uint8Array.of(2), utf8(String(value)));
  }
  if (value instanceof Uint8Array) return concatBytes(Uint8Array.of(3), value);
  throw new TypeError('a row holds a value that cannot be authenticated');
}
