import { z } from 'zod';
import { listQuery, timestampText } from '../http/validation.ts';

const states = ['queued', 'running', 'done', 'failed', 'cancelled'] as const;

export const jobAnswer = z.object({
  id: z.string(),
  kind: z.string(),
  state: z.enum(states),
  done: z.int().min(0).meta({ description: 'How far it is, in the unit of its kind.' }),
  total: z.int().min(0).optional().meta({ description: 'Of how many, once that is known.' }),
  chunks: z.object({ total: z.int().min(1), done: z.int().min(0), failed: z.int().min(0) }),
  ratePerSecond: z.number().min(0).optional().meta({ description: 'On average since it was started.' }),
  secondsLeft: z.int().min(0).optional(),
  createdBy: z.string(),
  createdAt: timestampText,
  startedAt: timestampText.optional(),
  finishedAt: timestampText.optional(),
  code: z.string().optional().meta({
    description: 'Why it failed; while it runs, of an attempt that failed and is made again.',
  }),
  result: z.unknown().optional().meta({ description: 'JSON, as its kind has it.' }),
});
export const jobsAnswer = z.object({ items: z.array(jobAnswer), nextCursor: z.string().optional() });

export const jobsQuery = listQuery.extend({
  state: z.enum(states).optional(),
  kind: z.string().min(1).max(64).optional(),
  service: z.literal('true').optional().meta({
    description: 'The jobs of the service itself (needs `service:admin`), not of the namespace.',
  }),
});
export const jobParams = z.strictObject({ id: z.string().min(1).max(64) });
