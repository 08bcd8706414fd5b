import type { Adapters } from './adapters.ts';
import type { Config, HsmConfig } from './config.ts';
import type { Hsm } from './hsm/hsm.ts';
import { ensureToken, markInitialized } from './initialize.ts';
import { type Accepted, type Approved, acceptEnrolment, approveEnrolment } from './keys/enrolment.ts';
import {
  type EnrolmentRequest,
  encodeRequest,
  fingerprintOf,
  parseRequest,
  requestFileLimit,
} from './keys/enrolment-request.ts';
import { lackingCount } from './keys/handover.ts';
import { removeToken } from './keys/removal.ts';
import { migrate } from './store/migrations.ts';
import type { Store } from './store/store.ts';

export { encodeRequest, fingerprintOf, parseRequest, requestFileLimit };

/**
 * Makes what is missing of this node's token, its root and its transport key, and asks with them. The database is not
 * touched. Killed anywhere, the next run finishes and asks the same.
 * @throws hsm/unavailable with what to do
 */
export async function requestEnrolment(config: Config, adapters: Adapters): Promise<EnrolmentRequest> {
  await ensureToken(config, adapters);
  return await ownRequest(config, adapters);
}

async function ownRequest({ hsm }: Config, adapters: Adapters): Promise<EnrolmentRequest> {
  return { ...(await adapters.provisionTransportKey(hsm)), tokenLabel: hsm.tokenLabel };
}

/** How many system keys a token would be handed. Only looks, and needs no token. */
export async function waitingKeys(config: Config, adapters: Adapters, rootId: string): Promise<number> {
  const store = await adapters.openStore(config.database, { readonly: true });
  try {
    return await lackingCount(store, rootId);
  } finally {
    await store.close();
  }
}

export interface RootKeys {
  readonly id: string;
  readonly label: string;
  /** System keys under this root. */
  readonly wrapped: number;
  /** Those it has not and that are not on their way. */
  readonly lacking: number;
}

/** What each token has of the system keys. */
export async function keysOfRoots(store: Store): Promise<RootKeys[]> {
  const roots = await store.db
    .selectFrom('roots')
    .select(['id', 'token_label'])
    .orderBy('id')
    .limit(100)
    .execute();
  const found: RootKeys[] = [];
  for (const { id, token_label: label } of roots) {
    const { wrapped } = await store.db
      .selectFrom('system_key_wrappings')
      .select((build) => build.fn.countAll().as('wrapped'))
      .where('root_id', '=', id)
      .executeTakeFirstOrThrow();
    found.push({ id, label, wrapped: Number(wrapped), lacking: await lackingCount(store, id) });
  }
  return found;
}

/** On a node that is enrolled. @throws hsm/unavailable with what to do */
export async function approve(
  config: Config,
  adapters: Adapters,
  request: EnrolmentRequest,
): Promise<Approved> {
  const own = await ownRequest(config, adapters);
  return await withDatabase(config, adapters, (parts) =>
    approveEnrolment({ ...parts, clock: adapters.clock, own }, request),
  );
}

/** On the node that asked: then the service starts there. @throws hsm/unavailable with what to do */
export async function accept(config: Config, adapters: Adapters, confirmation: string): Promise<Accepted> {
  const own = await ownRequest(config, adapters);
  const accepted = await withDatabase(config, adapters, (parts) =>
    acceptEnrolment({ ...parts, clock: adapters.clock, own }, confirmation),
  );
  markInitialized(config.dataDir);
  return accepted;
}

/**
 * Lets this node's second token in: the three steps at once. Both tokens are here, so there is nothing to compare.
 * Killed anywhere, the next run finishes. @throws hsm/unavailable with what to do
 */
export async function enrolSecond(
  config: Config,
  secondHsm: HsmConfig,
  adapters: Adapters,
): Promise<Accepted & { readonly rootId: string }> {
  const second = { ...config, hsm: secondHsm };
  const request = await requestEnrolment(second, adapters);
  const { confirmation } = await approve(config, adapters, request);
  return { ...(await accept(second, adapters, confirmation)), rootId: request.rootId };
}

/** What each token has of the system keys. Only looks, and needs no token. */
export async function listTokens(config: Config, adapters: Adapters): Promise<RootKeys[]> {
  const store = await adapters.openStore(config.database, { readonly: true });
  try {
    return await keysOfRoots(store);
  } finally {
    await store.close();
  }
}

/** On another node than the token's. @throws hsm/unavailable with what to do */
export async function remove(config: Config, adapters: Adapters, rootId: string): Promise<void> {
  await withDatabase(config, adapters, (parts) => removeToken({ ...parts, clock: adapters.clock }, rootId));
}

async function withDatabase<T>(
  config: Config,
  adapters: Adapters,
  work: (parts: { hsm: Hsm; store: Store }) => Promise<T>,
): Promise<T> {
  const hsm = await adapters.openHsm(config.hsm, () => undefined);
  try {
    const store = await adapters.openStore(config.database);
    try {
      await migrate(store.db, store.dialect, adapters.clock.now());
      return await work({ hsm, store });
    } finally {
      await store.close();
    }
  } finally {
    await hsm.close();
  }
}
