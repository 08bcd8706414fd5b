import type { Kysely } from 'kysely';
import type { Dialect } from './dialects.ts';
import type { Schema } from './schema.ts';

export async function createRotationTables(
  db: Kysely<Schema>,
  { text, binary, integer }: Dialect,
): Promise<void> {
  await db.schema.alterTable('keys').addColumn('rotate_after', text).execute();
  await db.schema.alterTable('key_usage').addColumn('reserved_bytes', 'bigint').execute();
  await db.schema
    .createTable('rotation_schedules')
    .addColumn('key_id', text, (c) => c.primaryKey().notNull().references('keys.id'))
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('source', text, (c) => c.notNull())
    .addColumn('policy', text, (c) => c.notNull())
    .addColumn('paused', integer, (c) => c.notNull())
    .addColumn('due_at', 'bigint')
    .addColumn('act_at', 'bigint')
    .addColumn('reckoned_at', 'bigint', (c) => c.notNull())
    .addColumn('failures', integer, (c) => c.notNull())
    .addColumn('error_code', text)
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .addColumn('shard', integer, (c) => c.notNull())
    .execute();
  const index = (name: string, columns: string[]) =>
    db.schema.createIndex(name).on('rotation_schedules').columns(columns).execute();
  await index('rotation_schedules_due', ['shard', 'act_at']);
  await index('rotation_schedules_namespace', ['namespace_id', 'act_at']);
  await index('rotation_schedules_reckoned', ['reckoned_at']);
  await db.schema
    .createTable('rotation_defaults')
    .addColumn('namespace_id', text, (c) => c.primaryKey().notNull().references('namespaces.id'))
    .addColumn('policy', text)
    .addColumn('purposes', text, (c) => c.notNull())
    .addColumn('updated_at', 'bigint', (c) => c.notNull())
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .execute();
  await db.schema
    .createTable('rotations')
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('key_id', text, (c) => c.notNull().references('keys.id'))
    .addColumn('to_ordinal', integer, (c) => c.notNull())
    .addColumn('to_version_id', text, (c) => c.notNull())
    .addColumn('from_ordinal', integer, (c) => c.notNull())
    .addColumn('from_version_id', text, (c) => c.notNull())
    .addColumn('cause', text, (c) => c.notNull())
    .addColumn('due_at', 'bigint')
    .addColumn('by_kind', text, (c) => c.notNull())
    .addColumn('by_id', text, (c) => c.notNull())
    .addColumn('by_name', text, (c) => c.notNull())
    .addColumn('rotated_at', 'bigint', (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .addPrimaryKeyConstraint('rotations_key', ['key_id', 'to_ordinal'])
    .addUniqueConstraint('rotations_once', ['key_id', 'due_at'])
    .execute();
}
