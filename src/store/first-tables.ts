import type { Kysely } from 'kysely';
import type { Dialect } from './dialects.ts';
import type { Schema } from './schema.ts';

const time = 'bigint' as const;

/** The tables that the first migration makes. */
export async function firstTables(db: Kysely<Schema>, dialect: Dialect): Promise<void> {
  const { binary, text, integer } = dialect;
  await db.schema
    .createTable('roots')
    .addColumn('id', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('token_label', text, (c) => c.notNull())
    .addColumn('created_at', time, (c) => c.notNull())
    .execute();
  await db.schema
    .createTable('system_keys')
    .addColumn('id', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('purpose', text, (c) => c.notNull())
    .addColumn('generation', integer, (c) => c.notNull())
    .addColumn('state', text, (c) => c.notNull())
    .addColumn('created_at', time, (c) => c.notNull())
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .addUniqueConstraint('system_keys_generation', ['namespace_id', 'purpose', 'generation'])
    .execute();
  await db.schema
    .createTable('system_key_wrappings')
    .addColumn('system_key_id', text, (c) => c.notNull().references('system_keys.id'))
    .addColumn('root_id', text, (c) => c.notNull().references('roots.id'))
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('blob', binary, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .addPrimaryKeyConstraint('system_key_wrappings_key', ['system_key_id', 'root_id'])
    .execute();
  await db.schema
    .createTable('namespaces')
    .addColumn('id', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('name', text, (c) => c.notNull().unique())
    .addColumn('region', text, (c) => c.notNull())
    .addColumn('created_at', time, (c) => c.notNull())
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .execute();
  await createKeyTables(db, dialect);
  await createAccessTables(db, dialect);
  await createAuditTables(db, dialect);
}

async function createKeyTables(db: Kysely<Schema>, { binary, text, integer }: Dialect): Promise<void> {
  await db.schema
    .createTable('keys')
    .addColumn('id', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull().references('namespaces.id'))
    .addColumn('name', text, (c) => c.notNull())
    .addColumn('algorithm', text, (c) => c.notNull())
    .addColumn('purpose', text, (c) => c.notNull())
    .addColumn('protection', text, (c) => c.notNull())
    .addColumn('exportable', integer, (c) => c.notNull())
    .addColumn('state', text, (c) => c.notNull())
    .addColumn('description', text, (c) => c.notNull())
    .addColumn('tags', text, (c) => c.notNull())
    .addColumn('current_version_id', text, (c) => c.notNull())
    .addColumn('current_ordinal', integer, (c) => c.notNull())
    .addColumn('created_at', time, (c) => c.notNull())
    .addColumn('updated_at', time, (c) => c.notNull())
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .addUniqueConstraint('keys_name', ['namespace_id', 'name'])
    .execute();
  await db.schema
    .createTable('key_versions')
    .addColumn('id', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('key_id', text, (c) => c.notNull().references('keys.id'))
    .addColumn('ordinal', integer, (c) => c.notNull())
    .addColumn('algorithm', text, (c) => c.notNull())
    .addColumn('usage', text, (c) => c.notNull())
    .addColumn('protection', text, (c) => c.notNull())
    .addColumn('exportable', integer, (c) => c.notNull())
    .addColumn('state', text, (c) => c.notNull())
    .addColumn('kek_id', text, (c) => c.notNull().references('system_keys.id'))
    .addColumn('public_key', binary)
    .addColumn('blob', binary, (c) => c.notNull())
    .addColumn('created_at', time, (c) => c.notNull())
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .addUniqueConstraint('key_versions_ordinal', ['namespace_id', 'key_id', 'ordinal'])
    .execute();
  await db.schema
    .createTable('key_usage')
    .addColumn('version_id', text, (c) => c.primaryKey().notNull().references('key_versions.id'))
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('reserved', time, (c) => c.notNull())
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .addColumn('last_used_at', time)
    .execute();
}

async function createAccessTables(db: Kysely<Schema>, { binary, text, integer }: Dialect): Promise<void> {
  await db.schema
    .createTable('tokens')
    .addColumn('id', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull().references('namespaces.id'))
    .addColumn('name', text, (c) => c.notNull())
    .addColumn('secret_hash', binary, (c) => c.notNull())
    .addColumn('scopes', text, (c) => c.notNull())
    .addColumn('key_patterns', text)
    .addColumn('created_at', time, (c) => c.notNull())
    .addColumn('expires_at', time)
    .addColumn('revoked_at', time)
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .execute();
  await db.schema.createIndex('tokens_namespace').on('tokens').columns(['namespace_id', 'id']).execute();
  await db.schema
    .createTable('idempotency')
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('principal_id', text, (c) => c.notNull())
    .addColumn('idempotency_key', text, (c) => c.notNull())
    .addColumn('operation', text, (c) => c.notNull())
    .addColumn('fingerprint', binary, (c) => c.notNull())
    .addColumn('answer', text)
    .addColumn('expires_at', time, (c) => c.notNull())
    .addPrimaryKeyConstraint('idempotency_key', ['namespace_id', 'principal_id', 'idempotency_key'])
    .execute();
  await db.schema.createIndex('idempotency_expiry').on('idempotency').column('expires_at').execute();
}

async function createAuditTables(db: Kysely<Schema>, { binary, text, integer }: Dialect): Promise<void> {
  await db.schema
    .createTable('audit_segments')
    .addColumn('id', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('writer', text, (c) => c.notNull())
    .addColumn('number', integer, (c) => c.notNull())
    .addColumn('file', text, (c) => c.notNull())
    .addColumn('first_sequence', time, (c) => c.notNull())
    .addColumn('first_head', binary, (c) => c.notNull())
    .addColumn('last_sequence', time)
    .addColumn('last_head', binary)
    .addColumn('created_at', time, (c) => c.notNull())
    .addColumn('loss_accepted_at', time)
    .addUniqueConstraint('audit_segments_number', ['namespace_id', 'writer', 'number'])
    .execute();
  await db.schema
    .createTable('audit_outbox')
    .addColumn('id', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('entry', text, (c) => c.notNull())
    .addColumn('created_at', time, (c) => c.notNull())
    .execute();
}
