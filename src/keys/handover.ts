import { ServiceError } from '../core/errors.ts';
import { type Hsm, HsmRejected, type KeyRef, type SecretKind } from '../hsm/hsm.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type {
  RootTransportKeyRow,
  SystemKeyRow,
  SystemKeyTransportRow,
  SystemKeyWrappingRow,
} from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import { systemKeyKinds, wrappingOf } from './system-key-rows.ts';

/**
 * System keys on their way to other tokens. A root is known here by the nodes that have its token, so a key for it is
 * wrapped to its token's transport key and waits in the database until one of those nodes wraps it under the root.
 */
export interface Handover {
  /** A key wrapped for every other enrolled token, to be stored with the key. */
  toOthers(ref: KeyRef, namespaceId: string): Promise<SystemKeyTransportRow[]>;
  /** Hands over all that a token lacks. @returns how many keys @throws what `load` or the HSM throws, after the rest */
  to(token: RootTransportKeyRow, load: (row: SystemKeyRow) => Promise<KeyRef>): Promise<number>;
  /** The same for every other enrolled token. */
  toAll(load: (row: SystemKeyRow) => Promise<KeyRef>): Promise<number>;
  /**
   * Takes a key that another node handed over.
   * @returns its wrapping under this token's root; undefined when nothing is there
   */
  take(row: SystemKeyRow): Promise<SystemKeyWrappingRow | undefined>;
  /** Takes all that is there. @returns how many keys */
  takeAll(): Promise<number>;
}

/** Tokens that may be enrolled. */
export const mostRoots = 64;
const pageKeys = 200;

export function createHandover({
  hsm,
  store,
  rows,
}: {
  hsm: Hsm;
  store: Store;
  rows: RowAuthenticator;
}): Handover {
  async function others(): Promise<RootTransportKeyRow[]> {
    const found = await store.db
      .selectFrom('root_transport_keys')
      .selectAll()
      .where('root_id', '!=', hsm.rootId)
      .orderBy('root_id')
      .limit(mostRoots)
      .execute();
    // Nobody is handed a key because of a row that the service did not write.
    for (const row of found) await rows.verify('root_transport_keys', row);
    return found;
  }

  async function wrapped(
    ref: KeyRef,
    namespaceId: string,
    token: RootTransportKeyRow,
  ): Promise<SystemKeyTransportRow> {
    return await rows.seal('system_key_transports', {
      system_key_id: ref.id,
      root_id: token.root_id,
      namespace_id: namespaceId,
      blob: await hsm.transport(ref, token.public_key),
    });
  }

  async function take(row: SystemKeyRow): Promise<SystemKeyWrappingRow | undefined> {
    const mine = () =>
      store.db
        .selectFrom('system_key_transports')
        .selectAll()
        .where('system_key_id', '=', row.id)
        .where('root_id', '=', hsm.rootId);
    const transport = await mine().executeTakeFirst();
    if (!transport) return undefined;
    await rows.verify('system_keys', row);
    await rows.verify('system_key_transports', transport);
    const wrapping = await rows.seal('system_key_wrappings', {
      system_key_id: row.id,
      root_id: hsm.rootId,
      namespace_id: row.namespace_id,
      blob: await received(hsm, systemKeyKinds[row.purpose], transport.blob),
    });
    await store.transaction(async (tx) => {
      // Another process of this token may have been first: it made the same bytes.
      await tx
        .insertInto('system_key_wrappings')
        .values(wrapping)
        .onConflict((c) => c.doNothing())
        .execute();
      await tx
        .deleteFrom('system_key_transports')
        .where('system_key_id', '=', row.id)
        .where('root_id', '=', hsm.rootId)
        .execute();
    });
    return await wrappingOf(hsm, store, row.id);
  }

  /** Pages of system keys, each with what failed put aside: one altered row must not hold up the rest. */
  async function each(
    page: (after: string) => Promise<SystemKeyRow[]>,
    work: (row: SystemKeyRow) => Promise<void>,
  ): Promise<number> {
    const failures: unknown[] = [];
    let done = 0;
    for (let after = ''; ; ) {
      const found = await page(after);
      for (const row of found) {
        try {
          await work(row);
          done += 1;
        } catch (error) {
          if (failures.length === 0) failures.push(error);
        }
      }
      after = found.at(-1)?.id ?? after;
      if (found.length < pageKeys) break;
    }
    if (failures.length > 0) throw failures[0];
    return done;
  }

  function to(token: RootTransportKeyRow, load: (row: SystemKeyRow) => Promise<KeyRef>): Promise<number> {
    return each(
      (after) => lacking(store, token.root_id).where('id', '>', after).limit(pageKeys).execute(),
      async (row) => {
        const transport = await wrapped(await load(row), row.namespace_id, token);
        await store.transaction((tx) =>
          tx
            .insertInto('system_key_transports')
            .values(transport)
            .onConflict((c) => c.doNothing())
            .execute(),
        );
      },
    );
  }

  return {
    async toOthers(ref, namespaceId) {
      const made: SystemKeyTransportRow[] = [];
      for (const token of await others()) made.push(await wrapped(ref, namespaceId, token));
      return made;
    },
    to,
    async toAll(load) {
      let done = 0;
      for (const token of await others()) done += await to(token, load);
      return done;
    },
    take,
    takeAll: () =>
      each(
        (after) =>
          store.db
            .selectFrom('system_keys')
            .selectAll()
            .where('id', 'in', (build) =>
              build
                .selectFrom('system_key_transports')
                .select('system_key_id')
                .where('root_id', '=', hsm.rootId),
            )
            .where('id', '>', after)
            .orderBy('id')
            .limit(pageKeys)
            .execute(),
        async (row) => void (await take(row)),
      ),
  };
}

export async function lackingCount(store: Store, rootId: string): Promise<number> {
  const { count } = await lacking(store, rootId)
    .clearSelect()
    .clearOrderBy()
    .select((build) => build.fn.countAll().as('count'))
    .executeTakeFirstOrThrow();
  return Number(count);
}

/** The system keys that a root has neither a wrapping of nor one on its way. */
function lacking(store: Store, rootId: string) {
  return store.db
    .selectFrom('system_keys')
    .selectAll()
    .where('id', 'not in', (build) =>
      build.selectFrom('system_key_wrappings').select('system_key_id').where('root_id', '=', rootId),
    )
    .where('id', 'not in', (build) =>
      build.selectFrom('system_key_transports').select('system_key_id').where('root_id', '=', rootId),
    )
    .orderBy('id');
}

/** @throws hsm/unavailable when it does not open: it is meant for another transport key, or was altered */
export async function received(hsm: Hsm, kind: SecretKind, blob: Uint8Array): Promise<Uint8Array> {
  try {
    return await hsm.receive(kind, blob);
  } catch (error) {
    if (!(error instanceof HsmRejected)) throw error;
    throw new ServiceError(
      'hsm/unavailable',
      'A key that was handed over to this token does not open here. ' +
        'Begin the enrolment again: `stathera hsm enrol request`.',
      { cause: error },
    );
  }
}
