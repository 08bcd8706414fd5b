import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { mkdirDurably } from '../core/durable-file.ts';
import type { AuditLog } from './audit.ts';
import { encodeEntry, isWriterName, toHex } from './format.ts';
import { takeSlot } from './lock.ts';
import { type AuditLogOptions, limitsOf } from './options.ts';
import { createOrphans } from './orphans.ts';
import { readRecords } from './records.ts';
import { missingSegment } from './recover.ts';
import { createRefusals } from './refusals.ts';
import { segmentRows } from './registry.ts';
import { unavailable } from './unavailable.ts';
import { openWriter } from './writer.ts';

/**
 * Opens the log for writing: takes a slot, recovers what a crash left there and moves what waits for it in the
 * outbox. The slot stays taken until `close`, or until the process ends in any way. What other processes left
 * is looked after from then on.
 * @throws audit/unavailable when no slot is free, the directory cannot be used, or the log is not whole; the
 *   text names the file and says what to do
 */
export async function openAuditLog(options: AuditLogOptions): Promise<AuditLog> {
  const { directory, store, clock, log = () => undefined } = options;
  if (options.writer !== undefined && !isWriterName(options.writer))
    throw new TypeError('a writer is named [a-z0-9][a-z0-9-]{0,31}');
  await checkDirectory(options);
  const slot = takeSlot(directory, options.writer);
  const writer = await openWriter(options, slot.writer, slot.lock);
  const { name, groups, outbox } = writer;
  const limits = limitsOf(options);
  const append: AuditLog['append'] = async (entry, stands) => groups.append(encodeEntry(entry), { stands });
  const refusals = createRefusals({ append, clock, limits });
  const orphans = createOrphans(options, name);
  return {
    append,
    change: outbox.change,
    assertWritable: groups.assertWritable,
    countRefusal: refusals.count,
    records: (query) =>
      readRecords({ directory, writer: name, store, limits, durable: writer.durable }, query),
    head() {
      const { sequence, head } = groups.position();
      return { writer: name, sequence, head: toHex(head) };
    },
    status: groups.status,
    close: once(async () => {
      const dropped = await refusals.close();
      if (dropped > 0) log('warn', 'audit.refusals-dropped', { writer: name, count: dropped });
      await orphans.close();
      await writer.close();
    }),
  };
}

/**
 * A log that is there must be all there, whoever wrote it; and a directory that vanished must not come back
 * empty by itself: it may be a mount that failed.
 */
async function checkDirectory({ directory, store }: AuditLogOptions): Promise<void> {
  const rows = await segmentRows(store.db);
  try {
    if (rows.length === 0) mkdirDurably(directory);
  } catch (error) {
    throw unavailable(`The audit directory ${directory} cannot be created.`, error);
  }
  let names: Set<string>;
  try {
    names = new Set(await readdir(directory));
  } catch (error) {
    throw unavailable(`The audit directory ${directory} cannot be read.`, error);
  }
  const missing = rows.find((row) => row.loss_accepted_at === null && !names.has(row.file));
  if (missing) throw missingSegment(join(directory, missing.file));
}

function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => (done ??= work());
}
