import type { Id } from './column.ts';

/** What was found, row by row. */
export interface Tally {
  rows: number;
  nulls: number;
  /** Ciphertexts of other keys. */
  foreign: number;
  /** No ciphertexts, or of no version that is known. */
  unreadable: number;
  /** Ciphertexts by the version that they were found with. */
  readonly found: Map<string, number>;
  readonly rewrapped: Map<string, number>;
  readonly failed: Map<string, number>;
  /** The first few, for whoever looks into it. */
  readonly unreadableIds: Id[];
  readonly failedIds: { readonly id: Id; readonly code: string }[];
}

const shownIds = 5;

export function createTally(): Tally {
  return {
    ...{ rows: 0, nulls: 0, foreign: 0, unreadable: 0 },
    ...{ found: new Map(), rewrapped: new Map(), failed: new Map() },
    ...{ unreadableIds: [], failedIds: [] },
  };
}

export function countOf(counts: Map<string, number>, versionId: string): void {
  counts.set(versionId, (counts.get(versionId) ?? 0) + 1);
}

export function countUnreadable(tally: Tally, id: Id): void {
  tally.unreadable += 1;
  if (tally.unreadableIds.length < shownIds) tally.unreadableIds.push(id);
}

export function countFailed(tally: Tally, versionId: string, id: Id, code: string): void {
  countOf(tally.failed, versionId);
  if (tally.failedIds.length < shownIds) tally.failedIds.push({ id, code });
}

/** Adds one to another. */
export function add(to: Tally, from: Tally): void {
  to.rows += from.rows;
  to.nulls += from.nulls;
  to.foreign += from.foreign;
  to.unreadable += from.unreadable;
  for (const name of ['found', 'rewrapped', 'failed'] as const) {
    for (const [versionId, count] of from[name])
      to[name].set(versionId, (to[name].get(versionId) ?? 0) + count);
  }
  to.unreadableIds.push(...from.unreadableIds.slice(0, shownIds - to.unreadableIds.length));
  to.failedIds.push(...from.failedIds.slice(0, shownIds - to.failedIds.length));
}

export function sum(counts: ReadonlyMap<string, number>): number {
  let total = 0;
  for (const count of counts.values()) total += count;
  return total;
}
