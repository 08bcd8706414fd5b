import type { Caller } from '../access/caller.ts';
import type { Operation, Operations } from '../access/operations.ts';
import { toBase64, wipe } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import { cutPage, idAfter, type Page, type PageRequest } from '../core/page.ts';
import type { DeliveryRow, WebhookRow } from '../store/event-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store } from '../store/store.ts';
import type { Addresses } from './address.ts';
import type { WebhookSecrets } from './secret.ts';
import type { EventType } from './types.ts';

export interface WebhookView {
  readonly id: string;
  readonly url: string;
  readonly description: string;
  /** Absent: all. */
  readonly types?: readonly EventType[];
  readonly state: 'enabled' | 'disabled';
  readonly createdAt: number;
}

export interface CreateWebhookRequest {
  readonly url: string;
  readonly description: string;
  readonly types?: readonly EventType[] | undefined;
}

export interface DeliveryView {
  readonly id: string;
  readonly eventId: string;
  readonly state: DeliveryRow['state'];
  readonly attempts: number;
  readonly nextAt: number;
  readonly problem?: string;
  readonly createdAt: number;
}

/** Where a namespace's events are sent. A token for some keys has no part in them: they tell of all. */
export interface Webhooks {
  /** The secret is in this answer and nowhere else. @throws webhook/address-refused, webhook/too-many */
  create(caller: Caller, request: CreateWebhookRequest): Promise<WebhookView & { readonly secret: string }>;
  list(caller: Caller, page: PageRequest): Promise<Page<WebhookView>>;
  /** A disabled one gets nothing of what happens meanwhile, and what waits for it waits on. @throws webhook/not-found */
  update(caller: Caller, id: string, change: { readonly state: WebhookRow['state'] }): Promise<WebhookView>;
  /** With what was on its way to it. @throws webhook/not-found */
  remove(caller: Caller, id: string): Promise<void>;
  /** What did not arrive yet. @throws webhook/not-found */
  deliveries(
    caller: Caller,
    id: string,
    page: PageRequest & { readonly state?: DeliveryRow['state'] | undefined },
  ): Promise<Page<DeliveryView>>;
  /** Sends again what was given up. @param ids absent: all of it. @returns how many. @throws webhook/not-found */
  redeliver(caller: Caller, id: string, ids?: readonly string[]): Promise<{ readonly count: number }>;
}

const webhooksLimit = 20;

