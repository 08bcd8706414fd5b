import type { EventType } from '../events/types.ts';
import type { KeyVersionRow } from '../store/schema.ts';

/** What is told of a version, with more that its type has to say. */
export function toldOf<More extends object>(
  type: EventType,
  row: Pick<KeyVersionRow, 'namespace_id' | 'key_id' | 'ordinal'>,
  at: number,
  more: More,
) {
  return { type, namespaceId: row.namespace_id, keyId: row.key_id, at, version: row.ordinal, ...more };
}
