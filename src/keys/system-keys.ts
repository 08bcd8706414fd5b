import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { newId, serviceNamespaceId } from '../core/ids.ts';
import { type Hsm, type KeyRef, root } from '../hsm/hsm.ts';
import { createRowAuthenticator, type RowAuthenticator } from '../store/rows.ts';
import type { SystemKeyRow, SystemKeyWrappingRow } from '../store/schema.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import { createHandover, type Handover } from './handover.ts';
import {
  refOf,
  type StoredSystemKey,
  systemKeyKinds,
  verifySystemKey,
  wrappingOf,
} from './system-key-rows.ts';

type Purpose = SystemKeyRow['purpose'];

/** The keys under the root: they are few, and every namespace's keys hang from its KEK. */
export interface SystemKeys {
  readonly rows: RowAuthenticator;
  /** HMAC key of `rows`. */
  readonly record: KeyRef;
  /** HMAC key of the audit log. */
  readonly audit: KeyRef;
  /** The KEK that new versions of a namespace are wrapped under. */
  activeKek(namespaceId: string): Promise<KeyRef>;
  /** @throws internal when there is no such KEK, or its row was altered */
  kek(id: string): Promise<KeyRef>;
  /** Any of them. @throws as `kek` does */
  load(row: SystemKeyRow): Promise<KeyRef>;
  readonly handover: Handover;
  /**
   * Takes what other nodes handed over to this token, and hands over what other tokens lack. To be done now and then.
   * @returns how many keys
   */
  settle(): Promise<{ readonly taken: number; readonly handedOver: number }>;
}

/**
 * Loads the record and audit keys and proves them against their own rows.
 * @throws hsm/unavailable when this token's root is not enrolled in the database
 */
export async function openSystemKeys({ hsm, store }: { hsm: Hsm; store: Store }): Promise<SystemKeys> {
  const recordRow = await activeRow(store, 'record');
  const wrapping = await wrappingOf(hsm, store, recordRow.id);
  if (!wrapping) throw await notEnrolled(hsm, store);
  const record = refOf(recordRow, wrapping);
  const rows = createRowAuthenticator((data) => hsm.mac(record, data));
  await verifySystemKey(rows, { row: recordRow, wrapping });
  const handover = createHandover({ hsm, store, rows });
  const audit = await load(await activeRow(store, 'audit'), () => notEnrolled(hsm, store));

  const keks = new Map<string, Promise<KeyRef>>();
  const activeKeks = new Map<string, Promise<KeyRef>>();

  async function load(
    row: SystemKeyRow,
    absent: () => Error | Promise<Error> = notHandedOver,
  ): Promise<KeyRef> {
    const known = (await wrappingOf(hsm, store, row.id)) ?? (await handover.take(row));
    if (!known) throw await absent();
    const stored: StoredSystemKey = { row, wrapping: known };
    await verifySystemKey(rows, stored);
    return refOf(row, known);
  }

  async function loadKek(row: SystemKeyRow | undefined): Promise<KeyRef> {
    if (row) return await load(row);
    throw new ServiceError('internal', 'A stored record is missing.', {
      cause: new Error('KEK row missing'),
    });
  }

  const select = () => store.db.selectFrom('system_keys').selectAll().where('purpose', '=', 'kek');
  return {
    rows,
    record,
    audit,
    kek: (id) => once(keks, id, async () => loadKek(await select().where('id', '=', id).executeTakeFirst())),
    activeKek: (namespaceId) =>
      once(activeKeks, namespaceId, async () =>
        loadKek(
          await select()
            .where('namespace_id', '=', namespaceId)
            .where('state', '=', 'active')
            .orderBy('generation', 'desc')
            .executeTakeFirst(),
        ),
      ),
    load: (row) => load(row),
    handover,
    async settle() {
      const taken = await handover.takeAll();
      return { taken, handedOver: await handover.toAll((row) => load(row)) };
    },
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
  const kind = systemKeyKinds[purpose];
  const blob = await hsm.generate(kind, root);
  return {
    ref: { id, kind, blob, under: root },
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

/**
 * Seals the rows now and gives back what belongs into the transaction.
 * @param handover where other tokens are enrolled: each gets the key with the row
 */
export async function storeSystemKey(
  rows: RowAuthenticator,
  key: NewSystemKey,
  handover?: Handover,
): Promise<(tx: StoreTransaction) => Promise<void>> {
  const row = await rows.seal('system_keys', key.row);
  const wrapping = await rows.seal('system_key_wrappings', key.wrapping);
  const transports = (await handover?.toOthers(key.ref, row.namespace_id)) ?? [];
  return async (tx) => {
    await tx.insertInto('system_keys').values(row).execute();
    await tx.insertInto('system_key_wrappings').values(wrapping).execute();
    if (transports.length > 0) await tx.insertInto('system_key_transports').values(transports).execute();
  };
}

/** The newest active key of the service itself. @throws store/unavailable when there is none */
export async function activeRow(store: Store, purpose: Exclude<Purpose, 'kek'>): Promise<SystemKeyRow> {
  const row = await store.db
    .selectFrom('system_keys')
    .selectAll()
    .where('namespace_id', '=', serviceNamespaceId)
    .where('purpose', '=', purpose)
    .where('state', '=', 'active')
    .orderBy('generation', 'desc')
    .executeTakeFirst();
  if (!row) throw await absent(store, purpose);
  return row;
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

async function notEnrolled(hsm: Hsm, store: Store): Promise<ServiceError> {
  const approved = await store.db
    .selectFrom('root_transport_keys')
    .select('root_id')
    .where('root_id', '=', hsm.rootId)
    .executeTakeFirst();
  return new ServiceError(
    'hsm/unavailable',
    approved
      ? `This token's root (${hsm.rootId}) is approved, but not enrolled yet: run \`stathera hsm enrol accept\`.`
      : `This token's root (${hsm.rootId}) is not enrolled in this database: use the token that is, or enrol this ` +
          'one: begin with `stathera hsm enrol request` here.',
  );
}

function notHandedOver(): ServiceError {
  return new ServiceError(
    'hsm/unavailable',
    'This token was not handed a key that it needs. Nodes whose token has it do so within a minute: start one.',
    { retryAfterSeconds: 10 },
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
