import { pageOf } from './shapes.ts';

const event = {
  ...({ number: 'integer', id: 'string', type: 'string', keyId: 'string', at: 'string' } as const),
  data: 'json',
} as const;

const webhook = {
  ...({ id: 'string', url: 'string', description: 'string', 'types?': ['string'] } as const),
  ...({ state: 'string', createdAt: 'string' } as const),
} as const;

const delivery = {
  ...({ id: 'string', eventId: 'string', state: 'string', attempts: 'integer' } as const),
  ...({ nextAt: 'string', 'problem?': 'string', createdAt: 'string' } as const),
} as const;

/** The part of the table in ./operations.ts that is about events. */
export const eventOperations = {
  listEvents: { method: 'GET', path: '/v1/events', retry: 'safe', answer: pageOf(event) },
  createWebhook: {
    method: 'POST',
    path: '/v1/webhooks',
    retry: 'key',
    answer: { ...webhook, secret: 'string' },
  },
  listWebhooks: { method: 'GET', path: '/v1/webhooks', retry: 'safe', answer: pageOf(webhook) },
  updateWebhook: { method: 'PATCH', path: '/v1/webhooks/{id}', retry: 'safe', answer: webhook },
  removeWebhook: { method: 'DELETE', path: '/v1/webhooks/{id}', retry: 'safe' },
  listDeliveries: {
    method: 'GET',
    path: '/v1/webhooks/{id}/deliveries',
    retry: 'safe',
    answer: pageOf(delivery),
  },
  redeliver: {
    method: 'POST',
    path: '/v1/webhooks/{id}/redeliver',
    retry: 'safe',
    answer: { count: 'integer' },
  },
} as const;
