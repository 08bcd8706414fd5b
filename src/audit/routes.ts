import { z } from 'zod';
import type { Operations } from '../access/operations.ts';
import { ServiceError } from '../core/errors.ts';
import { serviceNamespaceId } from '../core/ids.ts';
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
          service: z.literal('true').optional().meta({
            description: 'The records of the service itself (needs `service:admin`), not of the namespace.',
          }),
        }),
      },
      answer: {
        status: 200,
        description: 'A page of records.',
        body: z.object({ items: z.array(recordAnswer), nextCursor: z.string().optional() }),
      },
      problems: [],
      async handle({ caller, query: { service, ...query } }) {
        const page = await operations.run(caller, 'audit.read', { kind: 'audit' }, () => {
          if (service && !caller.principal.scopes.has('service:admin')) {
            throw new ServiceError(
              'access/denied',
              'The records of the service need the scope service:admin.',
            );
          }
          const namespaceId = service ? serviceNamespaceId : caller.principal.namespaceId;
          return audit.records({ ...query, namespaceId });
        });
        return {
          ...page,
          items: page.items.map((record) => ({ ...record, time: toTimestamp(record.time) })),
        };
      },
    }),
  ];
}
