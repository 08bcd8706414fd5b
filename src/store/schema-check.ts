import { refusalOfOldCode } from './migrations.ts';
import type { Store } from './store.ts';

/**
 * What a running process asks after each migration: whether its code may go on with the database. Where it may not,
 * the store refuses whatever is asked of it until the process ends.
 * @param onClosed is told why, once
 * @returns rejects with store/unavailable
 */
export function schemaCheck(store: Store, onClosed: (reason: string) => void): () => Promise<void> {
  return async () => {
    const refusal = await refusalOfOldCode(store.db);
    if (!refusal) return;
    store.refuse(refusal);
    onClosed(refusal.detail);
    throw refusal;
  };
}
