import type { Caller } from '../access/caller.ts';
import type { Scope } from '../access/scopes.ts';
import type { JobRow } from '../store/job-rows.ts';

/** The service itself at work on a job, which stands in its records in place of a request. */
export function systemCaller(job: Pick<JobRow, 'id' | 'namespace_id'>, scopes: readonly Scope[]): Caller {
  return {
    principal: {
      ...{ kind: 'system', id: 'jobs', name: 'jobs', namespaceId: job.namespace_id },
      scopes: new Set(scopes),
      keyPatterns: undefined,
    },
    ...{ requestId: job.id, source: undefined, idempotency: undefined },
  };
}
