import type { Clock } from '../core/clock.ts';
import { mkdirDurably } from '../core/durable-file.ts';
import { newId, serviceNamespaceId } from '../core/ids.ts';
import type { AuditLog } from './audit.ts';
import type { AuditEntry } from './entry.ts';
import { nodeFiles } from './files.ts';
import { encodeEntry, isWriterName, toHex } from './format.ts';
import { createGroupCommit } from './group-commit.ts';
import { lockSlot, type SlotLock } from './lock.ts';
import { createMovedRows, type MovedRows } from './moved.ts';
import { type AuditLimits, type AuditLogOptions, defaultLimits } from './options.ts';
import { createOutbox } from './outbox.ts';
import { outboxRows } from './outbox-rows.ts';
import { readRecords } from './records.ts';
import { findRecords, recover } from './recover.ts';
import { createRefusals } from './refusals.ts';
import { segmentRows } from './registry.ts';
import { createSegments, type Segments } from './segments.ts';
import { createGroupSigner } from './signer.ts';
import { unavailable } from './unavailable.ts';
import type { Position } from './walk.ts';

/**
 * Opens the log for writing: takes the writer's slot, recovers what a crash left and moves what waits in the
 * outbox. The slot stays taken until `close`, or until the process ends in any way.
 * @throws audit/unavailable when another process has the slot, the directory cannot be used, or the log is
 *   not whole; the text names the file and says what to do
 */
export async function openAuditLog(options: AuditLogOptions): Promise<AuditLog> {
  const { directory, store, writer = 'w1' } = options;
  if (!isWriterName(writer)) throw new TypeError('a writer is named [a-z0-9][a-z0-9-]{0,31}');
  // A directory that vanished must not come back empty by itself: it may be a mount that failed.
  if ((await segmentRows(store.db)).length === 0) {
    try {
      mkdirDurably(directory);
    } catch (error) {
      throw unavailable(`The audit directory ${directory} cannot be created.`, error);
    }
  }
  const lock = lockSlot(directory, writer);
  try {
    return await openLocked(options, writer, lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function openLocked(options: AuditLogOptions, writer: string, lock: SlotLock): Promise<AuditLog> {
  const { directory, store, clock, mac } = options;
  const files = options.files ?? nodeFiles;
  const limits: AuditLimits = { ...defaultLimits, ...options.limits };
  const log = options.log ?? (() => undefined);
  const sign = createGroupSigner({ mac, writer, waitMilliseconds: limits.macMilliseconds });
  const { position, start } = await recover({ directory, writer, store, files, sign, log });
  const moved = createMovedRows();
  const segments = createSegments({
    ...{ directory, writer, files, store, lock, clock, moved, start },
    segmentBytes: limits.segmentBytes,
  });
  try {
    await findMoved(options, writer, moved);
    if (start.number === 0) await beginFirst(segments, position, directory);
  } catch (error) {
    await segments.close();
    throw error;
  }
  const groups = createGroupCommit({
    ...{ writer, segments, sign, clock, limits, log, start: position, onMoved: moved.add },
    recoveryEntry: () => encodeEntry(recovered(clock)),
  });
  const outbox = createOutbox({ store, writer, mac, limits, log, moved, groups });
  const append: AuditLog['append'] = async (entry) => groups.append(encodeEntry(entry));
  const refusals = createRefusals({ append, clock, limits });
  await outbox.sweep();
  return {
    append,
    change: outbox.change,
    assertWritable: groups.assertWritable,
    countRefusal: refusals.count,
    records: (query) => readRecords({ directory, writer, store, limits, durable: segments.durable }, query),
    head() {
      const { sequence, head } = groups.position();
      return { writer, sequence, head: toHex(head) };
    },
    status: groups.status,
    close: once(async () => {
      const dropped = await refusals.close();
      if (dropped > 0) log('warn', 'audit.refusals-dropped', { writer, count: dropped });
      await groups.close();
      await outbox.close();
      await segments.close(groups.position()).catch(() => log('warn', 'audit.left-unsealed', { writer }));
      lock.release();
    }),
  };
}

/** What the log says of itself when it can be written again and nothing else is to be said. */
function recovered(clock: Clock): AuditEntry {
  return {
    id: newId(),
    time: clock.now(),
    namespaceId: serviceNamespaceId,
    requestId: 'audit',
    principal: { kind: 'system', name: 'audit' },
    action: 'audit.recover',
    target: { kind: 'audit' },
    outcome: 'allowed',
  };
}

async function beginFirst(segments: Segments, position: Position, directory: string): Promise<void> {
  try {
    await segments.prepare(position);
  } catch (error) {
    throw unavailable(`No audit segment can be created in ${directory}.`, error);
  }
}

function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => (done ??= work());
}

/** Outbox rows whose records reached the log before the last process ended. */
async function findMoved(
  { directory, store }: AuditLogOptions,
  writer: string,
  moved: MovedRows,
): Promise<void> {
  const wanted = new Set<string>();
  const pageRows = 1000;
  for (let after = ''; ; ) {
    const rows = await outboxRows(store.db, { after, limit: pageRows });
    for (const { id, row } of rows) if (row?.writer === writer) wanted.add(id);
    const last = rows.at(-1);
    if (!last) break;
    after = last.id;
  }
  if (wanted.size > 0) moved.add(await findRecords({ directory, writer, store }, wanted));
}
