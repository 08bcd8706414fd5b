import { type AnyRoute, defineRoute } from '../http/route.ts';
import { listQuery, toTimestamp } from '../http/validation.ts';
import type { Events } from './events.ts';
import {
  deliveriesAnswer,
  deliveriesQuery,
  eventsAnswer,
  eventsQuery,
  madeWebhookAnswer,
  webhookParams as params,
  redeliverBody,
  redeliveredAnswer,
  updateWebhookBody,
  webhookAnswer,
  webhookBody,
  webhooksAnswer,
} from './routes-schemas.ts';
import type { EventView } from './types.ts';
import type { DeliveryView, Webhooks, WebhookView } from './webhooks.ts';

const tag = 'Events';

/** Of the numbers of events, as `Last-Event-ID` has them. */
const numberForm = /^\d{1,15}$/;

export function eventRoutes(events: Events): AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/events',
      operationId: 'listEvents',
      tag,
      summary:
        'What happened to keys, oldest first; with `Accept: text/event-stream` it goes on as it happens',
      description:
        'A stream begins after the event that `Last-Event-ID` or `cursor` names, else with what happens from now on.',
      request: { query: eventsQuery },
      answer: { status: 200, description: 'A page of events.', body: eventsAnswer },
      problems: [],
      async handle({ caller, query: { cursor, limit, types } }) {
        const after = cursor === undefined ? undefined : Number(cursor);
        const page = await events.list(caller, { after, limit, types });
        return { ...page, items: page.items.map(eventOut) };
      },
      stream: async ({ caller, query: { cursor, types } }, lastEventId) => {
        const from = lastEventId !== undefined && numberForm.test(lastEventId) ? lastEventId : cursor;
        return await events.follow(caller, { after: from === undefined ? undefined : Number(from), types });
      },
    }),
    ...webhookRoutes(events),
  ];
}

function webhookRoutes(events: Pick<Events, 'webhooks'>): AnyRoute[] {
  const webhooks = (): Webhooks => events.webhooks;
  return [
    defineRoute({
      method: 'post',
      path: '/v1/webhooks',
      operationId: 'createWebhook',
      tag,
      summary: 'Have events of the namespace sent to a URL; the secret they are signed by is shown once',
      idempotent: true,
      request: { body: webhookBody },
      answer: { status: 201, description: 'The webhook and its secret.', body: madeWebhookAnswer },
      problems: ['webhook/address-refused', 'webhook/too-many'],
      example: { url: 'https://hooks.example.com/stathera', types: ['destruction.scheduled'] },
      async handle({ caller, body }) {
        const { secret, ...webhook } = await webhooks().create(caller, body);
        return { ...webhookOut(webhook), secret };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/webhooks',
      operationId: 'listWebhooks',
      tag,
      summary: 'List the webhooks of the namespace, oldest first',
      request: { query: listQuery },
      answer: { status: 200, description: 'A page of webhooks.', body: webhooksAnswer },
      problems: [],
      async handle({ caller, query }) {
        const page = await webhooks().list(caller, query);
        return { ...page, items: page.items.map(webhookOut) };
      },
    }),
    defineRoute({
      method: 'patch',
      path: '/v1/webhooks/{id}',
      operationId: 'updateWebhook',
      tag,
      summary: 'Stop sending to a webhook, or go on',
      request: { params, body: updateWebhookBody },
      answer: { status: 200, description: 'The webhook.', body: webhookAnswer },
      problems: ['webhook/not-found'],
      example: { state: 'disabled' },
      handle: async ({ caller, params: { id }, body }) =>
        webhookOut(await webhooks().update(caller, id, body)),
    }),
    defineRoute({
      method: 'delete',
      path: '/v1/webhooks/{id}',
      operationId: 'removeWebhook',
      tag,
      summary: 'Remove a webhook and what was on its way to it',
      request: { params },
      answer: { status: 204, description: 'It is gone.' },
      problems: ['webhook/not-found'],
      async handle({ caller, params: { id } }) {
        await webhooks().remove(caller, id);
        return undefined;
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/webhooks/{id}/deliveries',
      operationId: 'listDeliveries',
      tag,
      summary: 'List what did not arrive at a webhook yet, and what was given up',
      request: { params, query: deliveriesQuery },
      answer: { status: 200, description: 'A page of deliveries.', body: deliveriesAnswer },
      problems: ['webhook/not-found'],
      async handle({ caller, params: { id }, query }) {
        const page = await webhooks().deliveries(caller, id, query);
        return { ...page, items: page.items.map(deliveryOut) };
      },
    }),
    defineRoute({
      method: 'post',
      path: '/v1/webhooks/{id}/redeliver',
      operationId: 'redeliver',
      tag,
      summary: 'Send again what was given up',
      request: { params, body: redeliverBody },
      answer: { status: 200, description: 'How many are sent again.', body: redeliveredAnswer },
      problems: ['webhook/not-found'],
      example: {},
      handle: async ({ caller, params: { id }, body }) =>
        await webhooks().redeliver(caller, id, body.deliveries),
    }),
  ];
}

function eventOut({ at, ...event }: EventView) {
  return { ...event, at: toTimestamp(at) };
}

function webhookOut({ createdAt, types, ...webhook }: WebhookView) {
  return { ...webhook, ...(types && { types: [...types] }), createdAt: toTimestamp(createdAt) };
}

function deliveryOut({ nextAt, createdAt, ...delivery }: DeliveryView) {
  return { ...delivery, nextAt: toTimestamp(nextAt), createdAt: toTimestamp(createdAt) };
}
