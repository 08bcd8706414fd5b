import type { Principal } from '../access/caller.ts';
import type { Store } from '../store/store.ts';
import { decryptingStates } from './change.ts';
import { asSigner, type Key, type SignVersion } from './key.ts';
import { visibleTo } from './listing.ts';
import type { Lookup } from './lookup.ts';

/** Keys at most, and versions at most. */
const limit = 500;

export interface Signers {
  /**
   * What signatures verify with now: versions that are enabled or decrypt-only, of enabled signing keys that the
   * principal may see, newest first, 500 at most.
   * @param ref of one key alone
   * @throws key/not-found for a `ref` of none
   */
  verifiers(principal: Principal, ref?: string): Promise<{ key: Key; version: SignVersion }[]>;
}

export function createSigners({ store, lookup }: { store: Store; lookup: Lookup }): Signers {
  async function keyIds(principal: Principal): Promise<string[]> {
    const query = store.db
      .selectFrom('keys')
      .select('id')
      .where('namespace_id', '=', principal.namespaceId)
      .where('purpose', '=', 'sign')
      .where('state', '=', 'enabled')
      .orderBy('id', 'desc')
      .limit(limit);
    const rows = await query.where(visibleTo(principal)).execute();
    return rows.map(({ id }) => id);
  }

  async function find(principal: Principal, row: { key_id: string; id: string }) {
    const key = await lookup.find(principal, row.key_id);
    const version = await lookup.version(key, row.id);
    // As the authenticated rows have it, which were read after the index.
    const verifies = key.state === 'enabled' && version && decryptingStates.includes(version.state);
    return verifies && version.suite.purpose === 'sign' ? [{ key, version: asSigner(version) }] : [];
  }

  return {
    async verifiers(principal, ref) {
      const ids = ref === undefined ? await keyIds(principal) : [(await lookup.find(principal, ref)).id];
      if (ids.length === 0) return [];
      const rows = await store.db
        .selectFrom('key_versions')
        .select(['id', 'key_id'])
        .where('key_id', 'in', ids)
        .where('state', 'in', decryptingStates)
        .orderBy('id', 'desc')
        .limit(limit)
        .execute();
      return (await Promise.all(rows.map((row) => find(principal, row)))).flat();
    },
  };
}
