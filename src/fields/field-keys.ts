import type { Principal } from '../access/caller.ts';
import { wipe } from '../core/bytes.ts';
import { createCache } from '../core/cache.ts';
import { isServiceError, ServiceError } from '../core/errors.ts';
import type { Schema } from '../crypto/fields/compile.ts';
import {
  type KeySlot,
  type KeyVersion,
  keyBytesOf,
  keyContext,
  keyLabels,
  type PreparedKey,
  prepareKey,
} from '../crypto/fields/keyring.ts';
import type { KeySource } from '../crypto/fields/load-keyring.ts';
import { nodeCiphers } from '../crypto/fields/node-ciphers.ts';
import type { Hsm } from '../hsm/hsm.ts';
import type { FieldVersion, Key } from '../keys/key.ts';
import type { Keys } from '../keys/keys.ts';
import type { Revision } from '../store/revision.ts';

/** The keys of one schema that a principal may use, by the name in the schema. */
export interface UsableKeys {
  readonly found: ReadonlyMap<string, Key>;
  /** Names of those that it may not see, or that are not there. */
  readonly hidden: readonly string[];
}

export interface FieldKeys {
  usable(principal: Principal, schemas: readonly Schema[]): Promise<UsableKeys>;
  /**
   * For one request, whose versions it counts.
   * @param seals whether something new is made with the current version
   */
  source(keys: UsableKeys, seals: boolean): FieldKeySource;
}

export interface FieldKeySource extends KeySource {
  /** A version that was asked for, as keys have it. */
  known(version: KeyVersion): FieldVersion;
}

/** Derived keys in memory: some hundred bytes each. */
const keptKeys = 4_096;
/** Versions that one request may name: each is looked for in the store. */
const versionsLimit = 500;

/** What is said of one version, and not of the key: values of others open. */
const ofVersion = ['key/not-found', 'key/version-disabled', 'key/version-expired'] as const;

export function createFieldKeys({
  keys,
  hsm,
  revision,
}: {
  keys: Keys;
  hsm: Hsm;
  revision: Revision;
}): FieldKeys {
  const prepared = createCache<PreparedKey>(keptKeys);
  revision.onTouched((ids) => {
    if (ids === 'everything') return prepared.clear();
    const touched = new Set(ids);
    for (const [name] of [...prepared.entries()]) if (touched.has(name.slice(0, 36))) prepared.delete(name);
  });

  async function derive(version: FieldVersion, slot: KeySlot): Promise<PreparedKey> {
    const place = { namespaceId: version.namespaceId, versionId: version.id };
    const key = await hsm.derive(version.ref, {
      label: keyLabels[slot.purpose],
      context: keyContext(place, slot),
      bytes: keyBytesOf(slot.purpose),
    });
    try {
      return prepareKey(nodeCiphers, { slot, place }, key);
    } finally {
      wipe(key);
    }
  }

  return {
    async usable(principal, schemas) {
      const names = new Set(schemas.flatMap(({ fields }) => fields.map(({ key }) => key)));
      const found = new Map<string, Key>();
      const hidden: string[] = [];
      for (const name of names)
        try {
          found.set(name, await keys.find(principal, name));
        } catch (error) {
          if (!isServiceError(error, 'key/not-found')) throw error;
          hidden.push(name);
        }
      return { found, hidden };
    },

    source({ found }, seals) {
      const versions = new Map<string, FieldVersion>();
      const asked = new Set<string>();

      async function versionOf(key: Key, version: string | number): Promise<FieldVersion | undefined> {
        try {
          return typeof version === 'string'
            ? await keys.openingFields(key, version)
            : await keys.derivingFields(key, 'open', version);
        } catch (error) {
          if (isServiceError(error, ...ofVersion)) return undefined;
          throw error;
        }
      }

      function known({ id }: KeyVersion): FieldVersion {
        const version = versions.get(id);
        if (version === undefined) throw new TypeError('a version that was not asked for');
        return version;
      }

      return {
        known,
        async version(name, version) {
          const key = found.get(name);
          if (key === undefined) return undefined;
          const current = version === undefined;
          if (!current && asked.add(`${name}/${version}`).size > versionsLimit)
            throw new ServiceError(
              'request/invalid',
              `The documents name more than ${versionsLimit} versions of keys.`,
            );
          const one = current
            ? await keys.derivingFields(key, seals ? 'make' : 'open')
            : await versionOf(key, version);
          if (one) versions.set(one.id, one);
          return one;
        },
        prepared: async (_, version, slot) =>
          await prepared.get(`${version.id}/${slot.id}`, () => derive(known(version), slot)),
      };
    },
  };
}
