import { z } from 'zod';
import { listQuery, timestamp, timestampText } from '../http/validation.ts';
import { auditEntrySchema } from './entry.ts';

const filter = z.string().min(1).max(128).optional();

const recordAnswer = auditEntrySchema.extend({
  time: timestampText,
  writer: z.string(),
  sequence: z.int().min(1),
  head: z.string().meta({ description: 'SHA-256 chain head after this record, in hex.' }),
});
export const recordsAnswer = z.object({ items: z.array(recordAnswer), nextCursor: z.string().optional() });

export const recordsQuery = listQuery.extend({
  cursor: z
    .string()
    .min(1)
    // It names a place in the log of each process.
    .max(8192)
    .optional()
    .meta({ description: 'The `nextCursor` of the page before, unchanged.' }),
  action: filter,
  outcome: z.enum(['allowed', 'refused', 'failed']).optional(),
  principalId: filter,
  target: filter,
  requestId: filter,
  from: timestamp.optional(),
  to: timestamp.optional(),
  service: z.literal('true').optional().meta({
    description: 'The records of the service itself (needs `service:admin`), not of the namespace.',
  }),
});
