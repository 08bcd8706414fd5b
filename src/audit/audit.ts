import type { StoreTransaction } from '../store/store.ts';
import type { AuditEntry } from './entry.ts';

/** An entry in its place: the chain's `head` after it (hex SHA-256) proves everything before it. */
export interface AuditRecord extends AuditEntry {
  readonly writer: string;
  /** From 1, without gaps for a writer. */
  readonly sequence: number;
  readonly head: string;
}

export interface AuditQuery {
  readonly namespaceId: string;
  readonly action?: string | undefined;
  readonly outcome?: AuditEntry['outcome'] | undefined;
  readonly principalId?: string | undefined;
  /** Key id or name, token id, … */
  readonly target?: string | undefined;
  readonly requestId?: string | undefined;
  /** Milliseconds: inclusive, exclusive. */
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  /** 1–1,000 */
  readonly limit: number;
  readonly cursor?: string | undefined;
}

/** Newest first. A page may hold fewer than asked, even none, and still have a `nextCursor`. */
export interface AuditPage {
  readonly items: readonly AuditRecord[];
  readonly nextCursor?: string;
}

export interface AuditHead {
  readonly writer: string;
  readonly sequence: number;
  /** Hex. */
  readonly head: string;
}

export interface AuditStatus {
  readonly state: 'ready' | 'unavailable';
  readonly queued: number;
  readonly appended: number;
  readonly groups: number;
  /** Groups written while the HSM could not sign; a later group's MAC covers them. */
  readonly unsignedGroups: number;
}

/** What a decision rests on was changed before its record was written: it is to be made again. */
export class DecisionMoved extends Error {}

export interface AppliedChanges<T> {
  readonly answer: T;
  readonly applied: ReadonlySet<string>;
}

export interface AuditLog {
  /**
   * Appends one record. It is on disk when this resolves.
   * @param stands whether what was decided may still be answered, asked when the record's turn has come, after the
   *   changes of the store were read
   * @throws DecisionMoved when it may not: nothing was recorded. audit/unavailable at once while the log cannot be
   *   written, or when the queue is full. store/unavailable when the changes cannot be read
   */
  append(entry: AuditEntry, stands?: () => boolean): Promise<void>;

  /**
   * Runs a change and its record in one transaction, and moves the record to the log before it resolves.
   * A commit whose outcome is unknown is resolved by reading. `apply` only talks to the database.
   * @throws what `apply` throws (nothing is recorded then), audit/unavailable, store/unavailable
   */
  change<T>(entry: AuditEntry, apply: (tx: StoreTransaction) => Promise<T>): Promise<T>;

  /**
   * As `change`, for many changes in one transaction, each with its record.
   * @param apply gives back which entries took effect, by id; the others are not recorded
   */
  changeAll<T>(
    entries: readonly AuditEntry[],
    apply: (tx: StoreTransaction) => Promise<AppliedChanges<T>>,
  ): Promise<T>;

  /** @throws audit/unavailable when the log is known not to be writable: to refuse before any work */
  assertWritable(): void;

  /** Counts an unauthenticated refusal; one record a source, code and interval stands for all of them. */
  countRefusal(source: string, code: AuditEntry['code']): void;

  records(query: AuditQuery): Promise<AuditPage>;
  head(): AuditHead;
  status(): AuditStatus;
  /** Writes what is queued, seals the segment. */
  close(): Promise<void>;
}
