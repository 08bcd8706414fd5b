import { insertOutbox, sealOutboxRow } from '../audit/outbox-rows.ts';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import type { Hsm } from '../hsm/hsm.ts';
import type { Store } from '../store/store.ts';
import { enrolmentEntry } from './enrolment.ts';
import { openSystemKeys } from './system-keys.ts';

/**
 * Takes another token out, in one transaction: what is wrapped for it is deleted, and it is handed nothing any more.
 * Copies of the database that are older still have what it opens.
 * @throws hsm/unavailable with what to do
 */
export async function removeToken(
  { hsm, store, clock }: { hsm: Hsm; store: Store; clock: Clock },
  rootId: string,
): Promise<void> {
  if (rootId === hsm.rootId)
    throw new ServiceError('hsm/unavailable', 'This is the token in use here: remove it on another node.');
  const { audit } = await openSystemKeys({ hsm, store });
  const root = await store.db.selectFrom('roots').selectAll().where('id', '=', rootId).executeTakeFirst();
  if (!root) throw new ServiceError('hsm/unavailable', 'No token with this root is enrolled.');
  const entry = enrolmentEntry(clock, 'hsm.remove-token', { rootId, tokenLabel: root.token_label });
  const outbox = await sealOutboxRow((data) => hsm.mac(audit, data), 'w1', entry);
  await store.transaction(async (tx) => {
    await tx.deleteFrom('system_key_transports').where('root_id', '=', rootId).execute();
    await tx.deleteFrom('system_key_wrappings').where('root_id', '=', rootId).execute();
    await tx.deleteFrom('root_transport_keys').where('root_id', '=', rootId).execute();
    await tx.deleteFrom('roots').where('id', '=', rootId).execute();
    await insertOutbox(tx, [outbox]);
  });
}
