import { type Caller, maySee, type Principal } from '../access/caller.ts';
import type { Operation, Operations } from '../access/operations.ts';
import { type Action, scopes } from '../access/scopes.ts';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { Page, PageRequest } from '../core/page.ts';
import type { ReuseLimits } from '../crypto/payload/data-keys.ts';
import { type Algorithm, suites } from '../crypto/suites.ts';
import type { Hsm } from '../hsm/hsm.ts';
import type { Revision } from '../store/revision.ts';
import type { KeyState, KeyVersionRow, VersionState } from '../store/schema.ts';
import { isUniqueViolation, type Store, type StoreTransaction } from '../store/store.ts';
import { createKeyChanges, type Imported } from './change.ts';
import {
  type Key,
  type KeyUsageView,
  type KeyVersion,
  type KeyVersionView,
  type KeyView,
  keyView,
  targetOf,
  wrongPurpose,
} from './key.ts';
import { createKeyListing } from './listing.ts';
import { createLookup } from './lookup.ts';
import { createRotateMany, type RotateMany } from './rotate-many.ts';
import type { RotateAfter, RotationHooks } from './rotated.ts';
import { createSigners, type Signers } from './signers.ts';
import type { SystemKeys } from './system-keys.ts';
import { createUsableVersions, type UsableVersions } from './usable.ts';
import { createUsage } from './usage.ts';
import { createVersionMaker, insertVersions } from './versions.ts';

export interface CreateKeyRequest {
  readonly name: string;
  readonly algorithm: Algorithm;
  readonly description: string;
  readonly tags: Readonly<Record<string, string>>;
  readonly dataKeyReuse?: ReuseLimits | undefined;
  /** `external`: without a version, until one is imported. */
  readonly origin?: 'hsm' | 'external' | undefined;
}

export interface UpdateKeyRequest {
  readonly description?: string | undefined;
  readonly tags?: Readonly<Record<string, string>> | undefined;
  readonly state?: KeyState | undefined;
  /** Null: no more. */
  readonly dataKeyReuse?: ReuseLimits | null | undefined;
}

/**
 * Keys and their versions. `key` names one by name or id; a key the caller may not see is `key/not-found`,
 * exactly as one that does not exist.
 */
export interface Keys extends UsableVersions, Signers {
  /** @throws key/exists, access/denied for a name outside the caller's patterns */
  create(caller: Caller, request: CreateKeyRequest): Promise<KeyView>;
  list(caller: Caller, page: PageRequest): Promise<Page<KeyView>>;
  describe(caller: Caller, key: string): Promise<KeyView>;
  versions(caller: Caller, key: string, page: PageRequest): Promise<Page<KeyVersionView>>;
  usage(caller: Caller, key: string): Promise<KeyUsageView>;
  /** @throws key/conflict when somebody else changed the key at the same time */
  update(caller: Caller, key: string, request: UpdateKeyRequest): Promise<KeyView>;
  /** @throws key/not-found, key/version-state, key/conflict */
  updateVersion(caller: Caller, key: string, ordinal: number, state: VersionState): Promise<KeyVersionView>;
  /** Makes a new version and encrypts with it from now on; old ones go on decrypting. @throws key/conflict */
  rotate(caller: Caller, key: string): Promise<KeyView>;
  /** A new version of material from elsewhere, inside `use`. @throws key/conflict */
  importVersion<Answer extends object>(
    operation: Operation,
    key: Key,
    imported: Imported<Answer>,
  ): Promise<KeyView & Answer>;
  /** What a version is replaced after, inside `use`; `also` commits with it. @throws key/conflict */
  setRotateAfter(
    operation: Operation,
    key: Key,
    after: RotateAfter | null,
    also: (tx: StoreTransaction) => Promise<undefined>,
  ): Promise<void>;
  /** For what the service rotates by itself. */
  readonly many: RotateMany;
  /** The way for another capability to use one key: finds it, authorizes, runs `work`, and records it. */
  use<T>(
    caller: Caller,
    action: Action,
    key: string,
    work: (key: Key, operation: Operation) => Promise<T>,
  ): Promise<T>;
  /** For operations over several keys, inside `operations.run`. @throws key/not-found */
  find(principal: Principal, key: string): Promise<Key>;
  /** How a version was used, for whoever decides about its row. @param row authenticated */
  describeVersion(row: KeyVersionRow): Promise<KeyVersionView>;
  /** Marks a version as used now: after a decryption that succeeded, so that forgeries are no use. */
  touch(version: KeyVersion): void;
  /** Writes last uses; to be called about once a minute. */
  flush(): Promise<void>;
  /** Flushes and gives back what is left of reserved uses. */
  close(): Promise<void>;
}

