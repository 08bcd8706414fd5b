import type { Kysely } from 'kysely';
import type { Dialect } from './dialects.ts';
import type { Schema } from './schema.ts';

export async function createLeaseTable(db: Kysely<Schema>, { text }: Dialect): Promise<void> {
  await db.schema
    .createTable('leases')
    .addColumn('name', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('holder', text)
    .addColumn('fence', 'bigint', (c) => c.notNull())
    .addColumn('beat', 'bigint', (c) => c.notNull())
    .addColumn('quiet_milliseconds', 'bigint', (c) => c.notNull())
    .execute();
}

export async function createJobTables(db: Kysely<Schema>, { text, binary, integer }: Dialect): Promise<void> {
  await db.schema
    .createTable('jobs')
    .addColumn('id', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('kind', text, (c) => c.notNull())
    .addColumn('input', text, (c) => c.notNull())
    .addColumn('chunks', integer, (c) => c.notNull())
    .addColumn('state', text, (c) => c.notNull())
    .addColumn('created_by', text, (c) => c.notNull())
    .addColumn('error_code', text)
    .addColumn('result', text)
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('started_at', 'bigint')
    .addColumn('finished_at', 'bigint')
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .execute();
  await db.schema.createIndex('jobs_namespace').on('jobs').columns(['namespace_id', 'id']).execute();
  await db.schema.createIndex('jobs_state').on('jobs').columns(['state', 'namespace_id']).execute();
  await db.schema
    .createTable('job_chunks')
    .addColumn('job_id', text, (c) => c.notNull().references('jobs.id'))
    .addColumn('ordinal', integer, (c) => c.notNull())
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('piece', text, (c) => c.notNull())
    .addColumn('state', text, (c) => c.notNull())
    .addColumn('cursor', text)
    .addColumn('done', 'bigint', (c) => c.notNull())
    .addColumn('total', 'bigint')
    .addColumn('attempts', integer, (c) => c.notNull())
    .addColumn('error_code', text)
    .addColumn('result', text)
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .addColumn('holder', text)
    .addColumn('fence', 'bigint', (c) => c.notNull())
    .addColumn('beat', 'bigint', (c) => c.notNull())
    .addColumn('quiet_milliseconds', 'bigint', (c) => c.notNull())
    .addPrimaryKeyConstraint('job_chunks_key', ['job_id', 'ordinal'])
    .execute();
  await db.schema
    .createIndex('job_chunks_open')
    .on('job_chunks')
    .columns(['namespace_id', 'state', 'quiet_milliseconds', 'ordinal', 'job_id'])
    .execute();
}
