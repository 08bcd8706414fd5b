import type { Kysely } from 'kysely';
import type { Dialect } from './dialects.ts';
import type { Schema } from './schema.ts';

export async function createQueryTables(
  db: Kysely<Schema>,
  { text, binary, integer }: Dialect,
): Promise<void> {
  await db.schema
    .createTable('dataset_queries')
    .addColumn('id', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('dataset_id', text, (c) => c.notNull().references('datasets.id'))
    .addColumn('analyst', text, (c) => c.notNull())
    .addColumn('digest', binary, (c) => c.notNull())
    .addColumn('query', text, (c) => c.notNull())
    .addColumn('units', 'bigint', (c) => c.notNull())
    .addColumn('numbers', text)
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('answered_at', 'bigint')
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .addColumn('job', text, (c) => c.notNull())
    .addUniqueConstraint('dataset_queries_once', ['dataset_id', 'digest', 'analyst'])
    .execute();
  await db.schema
    .createIndex('dataset_queries_analyst')
    .on('dataset_queries')
    .columns(['dataset_id', 'analyst', 'id'])
    .execute();
  await db.schema
    .createTable('dataset_budgets')
    .addColumn('dataset_id', text, (c) => c.notNull().references('datasets.id'))
    .addColumn('analyst', text, (c) => c.notNull())
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('units', 'bigint', (c) => c.notNull())
    .addColumn('answers', integer, (c) => c.notNull())
    .addColumn('regions', text)
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .addPrimaryKeyConstraint('dataset_budgets_key', ['dataset_id', 'analyst'])
    .execute();
}
