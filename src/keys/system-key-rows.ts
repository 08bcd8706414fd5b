import { ServiceError } from '../core/errors.ts';
import { type Hsm, HsmRejected, type KeyRef, root, type SecretKind } from '../hsm/hsm.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { SystemKeyRow, SystemKeyWrappingRow } from '../store/schema.ts';
import type { Store } from '../store/store.ts';

export const systemKeyKinds: Record<SystemKeyRow['purpose'], SecretKind> = {
  kek: 'kek',
  record: 'hmac-256',
  audit: 'hmac-256',
};

/** A system key as it is stored for one token. */
export interface StoredSystemKey {
  readonly row: SystemKeyRow;
  readonly wrapping: SystemKeyWrappingRow;
}

/** The wrapping under this token's root. */
export function wrappingOf(hsm: Hsm, store: Store, id: string): Promise<SystemKeyWrappingRow | undefined> {
  return store.db
    .selectFrom('system_key_wrappings')
    .selectAll()
    .where('system_key_id', '=', id)
    .where('root_id', '=', hsm.rootId)
    .executeTakeFirst();
}

export function refOf(
  row: Pick<SystemKeyRow, 'id' | 'purpose'>,
  wrapping: Pick<SystemKeyWrappingRow, 'blob'>,
): KeyRef {
  return { id: row.id, kind: systemKeyKinds[row.purpose], blob: wrapping.blob, under: root };
}

/** @throws internal when a row was altered outside the service */
export async function verifySystemKey(
  rows: RowAuthenticator,
  { row, wrapping }: StoredSystemKey,
): Promise<void> {
  try {
    await rows.verify('system_keys', row);
    await rows.verify('system_key_wrappings', wrapping);
  } catch (error) {
    // The record key itself did not unwrap: its blob was altered.
    if (!(error instanceof HsmRejected)) throw error;
    throw new ServiceError('internal', 'A stored record failed its authentication.', { cause: error });
  }
}
