import type { Kysely } from 'kysely';
import type { Dialect } from './dialects.ts';
import type { Schema } from './schema.ts';

export async function createLifecycleTables(
  db: Kysely<Schema>,
  { text, binary, integer }: Dialect,
): Promise<void> {
  await db.schema
    .createTable('version_destructions')
    .addColumn('id', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('key_id', text, (c) => c.notNull().references('keys.id'))
    .addColumn('version_id', text, (c) => c.notNull().references('key_versions.id'))
    .addColumn('ordinal', integer, (c) => c.notNull())
    .addColumn('state', text, (c) => c.notNull())
    .addColumn('previous_state', text, (c) => c.notNull())
    .addColumn('coverage', text)
    .addColumn('reason', text)
    .addColumn('requested_by', text, (c) => c.notNull())
    .addColumn('scheduled_at', 'bigint', (c) => c.notNull())
    .addColumn('destroy_at', 'bigint', (c) => c.notNull())
    .addColumn('ended_at', 'bigint')
    .addColumn('record', text)
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .execute();
  await db.schema
    .createIndex('version_destructions_due')
    .on('version_destructions')
    .columns(['state', 'destroy_at'])
    .execute();
  await db.schema
    .createIndex('version_destructions_key')
    .on('version_destructions')
    .columns(['key_id', 'id'])
    .execute();
  await db.schema
    .createTable('key_retention')
    .addColumn('key_id', text, (c) => c.primaryKey().notNull().references('keys.id'))
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('keep_latest', integer)
    .addColumn('retire_after_seconds', 'bigint')
    .addColumn('finally', text, (c) => c.notNull())
    .addColumn('window_seconds', 'bigint', (c) => c.notNull())
    .addColumn('reason', text)
    .addColumn('updated_at', 'bigint', (c) => c.notNull())
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .addColumn('next_at', 'bigint', (c) => c.notNull())
    .execute();
  await db.schema.createIndex('key_retention_next').on('key_retention').column('next_at').execute();
}
