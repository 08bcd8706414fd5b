import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { newId, serviceNamespaceId } from '../core/ids.ts';
import { type Hsm, HsmRejected, type KeyRef, root, type SecretKind } from '../hsm/hsm.ts';
import { createRowAuthenticator, type RowAuthenticator } from '../store/rows.ts';
import type { SystemKeyRow, SystemKeyWrappingRow } from '../store/schema.ts';
import type { Store, StoreTransaction } from '../store/store.ts';

type Purpose = SystemKeyRow['purpose'];

const kinds: Record<Purpose, SecretKind> = { kek: 'kek', record: 'hmac-256', audit: 'hmac-256' };

/** The keys under the root: they are few, and every namespace's keys hang from its KEK. */
export interface SystemKeys {
  readonly rows: RowAuthenticator;
  /** HMAC key of the audit log. */
  readonly audit: KeyRef;
  /** The KEK that new versions of a namespace are wrapped under. */
  activeKek(namespaceId: string): Promise<KeyRef>;
  /** @throws internal when there is no such KEK, or its row was altered */
  kek(id: string): Promise<KeyRef>;
}

/**
 * Loads the record and audit keys and proves them against their own rows.
 * @throws hsm/unavailable when this token's root is not enrolled in the database
 */
export async function openSystemKeys({ hsm, store }: { hsm: Hsm; store: Store }): Promise<SystemKeys> {
  const record = await unverified(hsm, store, 'record');
  const rows = createRowAuthenticator((data) => hsm.mac(record.ref, data));
  await verifyRows(rows, record);
  const audit = await unverified(hsm, store, 'audit');
  await verifyRows(rows, audit);

  const keks = new Map<string, Promise<KeyRef>>();
  const activeKeks = new Map<string, Promise<KeyRef>>();

  async function load(row: SystemKeyRow | undefined): Promise<KeyRef> {
    if (!row)
      throw new ServiceError('internal', 'A stored record is missing.', {
        cause: new Error('KEK row missing'),
      });
    const wrapping = await wrappingOf(hsm, store, row.id);
    if (!wrapping) throw notEnrolled(hsm);
    await verifyRows(rows, { row, wrapping });
    return refOf(row, wrapping);
  }

  const select = () => store.db.selectFrom('system_keys').selectAll().where('purpose', '=', 'kek');
  return {
    rows,
    audit: audit.ref,
    kek: (id) => once(keks, id, async () => load(await select().where('id', '=', id).executeTakeFirst())),
    activeKek: (namespaceId) =>
      once(activeKeks, namespaceId, async () =>
        load(
          await select()
            .where('namespace_id', '=', namespaceId)
            .where('state', '=', 'active')
            .orderBy('generation', 'desc')
            .executeTakeFirst(),
        ),
      ),
  };
}

/** A new system key, made in the HSM and wrapped under its root, with the rows that will hold it. */
export async function makeSystemKey({
  hsm,
  clock,
  purpose,
  namespaceId = serviceNamespaceId,
}: {
  hsm: Hsm;
  clock: Clock;
  purpose: Purpose;
  namespaceId?: string;
}): Promise<NewSystemKey> {
  const id = newId();
  const blob = await hsm.generate(kinds[purpose], root);
  return {
    ref: { id, kind: kinds[purpose], blob, under: root },
    row: {
      id,
      namespace_id: namespaceId,
      purpose,
      generation: 1,
      state: 'active',
      created_at: clock.now(),
      revision: 1,
    },
    wrapping: { system_key_id: id, root_id: hsm.rootId, namespace_id: namespaceId, blob },
  };
}

export interface NewSystemKey {
  readonly ref: KeyRef;
  readonly row: Omit<SystemKeyRow, 'mac'>;
  readonly wrapping: Omit<SystemKeyWrappingRow, 'mac'>;
}

/** Seals the rows now and gives back what belongs into the transaction. */
export async function storeSystemKey(
  rows: RowAuthenticator,
  key: NewSystemKey,
): Promise<(tx: StoreTransaction) => Promise<void>> {
  const row = await rows.seal('system_keys', key.row);
  const wrapping = await rows.seal('system_key_wrappings', key.wrapping);
  return async (tx) => {
    await tx.insertInto('system_keys').values(row).execute();
    await tx.insertInto('system_key_wrappings').values(wrapping).execute();
  };
}

interface StoredSystemKey {
  readonly row: SystemKeyRow;
  readonly wrapping: SystemKeyWrappingRow;
}

async function unverified(
  hsm: Hsm,
  store: Store,
  purpose: Purpose,
): Promise<StoredSystemKey & { ref: KeyRef }> {
  const row = await store.db
    .selectFrom('system_keys')
    .selectAll()
    .where('namespace_id', '=', serviceNamespaceId)
    .where('purpose', '=', purpose)
    .where('state', '=', 'active')
    .orderBy('generation', 'desc')
    .executeTakeFirst();
  if (!row) throw await absent(store, purpose);
  const wrapping = await wrappingOf(hsm, store, row.id);
  if (!wrapping) throw notEnrolled(hsm);
  return { row, wrapping, ref: refOf(row, wrapping) };
}

/** A new database has no system key at all; one that lacks just this one was damaged or edited. */
async function absent(store: Store, purpose: Purpose): Promise<ServiceError> {
  const any = await store.db.selectFrom('system_keys').select('id').executeTakeFirst();
  return new ServiceError(
    'store/unavailable',
    any
      ? `The database has lost its ${purpose} key: restore it from a backup.`
      : 'The database is not initialized: run `stathera init`.',
  );
}

function wrappingOf(hsm: Hsm, store: Store, id: string): Promise<SystemKeyWrappingRow | undefined> {
  return store.db
    .selectFrom('system_key_wrappings')
    .selectAll()
    .where('system_key_id', '=', id)
    .where('root_id', '=', hsm.rootId)
    .executeTakeFirst();
}

function refOf(row: SystemKeyRow, wrapping: SystemKeyWrappingRow): KeyRef {
  return { id: row.id, kind: kinds[row.purpose], blob: wrapping.blob, under: root };
}

async function verifyRows(rows: RowAuthenticator, { row, wrapping }: StoredSystemKey): Promise<void> {
  try {
    await rows.verify('system_keys', row);
    await rows.verify('system_key_wrappings', wrapping);
  } catch (error) {
    // The record key itself did not unwrap: its blob was altered.
    if (!(error instanceof HsmRejected)) throw error;
    throw new ServiceError('internal', 'A stored record failed its authentication.', { cause: error });
  }
}

function notEnrolled(hsm: Hsm): ServiceError {
  return new ServiceError(
    'hsm/unavailable',
    `This token's root (${hsm.rootId}) is not enrolled in this database: ` +
      'use the token the database was initialized with, or restore the database that belongs to this token.',
  );
}

/** Loads once; a failure is not kept. Bounded by the number of KEKs, which are one or a few a namespace. */
function once(known: Map<string, Promise<KeyRef>>, id: string, load: () => Promise<KeyRef>): Promise<KeyRef> {
  const found = known.get(id);
  if (found) return found;
  const started = load();
  known.set(id, started);
  started.catch(() => known.delete(id));
  return started;
}
