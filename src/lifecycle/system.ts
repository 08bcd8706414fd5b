import type { Caller } from '../access/caller.ts';

/** The service itself at what is due; its records name what it is about in place of a request. */
export function lifecycleCaller(namespaceId: string, requestId: string): Caller {
  const principal = {
    ...{ kind: 'system' as const, id: 'lifecycle', name: 'lifecycle', namespaceId },
    scopes: new Set(['keys:admin' as const]),
    keyPatterns: undefined,
  };
  return { principal, requestId, source: undefined, idempotency: undefined };
}
