import type { Operation } from '../access/operations.ts';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import type { Algorithm } from '../crypto/suites.ts';
import type { Hsm } from '../hsm/hsm.ts';
import type { RotationRow } from '../store/rotation-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { KeyRow, KeyVersionRow, VersionState } from '../store/schema.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import { type Key, type KeyView, keyNotFound, keyView, targetOf } from './key.ts';
import type { RotationHooks } from './rotated.ts';
import { requireAllowed } from './transitions.ts';
import { insertVersions, type MakeVersion, type Material } from './versions.ts';

/** The changes of existing keys: read, authenticate, seal, and write only if nobody else did meanwhile. */
export interface KeyChanges {
  /** @param also commits with it */
  key(
    operation: Operation,
    key: Key,
    change: Partial<KeyRow>,
    also?: (tx: StoreTransaction) => Promise<undefined>,
  ): Promise<KeyView>;
  /**
   * A new version, with which the key makes everything from now on.
   * @param imported absent: the HSM makes it; `also` commits with it
   */
  rotate(operation: Operation, key: Key, cause: RotationRow['cause'], imported?: Imported): Promise<KeyView>;
  /** @throws key/version-state, key/conflict */
  version(operation: Operation, row: KeyVersionRow, state: VersionState): Promise<KeyVersionRow>;
}

export interface Imported<Answer extends object = object> {
  readonly material: Material;
  /** Commits with the version. @returns plain JSON that is answered with the key */
  readonly also: (tx: StoreTransaction) => Promise<Answer>;
}

/** Version states that may decrypt; `enabled` alone may encrypt. */
export const decryptingStates: readonly VersionState[] = ['enabled', 'decrypt-only'];

export function createKeyChanges({
  store,
  hsm,
  rows,
  clock,
  makeVersion,
  lastUsed,
  hooks,
}: {
  store: Store;
  hsm: Hsm;
  rows: RowAuthenticator;
  clock: Clock;
  makeVersion: MakeVersion;
  lastUsed: (keys: readonly KeyRow[]) => Promise<Map<string, number | undefined>>;
  hooks: RotationHooks;
}): KeyChanges {
  async function authenticRow(key: Key): Promise<KeyRow> {
    const row = await store.db.selectFrom('keys').selectAll().where('id', '=', key.id).executeTakeFirst();
    if (!row) throw keyNotFound();
    await rows.verify('keys', row);
    return row;
  }

  async function write(
    operation: Operation,
    row: KeyRow,
    change: Partial<KeyRow>,
    also?: (tx: StoreTransaction) => Promise<object | undefined>,
  ): Promise<KeyView> {
    const { mac: _, ...current } = row;
    const next = await rows.seal('keys', {
      ...current,
      ...change,
      updated_at: clock.now(),
      revision: row.revision + 1,
    });
    const lastUsedAt = (await lastUsed([row])).get(row.id);
    return await operation.change(async (tx) => {
      const result = await tx
        .updateTable('keys')
        .set(next)
        .where('id', '=', row.id)
        .where('revision', '=', row.revision)
        .executeTakeFirst();
      if (result.numUpdatedRows !== 1n) throw conflict();
      return { ...keyView(next, lastUsedAt), ...(await also?.(tx)) };
    });
  }

  return {
    key: async (operation, key, change, also) =>
      await write(operation, await authenticRow(key), change, also),

    async rotate(operation, key, cause, imported) {
      const row = await authenticRow(key);
      const ordinal = row.current_ordinal + 1;
      const version = await makeVersion(
        { id: row.id, namespaceId: row.namespace_id, algorithm: row.algorithm as Algorithm },
        ordinal,
        imported?.material,
      );
      operation.target({ ...targetOf(key), version: ordinal });
      const record = await hooks.rotated({
        ...{ keyId: row.id, keyName: row.name, namespaceId: row.namespace_id, cause, at: clock.now() },
        from: { ordinal: row.current_ordinal, id: row.current_version_id },
        to: { ordinal, id: version.id },
        by: operation.caller.principal,
      });
      return await write(
        operation,
        row,
        { current_version_id: version.id, current_ordinal: ordinal },
        async (tx) => {
          const answer = await imported?.also(tx);
          await insertVersions(tx, [version]);
          await record(tx);
          return answer;
        },
      );
    },

    async version(operation, row, state) {
      requireAllowed('set', row.state, state);
      const next = await changedVersion(rows, row, { state });
      await operation.change((tx) => writeVersion(tx, row, next), { touches: [row.id] });
      if (!decryptingStates.includes(state)) await hsm.evict(row.id);
      return next;
    },
  };
}

/** The row as it is to be written, authenticated. */
export async function changedVersion(
  rows: RowAuthenticator,
  { mac: _, ...row }: KeyVersionRow,
  change: Pick<KeyVersionRow, 'state'> & Partial<Pick<KeyVersionRow, 'blob'>>,
): Promise<KeyVersionRow> {
  return await rows.seal('key_versions', { ...row, ...change, revision: row.revision + 1 });
}

/** Writes `next` in place of `row`; whoever changes a version names it in `touches`. @throws key/conflict */
export async function writeVersion(
  tx: StoreTransaction,
  row: KeyVersionRow,
  next: KeyVersionRow,
): Promise<void> {
  const result = await tx
    .updateTable('key_versions')
    .set({ state: next.state, blob: next.blob, revision: next.revision, mac: next.mac })
    .where('id', '=', row.id)
    .where('revision', '=', row.revision)
    .executeTakeFirst();
  if (result.numUpdatedRows !== 1n) throw conflict();
}

export function conflict(): ServiceError {
  return new ServiceError(
    'key/conflict',
    'The key was changed by somebody else at the same time: try again.',
  );
}
