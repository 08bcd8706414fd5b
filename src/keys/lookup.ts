import { maySee, type Principal } from '../access/caller.ts';
import { createCache } from '../core/cache.ts';
import { ServiceError } from '../core/errors.ts';
import { isId } from '../core/ids.ts';
import type { KeyRow, KeyVersionRow } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import {
  type Key,
  type KeyVersion,
  keyFromRow,
  keyNotFound,
  nothingImported,
  versionFromRow,
} from './key.ts';
import type { SystemKeys } from './system-keys.ts';

/** Finds keys and versions: from memory when they were used lately, else from the store, authenticated. */
export interface Lookup {
  /** @throws key/not-found when there is none, or the principal may not see it: the same answer */
  find(principal: Principal, ref: string): Promise<Key>;
  /** The version a key encrypts with. @throws key/nothing-imported */
  current(key: Key): Promise<KeyVersion>;
  /** @returns undefined unless it is a version of this key */
  version(key: Key, versionId: string): Promise<KeyVersion | undefined>;
  /** @returns undefined when the key has no version of this ordinal */
  ordinal(key: Key, ordinal: number): Promise<KeyVersion | undefined>;
  /** Forgets keys and versions that were changed, by id. */
  forget(ids: readonly string[] | 'everything'): void;
}

export function createLookup({
  store,
  systemKeys,
  limit,
}: {
  store: Store;
  systemKeys: SystemKeys;
  limit: { keys: number; versions: number };
}): Lookup {
  const ids = createCache<string>(limit.keys);
  const keys = createCache<Key>(limit.keys);
  const versions = createCache<KeyVersion>(limit.versions);
  const idByName = store.prepare<{ id: string }>((db) =>
    db.selectFrom('keys').select('id').where('namespace_id', '=', '').where('name', '=', ''),
  );
  const keyById = store.prepare<KeyRow>((db) => db.selectFrom('keys').selectAll().where('id', '=', ''));
  const versionById = store.prepare<KeyVersionRow>((db) =>
    db.selectFrom('key_versions').selectAll().where('id', '=', ''),
  );

  const versionByOrdinal = store.prepare<{ id: string }>((db) =>
    db.selectFrom('key_versions').select('id').where('key_id', '=', '').where('ordinal', '=', 0),
  );

  async function loadId(namespaceId: string, name: string): Promise<string> {
    const [row] = await idByName(namespaceId, name);
    if (!row) throw keyNotFound();
    return row.id;
  }

  async function loadKey(id: string): Promise<Key> {
    const [row] = await keyById(id);
    if (!row) throw keyNotFound();
    await systemKeys.rows.verify('keys', row);
    return keyFromRow(row);
  }

  async function loadVersion(id: string): Promise<KeyVersion> {
    const [row] = await versionById(id);
    if (!row) throw new VersionMissing();
    await systemKeys.rows.verify('key_versions', row);
    return versionFromRow(row, await systemKeys.kek(row.kek_id));
  }

  async function version(key: Key, versionId: string): Promise<KeyVersion | undefined> {
    try {
      const found = versions.peek(versionId) ?? (await versions.get(versionId, () => loadVersion(versionId)));
      return found.keyId === key.id && found.namespaceId === key.namespaceId ? found : undefined;
    } catch (error) {
      if (error instanceof VersionMissing) return undefined;
      throw error;
    }
  }

  return {
    async find(principal, ref) {
      const { namespaceId } = principal;
      let id = ref;
      if (!isId(ref)) {
        const place = nameKey(namespaceId, ref);
        id = ids.peek(place) ?? (await ids.get(place, () => loadId(namespaceId, ref)));
      }
      const key = keys.peek(id) ?? (await keys.get(id, () => loadKey(id)));
      // The name is part of the authenticated row: an index edited to lead elsewhere is noticed here.
      const asked = id === ref || key.name === ref;
      if (key.namespaceId !== namespaceId || !asked || !maySee(principal, key)) throw keyNotFound();
      return key;
    },
    async current(key) {
      if (key.currentOrdinal === 0) throw nothingImported();
      const found = await version(key, key.currentVersionId);
      if (found?.ordinal === key.currentOrdinal) return found;
      throw new ServiceError('internal', 'A stored record is missing.', {
        cause: new Error('the current version of a key is missing or not the one the key names'),
      });
    },
    version,
    async ordinal(key, ordinal) {
      const [row] = await versionByOrdinal(key.id, ordinal);
      const found = row && (await version(key, row.id));
      // The ordinal is part of the authenticated row, as names are.
      return found?.ordinal === ordinal ? found : undefined;
    },
    forget(changed) {
      if (changed === 'everything') {
        for (const cache of [ids, keys, versions]) cache.clear();
        return;
      }
      // What a name stands for does not change.
      for (const id of changed) {
        keys.delete(id);
        versions.delete(id);
      }
    },
  };
}

class VersionMissing extends Error {}

function nameKey(namespaceId: string, name: string): string {
  return `${namespaceId}/${name}`;
}
