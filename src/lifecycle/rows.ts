import { ServiceError } from '../core/errors.ts';
import { conflict } from '../keys/change.ts';
import { type Key, keyNotFound } from '../keys/key.ts';
import type { DestructionRow } from '../store/lifecycle-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { KeyRow, KeyVersionRow } from '../store/schema.ts';
import type { Store, StoreTransaction } from '../store/store.ts';

/** Versions of one request: their ids are told to all processes in one change. */
const versionsLimit = 500;

/** Reads rows of keys and versions, authenticated. */
export function createReader(store: Store, rows: RowAuthenticator) {
  return {
    async key({ id }: Pick<Key, 'id'>): Promise<KeyRow> {
      const row = await store.db.selectFrom('keys').selectAll().where('id', '=', id).executeTakeFirst();
      if (!row) throw keyNotFound();
      await rows.verify('keys', row);
      return row;
    },

    /**
     * Versions of a key, oldest first.
     * @param ordinals absent: all. @throws key/not-found unless each is there, request/invalid for too many
     */
    async versions({ id }: Pick<Key, 'id'>, ordinals?: readonly number[]): Promise<KeyVersionRow[]> {
      const wanted = ordinals && [...new Set(ordinals)];
      const found = await store.db
        .selectFrom('key_versions')
        .selectAll()
        .where('key_id', '=', id)
        .$if(wanted !== undefined, (query) => query.where('ordinal', 'in', wanted as number[]))
        .orderBy('ordinal')
        .limit(versionsLimit + 1)
        .execute();
      if (found.length > versionsLimit) throw tooMany();
      if (wanted && found.length !== wanted.length) throw keyNotFound();
      await Promise.all(found.map((row) => rows.verify('key_versions', row)));
      return found;
    },

    /** What is scheduled of a key. @param ordinals absent: all */
    async scheduled({ id }: Pick<Key, 'id'>, ordinals?: readonly number[]): Promise<DestructionRow[]> {
      const found = await store.db
        .selectFrom('version_destructions')
        .selectAll()
        .where('key_id', '=', id)
        .where('state', '=', 'scheduled')
        .$if(ordinals !== undefined, (query) => query.where('ordinal', 'in', ordinals as number[]))
        .orderBy('id')
        .limit(versionsLimit + 1)
        .execute();
      if (found.length > versionsLimit) throw tooMany();
      await Promise.all(found.map((row) => rows.verify('version_destructions', row)));
      return found;
    },
  };
}

export type Reader = ReturnType<typeof createReader>;

/** Ends a destruction, one way or the other. */
export async function endedDestruction(
  rows: RowAuthenticator,
  { mac: _, ...row }: DestructionRow,
  end: Pick<DestructionRow, 'state' | 'ended_at' | 'record'>,
): Promise<DestructionRow> {
  return await rows.seal('version_destructions', { ...row, ...end, revision: row.revision + 1 });
}

/** @throws key/conflict when somebody ended or moved it meanwhile */
export async function writeDestruction(
  tx: StoreTransaction,
  row: DestructionRow,
  next: DestructionRow,
): Promise<void> {
  const { numUpdatedRows } = await tx
    .updateTable('version_destructions')
    .set(next)
    .where('id', '=', row.id)
    .where('revision', '=', row.revision)
    .executeTakeFirst();
  if (numUpdatedRows !== 1n) throw conflict();
}

function tooMany(): ServiceError {
  return new ServiceError('request/invalid', `Up to ${versionsLimit} versions at a time: name which.`);
}