export function createWebhooks({
  store,
  rows,
  clock,
  operations,
  addresses,
  secrets,
  wake,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: Clock;
  operations: Operations;
  addresses: Addresses;
  secrets: WebhookSecrets;
  /** There may be something to send. */
  wake: () => void;
}): Webhooks {
  function requireWholeNamespace({ principal }: Caller): void {
    if (principal.keyPatterns !== undefined)
      throw new ServiceError(
        'access/denied',
        'Webhooks tell of every key: this needs a token for all of them.',
      );
  }

  async function rowOf(caller: Caller, id: string): Promise<WebhookRow> {
    requireWholeNamespace(caller);
    const row = await store.db
      .selectFrom('webhooks')
      .selectAll()
      .where('id', '=', id)
      .where('namespace_id', '=', caller.principal.namespaceId)
      .executeTakeFirst();
    if (!row) throw notFound();
    await rows.verify('webhooks', row);
    return row;
  }

  const on = (id: string) => ({ kind: 'webhook' as const, id });

  async function write(operation: Operation, row: WebhookRow, change: Pick<WebhookRow, 'state'>) {
    const { mac: _, ...current } = row;
    const next = await rows.seal('webhooks', { ...current, ...change, revision: row.revision + 1 });
    return await operation.change(async (tx) => {
      const { numUpdatedRows } = await tx
        .updateTable('webhooks')
        .set(next)
        .where('id', '=', row.id)
        .where('revision', '=', row.revision)
        .executeTakeFirst();
      if (numUpdatedRows !== 1n) throw notFound();
      return viewOf(next);
    });
  }

  return {
    create: (caller, { url, description, types }) =>
      operations.run(caller, 'webhooks.create', { kind: 'webhook' }, async (operation) => {
        requireWholeNamespace(caller);
        const refusal = addresses.refusal(url);
        if (refusal !== undefined) throw new ServiceError('webhook/address-refused', refusal);
        const { namespaceId } = caller.principal;
        await requirePlace(store, namespaceId);
        const id = newId();
        const { kekId, blob, secret } = await secrets.make({ id, namespaceId });
        try {
          const row = await rows.seal('webhooks', {
            ...{ id, namespace_id: namespaceId, url: new URL(url).href, description },
            ...{ types: types ? JSON.stringify([...new Set(types)]) : null, state: 'enabled' as const },
            ...{ kek_id: kekId, blob, created_at: clock.now(), revision: 1 },
          });
          operation.target(on(id));
          const shown = `whsec_${toBase64(secret)}`;
          return await operation.change(
            async (tx) => {
              await tx.insertInto('webhooks').values(row).execute();
              return { ...viewOf(row), secret: shown };
            },
            { secret: true },
          );
        } finally {
          wipe(secret);
        }
      }),

    list: (caller, { limit, cursor }) =>
      operations.run(caller, 'webhooks.list', { kind: 'webhook' }, async () => {
        requireWholeNamespace(caller);
        const found = await store.db
          .selectFrom('webhooks')
          .selectAll()
          .where('namespace_id', '=', caller.principal.namespaceId)
          .where('id', '>', idAfter(cursor))
          .orderBy('id')
          .limit(limit + 1)
          .execute();
        const { rows: page, next } = cutPage(found, limit, (row) => row.id);
        await Promise.all(page.map((row) => rows.verify('webhooks', row)));
        return { items: page.map(viewOf), ...next };
      }),

    update: (caller, id, change) =>
      operations.run(caller, 'webhooks.update', on(id), async (operation) => {
        const view = await write(operation, await rowOf(caller, id), change);
        wake();
        return view;
      }),

    remove: (caller, id) =>
      operations.run(caller, 'webhooks.remove', on(id), async (operation) => {
        await rowOf(caller, id);
        await operation.change(async (tx) => {
          await tx.deleteFrom('webhook_deliveries').where('webhook_id', '=', id).execute();
          await tx.deleteFrom('webhooks').where('id', '=', id).execute();
        });
      }),

    deliveries: (caller, id, { limit, cursor, state }) =>
      operations.run(caller, 'webhooks.list-deliveries', on(id), async () => {
        await rowOf(caller, id);
        const found = await store.db
          .selectFrom('webhook_deliveries')
          .selectAll()
          .where('webhook_id', '=', id)
          .$if(state !== undefined, (query) => query.where('state', '=', state as DeliveryRow['state']))
          .where('id', '>', idAfter(cursor))
          .orderBy('id')
          .limit(limit + 1)
          .execute();
        const { rows: page, next } = cutPage(found, limit, (row) => row.id);
        return { items: page.map(deliveryView), ...next };
      }),

    redeliver: (caller, id, ids) =>
      operations.run(caller, 'webhooks.redeliver', on(id), async (operation) => {
        await rowOf(caller, id);
        const answer = await operation.change(async (tx) => {
          const { numUpdatedRows } = await tx
            .updateTable('webhook_deliveries')
            .set({ state: 'pending', attempts: 0, next_at: clock.now() })
            .where('webhook_id', '=', id)
            .where('state', '=', 'dead')
            .$if(ids !== undefined, (query) => query.where('id', 'in', [...(ids ?? [])]))
            .executeTakeFirst();
          return { count: Number(numUpdatedRows) };
        });
        wake();
        return answer;
      }),
  };
}

async function requirePlace(store: Store, namespaceId: string): Promise<void> {
  const { count } = await store.db
    .selectFrom('webhooks')
    .select(({ fn }) => fn.countAll().as('count'))
    .where('namespace_id', '=', namespaceId)
    .executeTakeFirstOrThrow();
  if (Number(count) < webhooksLimit) return;
  throw new ServiceError('webhook/too-many', `A namespace has ${webhooksLimit} webhooks at most.`);
}

function viewOf(row: Omit<WebhookRow, 'mac'>): WebhookView {
  return {
    ...{ id: row.id, url: row.url, description: row.description, state: row.state },
    ...(row.types !== null && { types: JSON.parse(row.types) as EventType[] }),
    createdAt: row.created_at,
  };
}

function deliveryView(row: DeliveryRow): DeliveryView {
  return {
    ...{ id: row.id, eventId: row.event_id, state: row.state, attempts: row.attempts },
    ...{ nextAt: row.next_at, createdAt: row.created_at },
    ...(row.problem !== null && { problem: row.problem }),
  };
}

function notFound(): ServiceError {
  return new ServiceError('webhook/not-found', 'There is no such webhook.');
}
