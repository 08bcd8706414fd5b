import { z } from 'zod';
import { listQuery, plainText, timestampText } from '../http/validation.ts';
import { eventTypes } from './types.ts';

const type = z.enum(eventTypes);

/** Of a query: types separated by commas. */
const types = z
  .string()
  .max(256)
  .transform((text) => text.split(','))
  .pipe(z.array(type))
  .optional()
  .meta({ type: 'string', description: `Only these, separated by commas: ${eventTypes.join(', ')}.` });

export const eventsQuery = listQuery.extend({
  cursor: z
    .string()
    .regex(/^\d{1,15}$/)
    .optional()
    .meta({ description: 'The number of an event: only what came about after it.' }),
  types,
});

const eventAnswer = z.object({
  number: z.int().min(1),
  id: z.string(),
  type,
  keyId: z.string(),
  at: timestampText,
  data: z.unknown().meta({ description: 'A flat object: what the type has to say.' }),
});
export const eventsAnswer = z.object({ items: z.array(eventAnswer), nextCursor: z.string().optional() });

export const webhookBody = z.strictObject({
  url: z.string().min(1).max(2_048).meta({ description: 'https, without user and password.' }),
  description: plainText({ max: 256 })
    .optional()
    .transform((value) => value ?? ''),
  types: z.array(type).min(1).max(eventTypes.length).optional().meta({ description: 'Absent: all.' }),
});

export const webhookParams = z.strictObject({ id: z.string().min(1).max(64) });
export const updateWebhookBody = z.strictObject({ state: z.enum(['enabled', 'disabled']) });

export const webhookAnswer = z.object({
  id: z.string(),
  url: z.string(),
  description: z.string(),
  types: z.array(type).optional(),
  state: z.enum(['enabled', 'disabled']),
  createdAt: timestampText,
});
export const madeWebhookAnswer = webhookAnswer.extend({
  secret: z.string().meta({
    description:
      '`whsec_` and 32 bytes in base64: what messages are signed by. In this answer and nowhere else.',
  }),
});
export const webhooksAnswer = z.object({ items: z.array(webhookAnswer), nextCursor: z.string().optional() });

export const deliveriesQuery = listQuery.extend({ state: z.enum(['pending', 'dead']).optional() });
export const deliveriesAnswer = z.object({
  items: z.array(
    z.object({
      id: z.string(),
      eventId: z.string(),
      state: z.enum(['pending', 'dead']),
      attempts: z.int().min(0),
      nextAt: timestampText,
      problem: z.string().optional().meta({ description: 'Of the last attempt: a status, or a word.' }),
      createdAt: timestampText,
    }),
  ),
  nextCursor: z.string().optional(),
});

export const redeliverBody = z.strictObject({
  deliveries: z
    .array(z.string().min(1).max(64))
    .min(1)
    .max(500)
    .optional()
    .meta({ description: 'Absent: all that were given up.' }),
});
export const redeliveredAnswer = z.object({ count: z.int().min(0) });
