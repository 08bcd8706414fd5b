import { join } from 'node:path';
import { ServiceError } from '../core/errors.ts';
import { type AuditLogOptions, limitsOf } from './options.ts';
import { outboxRows } from './outbox-rows.ts';
import type { LogPlace } from './place.ts';
import { newestSegments, type SegmentRow } from './registry.ts';
import { holdsRecords } from './segments.ts';
import { openWriter, type Writer } from './writer.ts';

/** What processes that ended left of the log. */
export interface Orphans {
  /** Ends the looking. Resolves when no slot is held for it any more. */
  close(): Promise<void>;
}

const outboxPageRows = 1000;
const rememberedRows = 10_000;
const mostPeriods = 4;

/**
 * Looks, now and every few seconds, for slots that nobody holds and that are not done with: an unsealed segment
 * with records, or changes whose records wait in the outbox. Such a slot is taken, recovered as at any open, its
 * records are moved, its segment is sealed, and it is free again.
 * @param own the slot of this process
 */
export function createOrphans(options: AuditLogOptions, place: LogPlace, own: () => Writer): Orphans {
  const { store, log = () => undefined } = options;
  const { directory, files } = place;
  const { adoptMilliseconds } = limitsOf(options);
  /** Rows that stayed although their slot was adopted: not of the service's making. Bounded. */
  const left = new Set<string>();
  const told = new Map<string, string>();
  let outboxAfter = '';
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let looking: Promise<void> = Promise.resolve();

  /** @returns how many slots others hold */
  async function look(): Promise<number> {
    const waiting = await waitingRows();
    // A process that another took for dead may have put them there since: nobody else moves them.
    if (waiting.has(own().name)) await own().outbox.sweep();
    const silent = new Set(await place.abandoned());
    for (const row of await newestSegments(store.db)) {
      if (waiting.has(row.writer) || (await isUnsealed(row))) silent.add(row.writer);
    }
    let held = 0;
    for (const writer of silent) {
      if (closed) break;
      if (writer === own().name) continue;
      if (!(await adopt(writer, waiting.get(writer) ?? []))) held += 1;
    }
    return held;
  }

  async function isUnsealed(row: SegmentRow): Promise<boolean> {
    if (row.last_sequence !== null || row.loss_accepted_at !== null) return false;
    return await holdsRecords(files, join(directory, row.file)).catch(() => true);
  }

  /** One page of the outbox, by writer; each look reads on where the one before ended. */
  async function waitingRows(): Promise<Map<string, string[]>> {
    const rows = await outboxRows(store.db, { after: outboxAfter, limit: outboxPageRows });
    outboxAfter = rows.length < outboxPageRows ? '' : (rows.at(-1)?.id ?? '');
    const found = new Map<string, string[]>();
    for (const { id, row } of rows) {
      if (!row || left.has(id)) continue;
      found.set(row.writer, [...(found.get(row.writer) ?? []), id]);
    }
    return found;
  }

  /** @returns false when another process has the slot */
  async function adopt(writer: string, rows: readonly string[]): Promise<boolean> {
    try {
      const slot = await place.tryTake(writer);
      if (!slot) return false;
      const adopted = await openWriter(options, directory, slot);
      const swept = await adopted.outbox.sweep();
      const { sequence } = adopted.groups.position();
      await adopted.close();
      log('info', 'audit.adopted', { writer, sequence });
      told.delete(writer);
      if (swept) for (const id of rows) if (left.size < rememberedRows) left.add(id);
    } catch (error) {
      const reason = error instanceof ServiceError ? error.detail : 'internal';
      if (told.get(writer) !== reason) log('error', 'audit.orphan-left', { writer, reason });
      told.set(writer, reason);
    }
    return true;
  }

  function lookAfter(milliseconds: number): void {
    if (closed) return;
    timer = setTimeout(() => {
      looking = look().then(
        (held) => lookAfter(pause(held)),
        () => lookAfter(pause(0)),
      );
    }, milliseconds).unref();
  }

  /** The more there are, the more rarely each looks: a few together about once a period. */
  function pause(held: number): number {
    return adoptMilliseconds * Math.min(1 + held, mostPeriods) * (0.5 + Math.random());
  }

  lookAfter(0);
  return {
    async close() {
      closed = true;
      clearTimeout(timer);
      await looking;
    },
  };
}
