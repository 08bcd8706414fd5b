import type { Kysely } from 'kysely';
import type { Dialect } from './dialects.ts';
import type { Schema } from './schema.ts';

export async function createDatasetTables(db: Kysely<Schema>, dialect: Dialect): Promise<void> {
  const { text, binary, integer } = dialect;
  await db.schema
    .createTable('datasets')
    .addColumn('id', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull().references('namespaces.id'))
    .addColumn('name', text, (c) => c.notNull())
    .addColumn('description', text, (c) => c.notNull())
    .addColumn('definition', text, (c) => c.notNull())
    .addColumn('policy', text, (c) => c.notNull())
    .addColumn('parameters', text, (c) => c.notNull())
    .addColumn('current_epoch', integer, (c) => c.notNull())
    .addColumn('verification_key', binary, (c) => c.notNull())
    .addColumn('kek_id', text, (c) => c.notNull().references('system_keys.id'))
    .addColumn('signing_blob', binary, (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .addUniqueConstraint('datasets_name', ['namespace_id', 'name'])
    .execute();
  await createEpochTables(db, dialect);
  await createContributionTables(db, dialect);
}

async function createEpochTables(db: Kysely<Schema>, { text, binary, integer }: Dialect): Promise<void> {
  await db.schema
    .createTable('dataset_epochs')
    .addColumn('id', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('dataset_id', text, (c) => c.notNull().references('datasets.id'))
    .addColumn('ordinal', integer, (c) => c.notNull())
    .addColumn('state', text, (c) => c.notNull())
    .addColumn('kek_id', text, (c) => c.notNull().references('system_keys.id'))
    .addColumn('sealing_blob', binary)
    .addColumn('public_key_hash', binary, (c) => c.notNull())
    .addColumn('secret_key_hash', binary, (c) => c.notNull())
    .addColumn('manifest', text, (c) => c.notNull())
    .addColumn('opened_at', 'bigint', (c) => c.notNull())
    .addColumn('closed_at', 'bigint')
    .addColumn('retained_until', 'bigint')
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .addColumn('contributions', integer, (c) => c.notNull())
    .addUniqueConstraint('dataset_epochs_ordinal', ['dataset_id', 'ordinal'])
    .execute();
  await db.schema
    .createIndex('dataset_epochs_retained')
    .on('dataset_epochs')
    .columns(['state', 'retained_until'])
    .execute();
  await db.schema
    .createTable('dataset_epoch_keys')
    .addColumn('epoch_id', text, (c) => c.primaryKey().notNull().references('dataset_epochs.id'))
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('public_key', binary, (c) => c.notNull())
    .addColumn('secret_key', binary)
    .execute();
}

async function createContributionTables(
  db: Kysely<Schema>,
  { text, binary, integer }: Dialect,
): Promise<void> {
  await db.schema
    .createTable('contributions')
    .addColumn('id', text, (c) => c.primaryKey().notNull())
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('dataset_id', text, (c) => c.notNull())
    .addColumn('epoch_id', text, (c) => c.notNull().references('dataset_epochs.id'))
    .addColumn('contributor_id', text, (c) => c.notNull())
    .addColumn('ordinal', integer, (c) => c.notNull())
    .addColumn('ciphertext_digests', binary, (c) => c.notNull())
    .addColumn('created_at', 'bigint', (c) => c.notNull())
    .addColumn('revision', integer, (c) => c.notNull())
    .addColumn('mac', binary, (c) => c.notNull())
    .addUniqueConstraint('contributions_once', ['epoch_id', 'contributor_id', 'ordinal'])
    .execute();
  await db.schema
    .createTable('contribution_ciphertexts')
    .addColumn('epoch_id', text, (c) => c.notNull())
    .addColumn('place', integer, (c) => c.notNull())
    .addColumn('contribution_id', text, (c) => c.notNull().references('contributions.id'))
    .addColumn('namespace_id', text, (c) => c.notNull())
    .addColumn('digest', binary, (c) => c.notNull())
    .addColumn('residues', binary, (c) => c.notNull())
    // A query takes one place of all contributions after the other.
    .addPrimaryKeyConstraint('contribution_ciphertexts_key', ['epoch_id', 'place', 'contribution_id'])
    // The same bytes are nobody else's contribution.
    .addUniqueConstraint('contribution_ciphertexts_digest', ['epoch_id', 'digest'])
    .execute();
}
