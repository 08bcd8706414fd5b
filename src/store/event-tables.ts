import type { Kysely } from 'kysely';
import type { Dialect } from './dialects.ts';
import type { Schema } from './schema.ts';

export async function createEventTables(
  db: Kysely<Schema>,
  { text, binary, integer, serial }: Dialect,
): Promise<void> {
  await db.schema
    .createTable('events')
    .addColumn('number', integer, (c) => serial(c).notNull())
    .addColumn('id', text, (c) => c.notNull().unique())
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('type', text, (c) => c.notNull())
    .addColumn('key_id', text, (c) => c.notNull())
    .addColumn('data', text, (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .execute();
  await db.schema.createIndex('events_namespace').on('events').columns(['namespace_id', 'number']).execute();
  await db.schema.createIndex('events_age').on('events').column('created_at').execute();
  await db.schema
    .createTable('webhooks')
    .addColumn('id', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull().references('namespaces.id'))
    .addColumn('url', text, (c) => c.notNull())
    .addColumn('description', text, (c) => c.notNull())
    .addColumn('types', text)
    .addColumn('state', text, (c) => c.notNull())
    .addColumn('kek_id', text, (c) => c.notNull().references('system_keys.id'))
    .addColumn('blob', binary, (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .execute();
  await db.schema.createIndex('webhooks_namespace').on('webhooks').columns(['namespace_id', 'id']).execute();
  await db.schema
    .createTable('webhook_deliveries')
    .addColumn('id', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull())
    // No reference: a webhook that is removed at the same moment must not undo what is told of.
    .addColumn('webhook_id', text, (c) => c.notNull())
    .addColumn('event_id', text, (c) => c.notNull())
    .addColumn('state', text, (c) => c.notNull())
    .addColumn('attempts', integer, (c) => c.notNull())
    .addColumn('next_at', 'bigint', (c) => c.notNull())
    .addColumn('problem', text)
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addUniqueConstraint('webhook_deliveries_once', ['event_id', 'webhook_id'])
    .execute();
  await db.schema
    .createIndex('webhook_deliveries_due')
    .on('webhook_deliveries')
    .columns(['state', 'next_at', 'webhook_id'])
    .execute();
}
