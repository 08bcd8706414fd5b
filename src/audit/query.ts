import type { AuditQuery } from './audit.ts';
import type { AuditTarget } from './entry.ts';
import type { StoredRecord } from './format.ts';

/** True when the record is one the query asks for: of its namespace, and with every value it names. */
export function matches(query: AuditQuery, record: StoredRecord): boolean {
  if (record.namespaceId !== query.namespaceId) return false;
  if (query.from !== undefined && record.time < query.from) return false;
  if (query.to !== undefined && record.time >= query.to) return false;
  if (query.action !== undefined && !acts(record, query.action)) return false;
  if (query.outcome !== undefined && record.outcome !== query.outcome) return false;
  if (query.principalId !== undefined && record.principal.id !== query.principalId) return false;
  if (query.requestId !== undefined && record.requestId !== query.requestId) return false;
  return query.target === undefined || aims(record, query.target);
}

/** A batch is found by what its items did, too. */
function acts(record: StoredRecord, action: string): boolean {
  return record.action === action || (record.items?.some((item) => item.action === action) ?? false);
}

function aims(record: StoredRecord, target: string): boolean {
  const names = (found: AuditTarget | undefined) => found?.id === target || found?.name === target;
  return names(record.target) || (record.items?.some((item) => names(item.target)) ?? false);
}
