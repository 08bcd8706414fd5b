import type { Clock } from '../core/clock.ts';
import { isServiceError, ServiceError } from '../core/errors.ts';
import { publicRandom } from '../core/random.ts';
import type { Leases } from '../jobs/leases.ts';
import type { DeliveryRow, WebhookRow } from '../store/event-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store } from '../store/store.ts';
import { wants } from './emit.ts';
import { viewOf } from './reader.ts';
import type { WebhookSecrets } from './secret.ts';
import type { Send } from './send.ts';
import { eventText } from './types.ts';

export interface DeliveryLimits {
  /** Webhooks served at once. */
  readonly webhooks: number;
  /** Messages to one of them at once. */
  readonly together: number;
  /** Then a delivery is given up. */
  readonly attempts: number;
  /** After the first failure; it doubles, up to an hour. */
  readonly backoffMilliseconds: number;
  readonly lookMilliseconds: number;
}

const deliveryLimits: DeliveryLimits = {
  ...{ webhooks: 8, together: 4, attempts: 15, backoffMilliseconds: 5_000, lookMilliseconds: 1_000 },
};

const longestBackoffMilliseconds = 3_600_000;
const leaseMilliseconds = 10_000;

export type EventLogger = (level: 'info' | 'warn' | 'error', event: string, fields: object) => void;

/** Sends what waits, by one of all processes at a time: each message once or more, and never two at once of one. */
export interface Deliveries {
  start(): void;
  wake(): void;
  close(): Promise<void>;
}

export function createDeliveries({
  store,
  rows,
  clock,
  leases,
  secrets,
  send,
  log,
  limits = deliveryLimits,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: Clock;
  leases: Leases;
  secrets: WebhookSecrets;
  send: Send;
  log: EventLogger;
  limits?: DeliveryLimits;
}): Deliveries {
  const stop = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let looking: Promise<void> | undefined;
  let again = false;
  let broken = false;

  const due = () =>
    store.db
      .selectFrom('webhook_deliveries')
      .innerJoin('webhooks', 'webhooks.id', 'webhook_deliveries.webhook_id')
      .where('webhooks.state', '=', 'enabled')
      .where('webhook_deliveries.state', '=', 'pending')
      .where('next_at', '<=', clock.now());

  /** Webhooks that something waits for, but for those at work. */
  async function waiting(busy: Iterable<string>, count: number): Promise<string[]> {
    const others = [...busy];
    const found = await due()
      .select('webhook_id')
      .distinct()
      .$if(others.length > 0, (query) => query.where('webhook_id', 'not in', others))
      .limit(count)
      .execute();
    return found.map(({ webhook_id }) => webhook_id);
  }

  async function settle(row: DeliveryRow, problem: string | undefined): Promise<void> {
    if (problem === undefined) {
      await store.db.deleteFrom('webhook_deliveries').where('id', '=', row.id).execute();
      return;
    }
    const attempts = row.attempts + 1;
    const dead = attempts >= limits.attempts;
    await store.db
      .updateTable('webhook_deliveries')
      .set({ attempts, problem, state: dead ? 'dead' : 'pending', next_at: clock.now() + pause(attempts) })
      .where('id', '=', row.id)
      .where('attempts', '=', row.attempts)
      .execute();
    if (dead)
      log('warn', 'events.delivery-given-up', { webhook: row.webhook_id, event: row.event_id, problem });
  }

  /** Not all at the same moment, after a receiver was away. */
  function pause(attempts: number): number {
    const full = Math.min(limits.backoffMilliseconds * 2 ** (attempts - 1), longestBackoffMilliseconds);
    return Math.ceil(full * (0.8 + ((publicRandom(1)[0] ?? 0) / 255) * 0.4));
  }

  async function deliver(webhook: WebhookRow, row: DeliveryRow, secret: Uint8Array): Promise<void> {
    const event = await store.db
      .selectFrom('events')
      .selectAll()
      .where('id', '=', row.event_id)
      .where('namespace_id', '=', webhook.namespace_id)
      .executeTakeFirst();
    // Too old to be there, or rows that do not belong together: there is nothing to send.
    if (!event || row.namespace_id !== webhook.namespace_id || !wants(webhook.types, event.type))
      return await settle(row, undefined);
    const message = {
      ...{ url: webhook.url, id: event.id, body: eventText(viewOf(event)) },
      timestamp: Math.floor(clock.now() / 1000),
    };
    await settle(row, await send(message, secret));
  }

  /** Some messages to one webhook, side by side. */
  async function serve(webhookId: string): Promise<void> {
    const webhook = await store.db
      .selectFrom('webhooks')
      .selectAll()
      .where('id', '=', webhookId)
      .executeTakeFirst();
    if (!webhook) return;
    const found = await due()
      .selectAll('webhook_deliveries')
      .where('webhook_id', '=', webhookId)
      .orderBy('next_at')
      .orderBy('webhook_deliveries.id')
      .limit(limits.together)
      .execute();
    try {
      await rows.verify('webhooks', webhook);
      await secrets.use(webhook, async (secret) => {
        await Promise.all(found.map((row) => deliver(webhook, row, secret)));
      });
    } catch (error) {
      if (isServiceError(error, 'store/unavailable', 'hsm/unavailable')) throw error;
      log('error', 'events.webhook-unusable', { webhook: webhookId, code: codeOf(error) });
      await Promise.all(found.map((row) => settle(row, 'unusable')));
    }
  }

  async function work(lost: AbortSignal): Promise<void> {
    const busy = new Map<string, Promise<void>>();
    const failures: unknown[] = [];
    while (!lost.aborted && !stop.signal.aborted && failures.length === 0) {
      for (const id of await waiting(busy.keys(), limits.webhooks - busy.size)) {
        const served = serve(id)
          .catch((error: unknown) => void failures.push(error))
          .finally(() => busy.delete(id));
        busy.set(id, served);
      }
      if (busy.size === 0) break;
      await Promise.race(busy.values());
    }
    await Promise.all(busy.values());
    if (failures.length > 0) throw failures[0];
  }

  async function look(): Promise<void> {
    if ((await waiting([], 1)).length === 0) return;
    await leases.during('events/deliveries', (_lease, lost) => work(lost), leaseMilliseconds);
  }

  function wake(): void {
    if (stop.signal.aborted || timer === undefined) return;
    if (looking) {
      again = true;
      return;
    }
    clearTimeout(timer);
    begin();
  }

  function begin(): void {
    again = false;
    looking = lookAndSay().finally(() => {
      looking = undefined;
      if (stop.signal.aborted) return;
      timer = setTimeout(begin, again ? 0 : limits.lookMilliseconds);
      timer.unref();
    });
  }

  async function lookAndSay(): Promise<void> {
    try {
      await look();
      if (broken) log('info', 'events.recovered', {});
      broken = false;
    } catch (error) {
      // Said once, not with every look.
      if (!broken) log('warn', 'events.unavailable', { code: codeOf(error) });
      broken = true;
    }
  }

  return {
    start: begin,
    wake,
    async close() {
      stop.abort();
      clearTimeout(timer);
      await looking;
    },
  };
}

function codeOf(error: unknown): string {
  return error instanceof ServiceError ? error.code : 'internal';
}
