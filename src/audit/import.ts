import { join } from 'node:path';
import { serviceNamespaceId } from '../core/ids.ts';
import type { Store } from '../store/store.ts';
import { reading } from './files.ts';
import { localPlace } from './local-place.ts';
import type { AuditLogOptions } from './options.ts';
import { type LogPlace, listSegments } from './place.ts';
import { type SegmentRow, segmentRows } from './registry.ts';
import { unavailable } from './unavailable.ts';
import { openWriter } from './writer.ts';

const pieceBytes = 256 * 1024;

/**
 * Brings segments that are files of this machine into the database that registers them: a log that was written
 * beside SQLite, or before PostgreSQL kept logs. The files are recovered and sealed first, and stay where they are.
 * @throws audit/unavailable when a segment is neither here nor there, or a process still writes the files
 */
export async function importSegments(options: AuditLogOptions, place: LogPlace): Promise<void> {
  const { store, directory, log = () => undefined } = options;
  const missing = await notIn(store, place);
  if (missing.length === 0) return;
  const local = localPlace(directory, options.files);
  const names = new Set(await listSegments(local));
  const lost = missing.find(({ file }) => !names.has(file));
  if (lost) {
    throw unavailable(
      `The audit segment ${lost.file} is neither in the database nor in ${directory}: start the service once where ` +
        'it is, restore it there, or run `stathera audit accept-loss` to go on without it.',
    );
  }
  for (const writer of new Set(missing.map((row) => row.writer))) {
    const opened = await openWriter(options, directory, await local.take(writer));
    await opened.close();
  }
  const rows = await notIn(store, place);
  for (const row of rows) await copy(store, local, row);
  log('info', 'audit.imported', { directory, segments: rows.length });
}

async function notIn(store: Store, place: LogPlace): Promise<SegmentRow[]> {
  const rows = await segmentRows(store.db);
  const there = new Set(await listSegments(place));
  return rows.filter((row) => row.loss_accepted_at === null && !there.has(row.file));
}

/** All of a segment or nothing. */
async function copy(store: Store, { directory, files }: LogPlace, row: SegmentRow): Promise<void> {
  const { writer, number } = row;
  await reading(files, join(directory, row.file), async (reader) => {
    await store.transaction(async (tx) => {
      for (let start = 0; ; ) {
        const bytes = await reader.read(start, pieceBytes);
        if (bytes.length === 0) return;
        await tx
          .insertInto('audit_segment_bytes')
          .values({ namespace_id: serviceNamespaceId, writer, number, start, bytes })
          .execute();
        start += bytes.length;
      }
    });
  });
}
