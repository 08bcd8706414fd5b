import { setTimeout as sleep } from 'node:timers/promises';
import { ServiceError } from '../core/errors.ts';
import type { Prf } from '../crypto/kdf.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import type { AppliedChanges } from './audit.ts';
import type { AuditEntry } from './entry.ts';
import type { GroupCommit } from './group-commit.ts';
import type { MovedRows } from './moved.ts';
import type { AuditLimits, AuditLogger } from './options.ts';
import {
  deleteOutbox,
  insertOutbox,
  isAuthentic,
  type OutboxRow,
  outboxHas,
  outboxRows,
  sealOutboxRow,
} from './outbox-rows.ts';
import { unavailable } from './unavailable.ts';

export interface OutboxOptions {
  readonly store: Store;
  readonly writer: string;
  /** HMAC-SHA-256 under the audit key. */
  readonly mac: Prf;
  readonly limits: AuditLimits;
  readonly log: AuditLogger;
  readonly moved: MovedRows;
  readonly groups: Pick<GroupCommit, 'append' | 'assertWritable'>;
}

/** Changes whose records commit with them. */
export interface Outbox {
  /** See AuditLog.change. */
  change<T>(entry: AuditEntry, apply: (tx: StoreTransaction) => Promise<T>): Promise<T>;
  /** See AuditLog.changeAll. */
  changeAll<T>(
    entries: readonly AuditEntry[],
    apply: (tx: StoreTransaction) => Promise<AppliedChanges<T>>,
  ): Promise<T>;
  /** Moves the rows that no change is moving. @returns false when some are left for another try, which is made */
  sweep(): Promise<boolean>;
  /** Deletes the rows that were moved. */
  close(): Promise<void>;
}

const batchRows = 100;
const deleteMilliseconds = 250;
const readMilliseconds = [0, 50, 200];

export function createOutbox(options: OutboxOptions): Outbox {
  const { store, writer, mac, limits, log, moved, groups } = options;
  /** Changes under way: their rows are theirs to move. */
  const active = new Set<string>();
  /** Rows that were told of already; bounded. */
  const forged = new Set<string>();
  let sweepTimer: NodeJS.Timeout | undefined;
  let deleteTimer: NodeJS.Timeout | undefined;
  let closed = false;
  /** Rows that were moved cannot be deleted. */
  let kept = false;

  const change: Outbox['change'] = (entry, apply) => {
    const applied = new Set([entry.id]);
    return changeAll([entry], async (tx) => ({ answer: await apply(tx), applied }));
  };

  async function changeAll<T>(
    entries: readonly AuditEntry[],
    apply: (tx: StoreTransaction) => Promise<AppliedChanges<T>>,
  ): Promise<T> {
    groups.assertWritable();
    if (active.size + moved.size >= limits.queuedRecords) {
      throw new ServiceError('service/overloaded', 'Too many changes wait for the audit log.', {
        retryAfterSeconds: 1,
      });
    }
    for (const { id } of entries) active.add(id);
    try {
      const rows = await Promise.all(entries.map((entry) => sealOutboxRow(mac, writer, entry)));
      const { answer, written } = await commit(rows, apply);
      // From here on the rows are there: a crash, or a failure of the log, leaves them to a sweep.
      const outcomes = await Promise.allSettled(written.map(move));
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason as Error;
      return answer;
    } finally {
      for (const { id } of entries) active.delete(id);
    }
  }

  async function commit<T>(
    rows: readonly OutboxRow[],
    apply: (tx: StoreTransaction) => Promise<AppliedChanges<T>>,
  ): Promise<{ answer: T; written: readonly OutboxRow[] }> {
    // The transaction may be run again: its last run counts.
    let done: { answer: T; written: readonly OutboxRow[] } | undefined;
    try {
      await store.transaction(async (tx) => {
        done = undefined;
        const { answer, applied } = await apply(tx);
        const written = rows.filter(({ id }) => applied.has(id));
        await insertOutbox(tx, written);
        done = { answer, written };
      });
    } catch (error) {
      // Only a transaction that came as far as its commit may be there all the same.
      const [first] = done?.written ?? [];
      if (!first || !(await wasCommitted(first, error))) throw error;
    }
    return done as { answer: T; written: readonly OutboxRow[] };
  }

  async function wasCommitted(row: OutboxRow, cause: unknown): Promise<boolean> {
    for (const wait of readMilliseconds) {
      if (wait > 0) await sleep(wait);
      try {
        return await outboxHas(store, row);
      } catch {
        // Asked again below, and by the sweep in the end.
      }
    }
    sweepSoon();
    const detail = 'Whether the change was made is not known yet: look before trying again.';
    throw new ServiceError('store/unavailable', detail, { cause, retryAfterSeconds: 1 });
  }

  async function move({ id, entry }: OutboxRow): Promise<void> {
    try {
      await groups.append(entry, { outboxId: id });
      deleteSoon();
    } catch (error) {
      sweepSoon();
      const detail =
        'The change was made, but its audit record cannot be written yet: look before trying again.';
      throw unavailable(detail, error);
    }
  }

  async function sweep(): Promise<boolean> {
    const known = moved.track();
    try {
      for (let after = ''; ; ) {
        const rows = await outboxRows(store.db, { after, limit: batchRows });
        const last = rows.at(-1);
        if (!last) return true;
        after = last.id;
        const left = rows.filter(({ id }) => !active.has(id) && !known.has(id));
        await moveAll(await authentic(left));
      }
    } catch {
      sweepSoon();
      return false;
    } finally {
      known.end();
      deleteSoon();
    }
  }

  /** Rows of this writer that the service wrote; what somebody else put there never reaches the log. */
  async function authentic(rows: Awaited<ReturnType<typeof outboxRows>>): Promise<OutboxRow[]> {
    const found: OutboxRow[] = [];
    for (const { id, row } of rows) {
      if (row && row.writer !== writer) continue;
      if (row && (await isAuthentic(mac, row))) found.push(row);
      else if (!forged.has(id)) {
        if (forged.size < batchRows) forged.add(id);
        log('error', 'audit.outbox-forged', { writer, id });
      }
    }
    return found;
  }

  /** The first alone: while the log is down, one record is all that may be tried. */
  async function moveAll([first, ...others]: readonly OutboxRow[]): Promise<void> {
    if (!first) return;
    await groups.append(first.entry, { outboxId: first.id });
    await Promise.all(others.map(({ id, entry }) => groups.append(entry, { outboxId: id })));
  }

  function sweepSoon(): void {
    if (closed || sweepTimer) return;
    sweepTimer = setTimeout(() => {
      sweepTimer = undefined;
      void sweep();
    }, limits.retryMilliseconds).unref();
  }

  function deleteSoon(): void {
    if (closed || deleteTimer || moved.size === 0) return;
    deleteTimer = setTimeout(() => {
      deleteTimer = undefined;
      void deleteMoved().then(deleteSoon);
    }, deleteMilliseconds).unref();
  }

  async function deleteMoved(): Promise<void> {
    const ids = moved.ids();
    try {
      await deleteOutbox(store.db, ids);
      moved.deleted(ids);
      kept = false;
    } catch {
      // Said once, not with every try.
      if (!kept) log('warn', 'audit.outbox-kept', { writer, rows: ids.length });
      kept = true;
    }
  }

  return {
    change,
    changeAll,
    sweep,
    async close() {
      closed = true;
      clearTimeout(sweepTimer);
      clearTimeout(deleteTimer);
      await deleteMoved();
    },
  };
}
