import type { AuditEntry } from '../audit/entry.ts';
import { insertOutbox, type OutboxRow, sealOutboxRow } from '../audit/outbox-rows.ts';
import { equalBytes, lengthPrefixed, utf8 } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { newId, serviceNamespaceId } from '../core/ids.ts';
import { labels } from '../crypto/labels.ts';
import type { Hsm, KeyRef } from '../hsm/hsm.ts';
import { createRowAuthenticator, type RowAuthenticator } from '../store/rows.ts';
import type { RootTransportKeyRow, SystemKeyRow, SystemKeyWrappingRow } from '../store/schema.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import type { EnrolmentRequest } from './enrolment-request.ts';
import { mostRoots, received } from './handover.ts';
import { refOf, systemKeyKinds, wrappingOf } from './system-key-rows.ts';
import { activeRow, openSystemKeys } from './system-keys.ts';

interface Parts {
  readonly hsm: Hsm;
  readonly store: Store;
  readonly clock: Clock;
  /** This token as it would ask itself: its transport key is known to the others by it. */
  readonly own: EnrolmentRequest;
}

export interface Approved {
  /** Keys that are on their way now and were not before. */
  readonly handedOver: number;
  /** Proof that the token's request was approved by this service: to be given to `accept`. 32 hex digits */
  readonly confirmation: string;
}

/**
 * Hands every system key over to another token. Each step is durable by itself and skipped when it is done, so that a
 * run killed anywhere is finished by the next, or by any node.
 * @param request whose fingerprint was compared
 * @throws hsm/unavailable with what to do
 */
export async function approveEnrolment(parts: Parts, request: EnrolmentRequest): Promise<Approved> {
  const { hsm, store, own } = parts;
  if (request.rootId === own.rootId) throw refused('This is the request of the token that is in use here.');
  const systemKeys = await openSystemKeys({ hsm, store });
  const { rows, record, audit } = systemKeys;
  const seal = (mac: KeyRef, entry: AuditEntry) => sealOutboxRow((data) => hsm.mac(mac, data), 'w1', entry);
  // What becomes of this node's successors' keys is handed to this one too.
  await register(parts, rows, own);
  const outbox = await seal(audit, enrolmentEntry(parts.clock, 'hsm.approve-enrolment', request));
  const token = await register(parts, rows, request, outbox);
  const handedOver = await systemKeys.handover.to(token, systemKeys.load);
  return { handedOver, confirmation: await confirmationOf(hsm, record, token) };
}

/** Makes a token's transport key known to every node, or does nothing when it is. */
async function register(
  { store, clock }: Parts,
  rows: RowAuthenticator,
  { rootId, tokenLabel, publicKey }: EnrolmentRequest,
  outbox?: OutboxRow,
): Promise<RootTransportKeyRow> {
  const known = await store.db
    .selectFrom('root_transport_keys')
    .selectAll()
    .where('root_id', '=', rootId)
    .executeTakeFirst();
  if (known) await rows.verify('root_transport_keys', known);
  if (known && equalBytes(known.public_key, publicKey)) return known;
  const now = clock.now();
  const row = await rows.seal('root_transport_keys', {
    root_id: rootId,
    namespace_id: serviceNamespaceId,
    public_key: publicKey,
    created_at: now,
    revision: (known?.revision ?? 0) + 1,
  });
  await store.transaction(async (tx) => {
    if (!known) {
      await requireRoom(tx);
      const root = {
        ...{ id: rootId, namespace_id: serviceNamespaceId, token_label: tokenLabel, created_at: now },
      };
      await tx
        .insertInto('roots')
        .values(root)
        .onConflict((c) => c.doNothing())
        .execute();
    }
    // What was wrapped to a key before this one opens no more.
    await tx.deleteFrom('system_key_transports').where('root_id', '=', rootId).execute();
    await tx.deleteFrom('root_transport_keys').where('root_id', '=', rootId).execute();
    await tx.insertInto('root_transport_keys').values(row).execute();
    if (outbox) await insertOutbox(tx, [outbox]);
  });
  return row;
}

async function requireRoom(tx: StoreTransaction): Promise<void> {
  const { count } = await tx
    .selectFrom('root_transport_keys')
    .select((build) => build.fn.countAll().as('count'))
    .executeTakeFirstOrThrow();
  if (Number(count) >= mostRoots)
    throw refused(`${mostRoots} tokens are enrolled: that is all there can be.`);
}

export interface Accepted {
  /** Keys that this token has now and had not before. */
  readonly taken: number;
}

/**
 * Takes the system keys that were handed over to this token. The record key proves itself by the rows it
 * authenticates, and whose it is by the confirmation. Killed anywhere, the next run finishes.
 * @throws hsm/unavailable with what to do; internal when a row was altered
 */
export async function acceptEnrolment(parts: Parts, confirmation: string): Promise<Accepted> {
  const { hsm, store } = parts;
  const row = await activeRow(store, 'record');
  const wrapping = await wrappingOf(hsm, store, row.id);
  const before = wrapping ? 0 : await takeServiceKeys(parts, row, confirmation);
  const systemKeys = await openSystemKeys({ hsm, store });
  return { taken: before + (await systemKeys.handover.takeAll()) };
}

