import type { Caller } from '../access/caller.ts';
import type { Operations } from '../access/operations.ts';
import type { Clock } from '../core/clock.ts';
import type { Page } from '../core/page.ts';
import type { Subnet } from '../core/subnets.ts';
import type { Hsm } from '../hsm/hsm.ts';
import type { AnyKind } from '../jobs/kinds.ts';
import { createLeases } from '../jobs/leases.ts';
import type { SystemKeys } from '../keys/system-keys.ts';
import type { Revision } from '../store/revision.ts';
import type { Store } from '../store/store.ts';
import { createAddresses } from './address.ts';
import { createDeliveries, type DeliveryLimits, type EventLogger } from './deliveries.ts';
import { createEmit, type Emit } from './emit.ts';
import { eventHousekeeping } from './housekeeping.ts';
import { createEventReader } from './reader.ts';
import { createWebhookSecrets } from './secret.ts';
import { createSend } from './send.ts';
import { createStreams, type StreamLimits } from './stream.ts';
import type { EventType, EventView } from './types.ts';
import { createWebhooks, type Webhooks } from './webhooks.ts';

export type { Emit } from './emit.ts';

export interface EventsRequest {
  /** Only what came about after the event of this number. */
  readonly after?: number | undefined;
  readonly types?: readonly EventType[] | undefined;
}

/** What happens to keys, told to whoever should know. */
export interface Events {
  readonly emit: Emit;
  readonly webhooks: Webhooks;
  /** Removes old events, now and then. */
  readonly housekeeping: AnyKind;
  /** Oldest first, of keys that the caller may see. */
  list(caller: Caller, request: EventsRequest & { readonly limit: number }): Promise<Page<EventView>>;
  /** Server-sent events, from after `after`, or from now on. @throws service/overloaded */
  follow(caller: Caller, request: EventsRequest): Promise<ReadableStream<Uint8Array>>;
  /** Begins to send. */
  start(): void;
  /** Ends what clients follow: before the listener stops. */
  endStreams(): void;
  close(): Promise<void>;
}

export function createEvents({
  store,
  hsm,
  systemKeys,
  operations,
  revision,
  clock,
  log,
  config,
  limits = {},
}: {
  store: Store;
  hsm: Hsm;
  systemKeys: SystemKeys;
  operations: Operations;
  revision: Revision;
  clock: Clock;
  log: EventLogger;
  config: { readonly subnets: readonly Subnet[]; readonly retentionMilliseconds: number };
  limits?: {
    readonly streams?: StreamLimits;
    readonly deliveries?: DeliveryLimits;
    readonly sendMilliseconds?: number;
  };
}): Events {
  const { rows } = systemKeys;
  const reader = createEventReader(store);
  const streams = createStreams({
    ...{ reader, revision, clock },
    ...(limits.streams && { limits: limits.streams }),
  });
  const addresses = createAddresses(config.subnets);
  const secrets = createWebhookSecrets({ hsm, systemKeys });
  const deliveries = createDeliveries({
    ...{ store, rows, clock, secrets, log, leases: createLeases({ store, clock }) },
    send: createSend(addresses, limits.sendMilliseconds),
    ...(limits.deliveries && { limits: limits.deliveries }),
  });
  const { retentionMilliseconds } = config;

  return {
    emit: createEmit(store),
    webhooks: createWebhooks({ store, rows, clock, operations, addresses, secrets, wake: deliveries.wake }),
    housekeeping: eventHousekeeping({ store, clock, retentionMilliseconds }),

    list: (caller, { after = 0, limit, types }) =>
      operations.run(caller, 'events.read', { kind: 'service' }, async () => {
        const found = await reader.read(caller.principal, { after, limit: limit + 1, types });
        const items = found.slice(0, limit);
        const last = found.length > limit ? items.at(-1) : undefined;
        return { items, ...(last && { nextCursor: String(last.number) }) };
      }),

    follow: (caller, { after, types }) =>
      operations.run(caller, 'events.read', { kind: 'service' }, () =>
        streams.open(caller.principal, { after, types }),
      ),

    start: deliveries.start,
    endStreams: streams.close,
    close: deliveries.close,
  };
}
