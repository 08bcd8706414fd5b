import type { Clock } from '../core/clock.ts';
import { newId, serviceNamespaceId } from '../core/ids.ts';
import type { AuditEntry } from './entry.ts';
import { encodeEntry } from './format.ts';
import { createGroupCommit, type GroupCommit } from './group-commit.ts';
import { createMovedRows } from './moved.ts';
import { type AuditLogOptions, limitsOf } from './options.ts';
import { createOutbox, type Outbox } from './outbox.ts';
import { outboxRows } from './outbox-rows.ts';
import type { Slot } from './place.ts';
import { type FindOptions, findRecords, recover } from './recover.ts';
import { createSegments, type Segments } from './segments.ts';
import { createGroupSigner } from './signer.ts';
import { unavailable } from './unavailable.ts';
import type { Position } from './walk.ts';

/** One slot's log, open for writing. */
export interface Writer {
  readonly name: string;
  readonly groups: GroupCommit;
  readonly outbox: Outbox;
  /** See Segments.durable. */
  durable(): ReturnType<Segments['durable']>;
  /** Writes what waits, seals the segment, frees the slot. */
  close(): Promise<void>;
}

/**
 * Recovers what a crash left of the slot's log and moves what waits for it in the outbox.
 * @param directory what the paths of segments begin with
 * @param slot is released when this rejects, and by `close`
 * @throws audit/unavailable when the log is not whole; the text names the file and says what to do
 */
export async function openWriter(options: AuditLogOptions, directory: string, slot: Slot): Promise<Writer> {
  try {
    return await openSlot(options, directory, slot);
  } catch (error) {
    await slot.release();
    throw error;
  }
}

async function openSlot(options: AuditLogOptions, directory: string, slot: Slot): Promise<Writer> {
  const { store, clock, mac, log = () => undefined } = options;
  const { writer, files } = slot;
  const limits = limitsOf(options);
  const sign = createGroupSigner({ mac, writer, waitMilliseconds: limits.macMilliseconds });
  const { position, start } = await recover({ directory, writer, store, files, sign, log });
  const moved = createMovedRows();
  const segments = createSegments({
    ...{ directory, slot, store, clock, moved, start },
    segmentBytes: limits.segmentBytes,
  });
  try {
    moved.add(await findMoved({ directory, writer, store, files }));
    if (start.number === 0) await beginFirst(segments, position, directory);
  } catch (error) {
    await segments.close();
    throw error;
  }
  const groups = createGroupCommit({
    ...{ writer, segments, sign, clock, limits, log, start: position, onMoved: moved.add },
    sync: options.sync ?? (() => Promise.resolve()),
    recoveryEntry: () => encodeEntry(recovered(clock)),
  });
  const outbox = createOutbox({ store, writer, mac, limits, log, moved, groups });
  await outbox.sweep();
  return {
    name: writer,
    groups,
    outbox,
    durable: segments.durable,
    async close() {
      await groups.close();
      await outbox.close();
      await segments.close(groups.position()).catch(() => log('warn', 'audit.left-unsealed', { writer }));
      await slot.release();
    },
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

/** Outbox rows whose records reached the log before the last process ended. */
async function findMoved(options: FindOptions): Promise<string[]> {
  const { store, writer } = options;
  const wanted = new Set<string>();
  const pageRows = 1000;
  for (let after = ''; ; ) {
    const rows = await outboxRows(store.db, { after, limit: pageRows });
    for (const { id, row } of rows) if (row?.writer === writer) wanted.add(id);
    const last = rows.at(-1);
    if (!last) break;
    after = last.id;
  }
  return wanted.size > 0 ? await findRecords(options, wanted) : [];
}
