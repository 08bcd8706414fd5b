import { z } from 'zod';
import type { Operations } from '../access/operations.ts';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import { listQuery, timestamp, timestampText, toTimestamp } from '../http/validation.ts';
import type { AuditLog } from './audit.ts';
import { auditEntrySchema } from './entry.ts';

const filter = z.string().min(1).max(128).optional();

const recordAnswer = auditEntrySchema.extend({
  time: timestampText,
  writer: z.string(),
  sequence: z.int().min(1),
  head: z.string().meta({ description: 'SHA-256 chain head after this record, in hex.' }),
});

export function auditRoutes({ audit, operations }: { audit: AuditLog; operations: Operations }): AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/audit/records',
      operationId: 'listAuditRecords',
      tag: 'Audit',
      summary: 'Read the audit log of the namespace, newest first',
      description: 'A page may hold fewer records than asked for, even none, and still have a `nextCursor`.',
      request: {
        query: listQuery.extend({
          action: filter,
          outcome: z.enum(['allowed', 'refused', 'failed']).optional(),
          principalId: filter,
          target: filter,
          requestId: filter,
          from: timestamp.optional(),
          to: timestamp.optional(),
        }),
      },
      answer: {
        status: 200,
        description: 'A page of records.',
        body: z.object({ items: z.array(recordAnswer), nextCursor: z.string().optional() }),
      },
      problems: [],
      async handle({ caller, query }) {
        const page = await operations.run(caller, 'audit.read', { kind: 'audit' }, () =>
          audit.records({ ...query, namespaceId: caller.principal.namespaceId }),
        );
        return {
          ...page,
          items: page.items.map((record) => ({ ...record, time: toTimestamp(record.time) })),
        };
      },
    }),
  ];
}