/** Record and audit keys, in the transaction that also tells the log: from then on the token is enrolled. */
async function takeServiceKeys(parts: Parts, recordRow: SystemKeyRow, confirmation: string): Promise<number> {
  const { hsm, store, own } = parts;
  const token = await store.db
    .selectFrom('root_transport_keys')
    .selectAll()
    .where('root_id', '=', hsm.rootId)
    .executeTakeFirst();
  const blob = await transported(store, hsm, recordRow.id);
  if (!token || !blob) {
    throw refused(
      'This token’s request was not approved yet: run `stathera hsm enrol approve` on a node that is enrolled.',
    );
  }
  if (!equalBytes(token.public_key, own.publicKey)) {
    throw refused(
      'Another request of this token was approved: begin again with `stathera hsm enrol request`.',
    );
  }
  const record = refOf(recordRow, { blob: await received(hsm, 'hmac-256', blob) });
  const confirmed = await confirmationOf(hsm, record, token);
  if (!equalBytes(utf8(confirmed), utf8(confirmation.toLowerCase()))) {
    throw refused(
      'The confirmation is not that of the keys that were handed over. ' +
        'Compare it with what `stathera hsm enrol approve` printed; if they are the same, the database was altered.',
    );
  }
  const rows = createRowAuthenticator((data) => hsm.mac(record, data));
  await rows.verify('root_transport_keys', token);
  const taken = await serviceKeys(parts, rows);
  const auditRow = await activeRow(store, 'audit');
  const auditWrapping = taken.find(({ system_key_id: id }) => id === auditRow.id);
  if (!auditWrapping)
    throw refused('The audit key was not handed over: run `stathera hsm enrol approve` again.');
  const audit = refOf(auditRow, auditWrapping);
  const entry = enrolmentEntry(parts.clock, 'hsm.accept-enrolment', own);
  const outbox = await sealOutboxRow((data) => hsm.mac(audit, data), 'w1', entry);
  await store.transaction(async (tx) => {
    await tx.insertInto('system_key_wrappings').values(taken).execute();
    await tx
      .deleteFrom('system_key_transports')
      .where('root_id', '=', hsm.rootId)
      .where('namespace_id', '=', serviceNamespaceId)
      .execute();
    await insertOutbox(tx, [outbox]);
  });
  return taken.length;
}

/** The service's own keys, of all generations, wrapped under this token's root. */
async function serviceKeys({ hsm, store }: Parts, rows: RowAuthenticator): Promise<SystemKeyWrappingRow[]> {
  const found = await store.db
    .selectFrom('system_key_transports')
    .selectAll()
    .where('root_id', '=', hsm.rootId)
    .where('namespace_id', '=', serviceNamespaceId)
    .execute();
  const taken: SystemKeyWrappingRow[] = [];
  for (const transport of found) {
    await rows.verify('system_key_transports', transport);
    const row = await store.db
      .selectFrom('system_keys')
      .selectAll()
      .where('id', '=', transport.system_key_id)
      .executeTakeFirstOrThrow();
    await rows.verify('system_keys', row);
    const { system_key_id, root_id, namespace_id } = transport;
    const blob = await received(hsm, systemKeyKinds[row.purpose], transport.blob);
    taken.push(await rows.seal('system_key_wrappings', { system_key_id, root_id, namespace_id, blob }));
  }
  return taken;
}

async function transported(store: Store, hsm: Hsm, id: string): Promise<Uint8Array | undefined> {
  const row = await store.db
    .selectFrom('system_key_transports')
    .select('blob')
    .where('system_key_id', '=', id)
    .where('root_id', '=', hsm.rootId)
    .executeTakeFirst();
  return row?.blob;
}

/** Nobody without the record key can say it, so whoever reads it from `approve` knows whose keys `accept` takes. */
async function confirmationOf(hsm: Hsm, record: KeyRef, token: RootTransportKeyRow): Promise<string> {
  const { root_id: rootId, public_key: publicKey } = token;
  const mac = await hsm.mac(record, lengthPrefixed(labels.enrolmentConfirmation, rootId, publicKey));
  return Buffer.from(mac.subarray(0, 16)).toString('hex');
}

/** The record of an enrolment's step. */
export function enrolmentEntry(
  clock: Clock,
  action: string,
  { rootId, tokenLabel }: Pick<EnrolmentRequest, 'rootId' | 'tokenLabel'>,
): AuditEntry {
  return {
    id: newId(),
    time: clock.now(),
    namespaceId: serviceNamespaceId,
    requestId: 'enrol',
    principal: { kind: 'system', name: 'enrol' },
    action,
    target: { kind: 'service', id: rootId, name: tokenLabel },
    outcome: 'allowed',
  };
}

function refused(detail: string): ServiceError {
  return new ServiceError('hsm/unavailable', detail);
}
