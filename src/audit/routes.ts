import type { Operations } from '../access/operations.ts';
import { ServiceError } from '../core/errors.ts';
import { serviceNamespaceId } from '../core/ids.ts';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import { toTimestamp } from '../http/validation.ts';
import type { AuditLog } from './audit.ts';
import { recordsAnswer, recordsQuery } from './routes-schemas.ts';

export function auditRoutes({ audit, operations }: { audit: AuditLog; operations: Operations }): AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/audit/records',
      operationId: 'listAuditRecords',
      operator: true,
      tag: 'Audit',
      summary: 'Read the audit log of the namespace, newest first',
      description: 'A page may hold fewer records than asked for, even none, and still have a `nextCursor`.',
      request: {
        query: recordsQuery,
      },
      answer: {
        status: 200,
        description: 'A page of records.',
        body: recordsAnswer,
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
