import { setImmediate as nextTurn } from 'node:timers/promises';
import type { AuditLog } from '../audit/audit.ts';
import { isServiceError } from '../core/errors.ts';
import type { Lease, Leases } from '../jobs/leases.ts';
import type { RotateMany } from '../keys/rotate-many.ts';
import type { Revision } from '../store/revision.ts';
import type { RotationScheduleRow } from '../store/rotation-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import type { OnRotation } from './events.ts';
import { readPolicy } from './policy.ts';
import type { Schedules } from './schedules.ts';
import type { SharedClock } from './shared-clock.ts';
import { createStepMaker, type Pace, preparedAtOnce, type Step } from './steps.ts';

/** How a chunk of due keys ended. */
export interface ChunkOutcome {
  readonly done: number;
  readonly failed: number;
  /** No window is open, the key is disabled, or its date was served already. */
  readonly putOff: number;
  /** Somebody changed them meanwhile: looked at again. */
  readonly moved: number;
  /** Rows that cannot be used, by key: nothing of them was changed. */
  readonly unusable: readonly string[];
}

export interface ChunkOptions {
  readonly store: Store;
  readonly rows: RowAuthenticator;
  readonly clock: SharedClock;
  readonly audit: AuditLog;
  readonly revision: Revision;
  readonly leases: Pick<Leases, 'fenced'>;
  readonly many: RotateMany;
  readonly schedules: Schedules;
  readonly onRotation?: OnRotation | undefined;
}

class Moved extends Error {
  readonly keyIds: ReadonlySet<string>;
  constructor(keyIds: readonly string[]) {
    super('changed by somebody else');
    this.keyIds = new Set(keyIds);
  }
}

/**
 * Rotates the keys of due schedules in one transaction, each with its record, its place in the history and its next
 * date. Each takes effect once: the transaction holds the lease, compares the revisions of schedule and key, and writes
 * a row that is there once for a key and date.
 * @throws what is not a key's fault: hsm/unavailable, store/unavailable, audit/unavailable, lease/lost
 */
export function createChunkRunner(options: ChunkOptions) {
  const { store, rows, clock, audit, revision, leases, many, schedules, onRotation } = options;
  const steps = createStepMaker(options);

  async function readable(row: RotationScheduleRow): Promise<void> {
    await rows.verify('rotation_schedules', row);
    readPolicy(row.policy);
  }

  async function authentic(due: readonly RotationScheduleRow[]) {
    const unusable: string[] = [];
    const usable: RotationScheduleRow[] = [];
    await Promise.all(
      due.map((row) =>
        readable(row).then(
          () => usable.push(row),
          (error: unknown) => {
            if (!isServiceError(error, 'internal')) throw error;
            unusable.push(row.key_id);
          },
        ),
      ),
    );
    return { usable, unusable };
  }

  async function commit(lease: Lease, all: readonly Step[], now: number): Promise<void> {
    const entries = all.flatMap(({ entry }) => entry ?? []);
    const subjects = all.flatMap(({ rotating }) => rotating?.key.id ?? []);
    const apply = async (tx: StoreTransaction): Promise<number | undefined> => {
      await leases.fenced(tx, lease);
      const moved: string[] = [];
      for (const [at, { next }] of all.entries()) {
        if (!(await schedules.write(tx, next))) moved.push(next.key_id);
        // SQLite's statements hold the thread: others have a turn.
        if (at % preparedAtOnce === 0) await nextTurn();
      }
      if (moved.length > 0) throw new Moved(moved);
      await onRotation?.(
        tx,
        all.flatMap(({ events }) => events),
      );
      const rotating = all.flatMap((step) => step.rotating ?? []);
      const [first] = rotating;
      if (!first) return undefined;
      const written = new Set((await many.write(tx, rotating)).map(({ key }) => key.id));
      const lost = rotating.filter(({ key }) => !written.has(key.id)).map(({ key }) => key.id);
      if (lost.length > 0) throw new Moved(lost);
      await tx
        .insertInto('rotations')
        .values(all.flatMap(({ history }) => history ?? []))
        .execute();
      return await store.changes.record(tx, { namespaceId: first.key.namespace_id, subjects, at: now });
    };
    let number: number | undefined;
    let committed: number | undefined;
    try {
      await audit.changeAll(entries, async (tx) => {
        number = await apply(tx);
        return { answer: undefined, applied: new Set(entries.map(({ id }) => id)) };
      });
      committed = number;
    } finally {
      // Also when the outcome is unknown: what the store says is what counts.
      revision.touch(subjects, committed);
    }
  }

  async function run(
    lease: Lease,
    due: readonly RotationScheduleRow[],
    pace: Pace = async () => undefined,
  ): Promise<ChunkOutcome> {
    const now = await clock.now();
    const { usable, unusable } = await authentic(due);
    let left = await steps(usable, now, pace);
    let moved = 0;
    while (left.length > 0) {
      try {
        await commit(lease, left, now);
        break;
      } catch (error) {
        if (!(error instanceof Moved)) throw error;
        // The others do not wait for those that somebody changed.
        const { keyIds } = error;
        moved += keyIds.size;
        left = left.filter(({ was }) => !keyIds.has(was.key_id));
      }
    }
    const done = left.filter((step) => step.rotating).length;
    const failed = left.filter((step) => step.entry?.outcome === 'failed').length;
    return { done, failed, putOff: left.length - done - failed, moved, unusable };
  }

  return run;
}
