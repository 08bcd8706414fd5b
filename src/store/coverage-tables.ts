import type { Kysely } from 'kysely';
import type { Dialect } from './dialects.ts';
import type { Schema } from './schema.ts';

export async function createCoverageTable(
  db: Kysely<Schema>,
  { text, binary, integer }: Dialect,
): Promise<void> {
  await db.schema
    .createTable('coverage_reports')
    .addColumn('id', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull().references('namespaces.id'))
    .addColumn('key_id', text, (c) => c.notNull().references('keys.id'))
    .addColumn('place_id', text, (c) => c.notNull())
    .addColumn('place', text, (c) => c.notNull())
    .addColumn('current_version_id', text, (c) => c.notNull())
    .addColumn('current_ordinal', integer, (c) => c.notNull())
    .addColumn('counts', text, (c) => c.notNull())
    .addColumn('agreed', integer, (c) => c.notNull())
    .addColumn('scan_started_at', 'bigint', (c) => c.notNull())
    .addColumn('reported_by', text, (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .execute();
  await db.schema
    .createIndex('coverage_reports_key')
    .on('coverage_reports')
    .columns(['key_id', 'place_id', 'id'])
    .execute();
}
