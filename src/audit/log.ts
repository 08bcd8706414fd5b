import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { AuditLog } from './audit.ts';
import { encodeEntry, isWriterName, toHex } from './format.ts';
import { importSegments } from './import.ts';
import { type AuditLogOptions, limitsOf } from './options.ts';
import { createOrphans } from './orphans.ts';
import { type LogPlace, listSegments } from './place.ts';
import { placeOf } from './place-of.ts';
import { readRecords } from './records.ts';
import { missingSegment } from './recover.ts';
import { createRefusals } from './refusals.ts';
import { segmentRows } from './registry.ts';
import { openWriter, type Writer } from './writer.ts';

/**
 * Opens the log for writing: takes a slot, recovers what a crash left there and moves what waits for it in the
 * outbox. The slot stays taken until `close`, or until the process ends in any way. What other processes left
 * is looked after from then on.
 * @throws audit/unavailable when no slot is free, the log's place cannot be used, or the log is not whole; the
 *   text names the file and says what to do
 */
export async function openAuditLog(options: AuditLogOptions): Promise<AuditLog> {
  const { store, clock, log = () => undefined } = options;
  if (options.writer !== undefined && !isWriterName(options.writer))
    throw new TypeError('a writer is named [a-z0-9][a-z0-9-]{0,31}');
  const limits = limitsOf(options);
  const place = placeOf({ ...options, silentMilliseconds: limits.silentMilliseconds });
  await checkPlace(place, options);
  const held = await holdSlot(options, place);
  const { current } = held;
  const append: AuditLog['append'] = async (entry, stands) =>
    current().groups.append(encodeEntry(entry), { stands });
  const refusals = createRefusals({ append, clock, limits });
  const orphans = createOrphans(options, place, current);
  return {
    append,
    change: (entry, apply) => current().outbox.change(entry, apply),
    changeAll: (entries, apply) => current().outbox.changeAll(entries, apply),
    assertWritable: () => current().groups.assertWritable(),
    countRefusal: refusals.count,
    records(query) {
      const { name: writer, durable } = current();
      return readRecords({ place, writer, store, limits, durable }, query);
    },
    head() {
      const { name: writer, groups } = current();
      const { sequence, head } = groups.position();
      return { writer, sequence, head: toHex(head) };
    },
    status: () => current().groups.status(),
    close: once(async () => {
      const dropped = await refusals.close();
      if (dropped > 0) log('warn', 'audit.refusals-dropped', { writer: current().name, count: dropped });
      await orphans.close();
      await held.close();
    }),
  };
}

/**
 * A log that is there must be all there, whoever wrote it; and a directory that vanished must not come back
 * empty by itself: it may be a mount that failed.
 */
async function checkPlace(place: LogPlace, options: AuditLogOptions): Promise<void> {
  const { store } = options;
  if (store.dialect.name !== 'sqlite') return await importSegments(options, place);
  const rows = await segmentRows(store.db);
  if (rows.length === 0) await place.create();
  const names = new Set(await listSegments(place));
  const missing = rows.find((row) => row.loss_accepted_at === null && !names.has(row.file));
  if (missing) throw missingSegment(join(place.directory, missing.file));
}

/** A slot, and another when that is lost to a process that took this one for dead. */
async function holdSlot(options: AuditLogOptions, place: LogPlace) {
  const { writer: wanted, log = () => undefined } = options;
  const { retryMilliseconds } = limitsOf(options);
  let closed = false;
  let replacing: Promise<void> = Promise.resolve();
  let writer = await open();

  async function open(): Promise<Writer> {
    const slot = await place.take(wanted);
    const opened = await openWriter(options, place.directory, slot);
    slot.onLost(() => {
      log('warn', 'audit.slot-lost', { writer: slot.writer });
      replacing = replacing.then(() => replace(opened));
    });
    return opened;
  }

  async function replace(lost: Writer): Promise<void> {
    await lost.close();
    while (!closed) {
      try {
        writer = await open();
        return;
      } catch {
        await delay(retryMilliseconds);
      }
    }
  }

  return {
    current: () => writer,
    async close() {
      closed = true;
      await replacing;
      await writer.close();
    },
  };
}

function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => (done ??= work());
}
