import type { Transaction } from 'kysely';
import type { Schema } from './schema.ts';

/**
 * What committed transactions touched, told to every process that keeps rows in memory. A subject is the id of a row
 * (a key, a version, a token): whoever keeps something under that id forgets it. Adapters: ./sqlite-changes.ts,
 * ./postgres-changes.ts.
 */
export interface Changes {
  /**
   * Writes down what a transaction touches, as the last thing it does. At most 1,000 subjects.
   * @returns the change's number, if the transaction commits
   */
  record(tx: Transaction<Schema>, change: Change): Promise<number>;
  /** Begins to follow the changes: from now on, not from the beginning. @throws store/unavailable */
  follow(): Promise<ChangeFeed>;
}

export interface Change {
  readonly namespaceId: string;
  readonly subjects: readonly string[];
  /** Milliseconds. */
  readonly at: number;
}

export interface ChangeFeed {
  /** How often to read what nobody announces. */
  readonly pollMilliseconds: number;
  /**
   * What was committed, by anybody, between the previous read and this one. One read at a time.
   * @returns the changes; `lost` when some are not known any more, so that everything may have changed
   * @throws store/unavailable
   */
  read(): Promise<ChangesRead>;
  /** Calls back whenever there may be something to read. A database that cannot tell never does. */
  onAnnounced(listener: () => void): void;
  close(): Promise<void>;
}

export interface ChangesRead {
  /** In the order of their commits. */
  readonly changes: readonly { readonly number: number; readonly subjects: readonly string[] }[];
  readonly lost: boolean;
}

/** The subject of a migration: whoever hears of it looks whether the database is still open to its code. */
export const schemaSubject = 'schema';

/** So many are kept: whoever was away for longer forgets everything. */
export const keptChanges = 100_000;
/** Looked at together. */
export const changesPage = 1_000;
/** The table is cut back once in so many changes. */
export const cutEvery = 1_000;

export function subjectsText(subjects: readonly string[]): string {
  if (subjects.length > changesPage) throw new RangeError('a change touches at most 1,000 subjects');
  return JSON.stringify(subjects);
}

/** What pages of rows say, read from `cursor` on, and where the next read begins. */
export async function readPages(
  cursor: number,
  page: (after: number) => Promise<{ oldest: number | null; rows: readonly ChangeText[] }>,
): Promise<ChangesRead & { cursor: number }> {
  const changes: { number: number; subjects: readonly string[] }[] = [];
  let count = 0;
  let lost = false;
  for (let after = cursor; ; ) {
    const { oldest, rows } = await page(after);
    if (oldest !== null && oldest > after + 1) lost = true;
    for (const row of rows) {
      const subjects = JSON.parse(row.subjects) as string[];
      changes.push({ number: row.revision, subjects });
      count += subjects.length;
    }
    after = rows.at(-1)?.revision ?? after;
    if (rows.length < changesPage) return { changes: lost ? [] : changes, lost, cursor: after };
    // A flood: what is forgotten altogether costs less than what is listed.
    if (count > keptChanges) lost = true;
  }
}

export interface ChangeText {
  readonly revision: number;
  /** JSON array of ids. */
  readonly subjects: string;
}