export function createKeys({
  store,
  hsm,
  systemKeys,
  operations,
  clock,
  revision,
  hooks,
  limit = { keys: 50_000, versions: 50_000 },
  onRotationFailed,
}: {
  store: Store;
  hsm: Hsm;
  systemKeys: SystemKeys;
  operations: Operations;
  clock: Clock;
  revision: Revision;
  hooks: RotationHooks;
  /** Keys and versions kept in memory. */
  limit?: { keys: number; versions: number };
  /** Told when a rotation that the usage limit forces did not succeed. */
  onRotationFailed: (error: unknown) => void;
}): Keys {
  const { rows } = systemKeys;
  const lookup = createLookup({ store, systemKeys, limit });
  revision.onTouched((ids) => {
    lookup.forget(ids);
    // A version that another process has disabled; of everything else the HSM has no handle.
    if (ids !== 'everything') for (const id of ids) void hsm.evict(id).catch(() => undefined);
  });
  const makeVersion = createVersionMaker({ hsm, systemKeys, clock });
  const usage = createUsage({
    store,
    rows,
    clock,
    onRotationDue: (version) => void forceRotation(version).catch(onRotationFailed),
  });
  const listing = createKeyListing({ store, rows, usage });
  const changes = createKeyChanges({
    store,
    hsm,
    rows,
    clock,
    makeVersion,
    lastUsed: listing.lastUsed,
    hooks,
  });

  const use: Keys['use'] = (caller, action, ref, work) =>
    operations.run(caller, action, { kind: 'key', name: ref }, async (operation) => {
      const key = await lookup.find(caller.principal, ref);
      operation.target(targetOf(key));
      return await work(key, operation);
    });

  /** The usage limit of a version was reached: the service itself rotates, unless it was done already. */
  async function forceRotation(version: KeyVersion): Promise<void> {
    await use(serviceCaller(version.namespaceId), 'keys.rotate', version.keyId, async (key, operation) => {
      if (key.currentVersionId !== version.id || key.external) return;
      await changes.rotate(operation, key, 'usage');
    });
  }

  return {
    create(caller, request) {
      const { name } = request;
      return operations.run(caller, 'keys.create', { kind: 'key', name }, async (operation) => {
        const { namespaceId } = caller.principal;
        const id = newId();
        if (!maySee(caller.principal, { id, name })) {
          throw new ServiceError('access/denied', 'The name lies outside the keys this token is for.');
        }
        const external = request.origin === 'external';
        const version = external
          ? undefined
          : await makeVersion({ id, namespaceId, algorithm: request.algorithm }, 1);
        const now = clock.now();
        const { purpose, protection } = suites[request.algorithm];
        const schedule = await hooks.created({ id, namespaceId, purpose, external, at: now });
        const row = await rows.seal('keys', {
          id,
          namespace_id: namespaceId,
          name,
          algorithm: request.algorithm,
          purpose,
          protection,
          exportable: 0,
          state: 'enabled' as const,
          description: request.description,
          tags: JSON.stringify(request.tags),
          current_version_id: version?.id ?? '',
          current_ordinal: version ? 1 : 0,
          origin: external ? ('external' as const) : null,
          data_key_reuse: reuseText(request.dataKeyReuse),
          rotate_after: schedule.rotateAfter,
          created_at: now,
          updated_at: now,
          revision: 1,
        });
        operation.target({ kind: 'key', id, name, ...(version && { version: 1 }) });
        return await operation.change(async (tx) => {
          try {
            await tx.insertInto('keys').values(row).execute();
          } catch (error) {
            if (!isUniqueViolation(error)) throw error;
            throw new ServiceError('key/exists', 'A key of this name exists.');
          }
          if (version) await insertVersions(tx, [version]);
          await schedule.insert(tx);
          return keyView(row, undefined);
        });
      });
    },

    list: (caller, page) =>
      operations.run(caller, 'keys.list', { kind: 'key' }, () => listing.keys(caller.principal, page)),
    describe: (caller, ref) => use(caller, 'keys.describe', ref, (key) => listing.describe(key.id)),
    usage: (caller, ref) => use(caller, 'keys.usage', ref, listing.usageOf),
    versions: (caller, ref, page) =>
      use(caller, 'keys.list-versions', ref, (key) => listing.versions(key.id, page)),

    update: (caller, ref, { description, tags, state, dataKeyReuse }) =>
      use(caller, 'keys.update', ref, (key, operation) => {
        if (dataKeyReuse && key.suite.purpose !== 'encrypt') throw wrongPurpose();
        return changes.key(operation, key, {
          ...(description !== undefined && { description }),
          ...(tags !== undefined && { tags: JSON.stringify(tags) }),
          ...(state !== undefined && { state }),
          ...(dataKeyReuse !== undefined && { data_key_reuse: reuseText(dataKeyReuse) }),
        });
      }),

    updateVersion: (caller, ref, ordinal, state) =>
      use(caller, 'keys.update', ref, async (key, operation) => {
        const row = await listing.versionRow(key.id, ordinal);
        operation.target({ ...targetOf(key), version: ordinal });
        return await listing.describeVersion(await changes.version(operation, row, state));
      }),

    rotate: (caller, ref) =>
      use(caller, 'keys.rotate', ref, (key, operation) => {
        if (key.external)
          throw new ServiceError(
            'key/external',
            'The versions of this key are imported: import the next one.',
          );
        return changes.rotate(operation, key, 'manual');
      }),

    async setRotateAfter(operation, key, after, also) {
      await changes.key(operation, key, { rotate_after: after && JSON.stringify(after) }, also);
    },
    many: createRotateMany({ store, rows, clock, makeVersion }),
    use,
    find: lookup.find,
    describeVersion: listing.describeVersion,

    importVersion: async <Answer extends object>(
      operation: Operation,
      key: Key,
      imported: Imported<Answer>,
    ) => (await changes.rotate(operation, key, 'import', imported)) as KeyView & Answer,
    ...createUsableVersions({ lookup, usage, clock }),
    ...createSigners({ store, lookup }),
    touch: (version) => usage.touch(version.id),
    flush: () => usage.flush(),
    close: () => usage.close(),
  };
}

function reuseText(reuse: ReuseLimits | null | undefined): string | null {
  return reuse ? JSON.stringify(reuse) : null;
}

/** What the service does of its own accord is recorded under its own name. */
function serviceCaller(namespaceId: string): Caller {
  const principal: Principal = {
    kind: 'system',
    id: 'usage-limit',
    name: 'usage-limit',
    namespaceId,
    scopes: new Set(scopes),
    keyPatterns: undefined,
  };
  return { principal, requestId: newId(), source: undefined, idempotency: undefined };
}
