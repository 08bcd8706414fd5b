import type { Kysely } from 'kysely';
import type { Dialect } from './dialects.ts';
import type { Schema } from './schema.ts';

export async function createFieldTables(
  db: Kysely<Schema>,
  { text, binary, integer }: Dialect,
): Promise<void> {
  await db.schema
    .createTable('field_schemas')
    .addColumn('id', text, (c) => c.notNull())
    .addColumn('namespace_id', text, (c) => c.notNull().references('namespaces.id'))
    .addColumn('name', text, (c) => c.notNull())
    .addColumn('version', integer, (c) => c.notNull())
    .addColumn('definition', text, (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .addPrimaryKeyConstraint('field_schemas_key', ['id', 'version'])
    .addUniqueConstraint('field_schemas_name', ['namespace_id', 'name', 'version'])
    .execute();
}
