import type { Clock } from '../core/clock.ts';
import { type ErrorCode, isServiceError } from '../core/errors.ts';
import type { Algorithm } from '../crypto/suites.ts';
import { HsmRejected } from '../hsm/hsm.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { KeyRow } from '../store/schema.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import type { RotateAfter, VersionPlace } from './rotated.ts';
import { insertVersions, type MakeVersion, type NewVersion } from './versions.ts';

/** A key with its next version, which is in no database yet. */
export interface Rotating {
  readonly key: Pick<KeyRow, 'id' | 'name' | 'namespace_id'>;
  readonly from: VersionPlace;
  readonly to: VersionPlace;
  /** As it will be. */
  readonly row: KeyRow;
  readonly version: NewVersion;
}

/** Rotations of many keys in one transaction, for whoever records each. */
export interface RotateMany {
  /**
   * Makes versions for up to 128 keys.
   * @returns refused: keys that may not be rotated or whose rows cannot be used, and why
   * @throws hsm/unavailable, store/unavailable, service/overloaded: nothing was made
   */
  prepare(keyIds: readonly string[]): Promise<{
    readonly ready: readonly Rotating[];
    readonly refused: ReadonlyMap<string, ErrorCode>;
  }>;
  /** @returns those that took effect; the others were changed by somebody meanwhile, and nothing of them is written */
  write(tx: StoreTransaction, ready: readonly Rotating[]): Promise<readonly Rotating[]>;
  /**
   * Sets what versions of keys are replaced after, each as the function says.
   * @returns writes; false when one of them was changed meanwhile
   */
  prepareAfter(
    keys: readonly KeyRow[],
    after: (key: KeyRow) => RotateAfter | null,
  ): Promise<(tx: StoreTransaction) => Promise<boolean>>;
}

/** Not the key's fault: the whole work is tried again. */
const notTheKeys: readonly ErrorCode[] = [
  ...(['hsm/unavailable', 'store/unavailable', 'service/overloaded'] as const),
];

export function createRotateMany({
  store,
  rows,
  clock,
  makeVersion,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: Clock;
  makeVersion: MakeVersion;
}): RotateMany {
  const update = store.db
    .updateTable('keys')
    .set({ current_version_id: '', current_ordinal: 0, updated_at: 0, revision: 0, mac: new Uint8Array() })
    .where('id', '=', '')
    .where('revision', '=', 0)
    .compile();

  async function prepareOne(row: KeyRow): Promise<Rotating | ErrorCode> {
    await rows.verify('keys', row);
    if (row.origin === 'external') return 'key/external';
    if (row.state !== 'enabled') return 'key/disabled';
    const ordinal = row.current_ordinal + 1;
    const of = { id: row.id, namespaceId: row.namespace_id, algorithm: row.algorithm as Algorithm };
    const version = await makeVersion(of, ordinal);
    const { mac: _, ...current } = row;
    const next = await rows.seal('keys', {
      ...current,
      ...{ current_version_id: version.id, current_ordinal: ordinal },
      ...{ updated_at: clock.now(), revision: row.revision + 1 },
    });
    return {
      ...{ key: row, row: next, version },
      from: { ordinal: row.current_ordinal, id: row.current_version_id },
      to: { ordinal, id: version.id },
    };
  }

  return {
    async prepare(keyIds) {
      const found = await store.db.selectFrom('keys').selectAll().where('id', 'in', keyIds).execute();
      const refused = new Map<string, ErrorCode>(keyIds.map((id) => [id, 'key/not-found']));
      const ready: Rotating[] = [];
      await Promise.all(
        found.map(async (row) => {
          const result = await prepareOne(row).catch(failureOfKey);
          if (typeof result === 'string') return void refused.set(row.id, result);
          refused.delete(row.id);
          ready.push(result);
        }),
      );
      return { ready, refused };
    },

    async write(tx, ready) {
      const written: Rotating[] = [];
      for (const each of ready) {
        const { current_version_id, current_ordinal, updated_at, revision, mac, id } = each.row;
        const values = [current_version_id, current_ordinal, updated_at, revision, mac];
        const { numAffectedRows } = await tx.executeQuery({
          ...update,
          parameters: [...values, id, revision - 1],
        });
        if (numAffectedRows === 1n) written.push(each);
      }
      await insertVersions(
        tx,
        written.map(({ version }) => version),
      );
      return written;
    },

    async prepareAfter(keys, after) {
      const changed = await resealed(rows, clock, keys, after);
      return async (tx) => {
        for (const row of changed) {
          const { numUpdatedRows } = await tx
            .updateTable('keys')
            .set(row)
            .where('id', '=', row.id)
            .where('revision', '=', row.revision - 1)
            .executeTakeFirst();
          if (numUpdatedRows !== 1n) return false;
        }
        return true;
      };
    },
  };
}

/** Of keys whose row says something else. */
async function resealed(
  rows: RowAuthenticator,
  clock: Clock,
  keys: readonly KeyRow[],
  after: (key: KeyRow) => RotateAfter | null,
): Promise<KeyRow[]> {
  const changes = keys.flatMap((row) => {
    const wanted = after(row);
    const text = wanted && JSON.stringify(wanted);
    return text === row.rotate_after ? [] : [{ row, text }];
  });
  return await Promise.all(
    changes.map(({ row: { mac: _, ...current }, text }) =>
      rows.seal('keys', {
        ...current,
        ...{ rotate_after: text, updated_at: clock.now(), revision: current.revision + 1 },
      }),
    ),
  );
}

function failureOfKey(error: unknown): ErrorCode {
  if (isServiceError(error)) {
    if (notTheKeys.includes(error.code)) throw error;
    return error.code;
  }
  if (error instanceof HsmRejected) return 'internal';
  throw error;
}
