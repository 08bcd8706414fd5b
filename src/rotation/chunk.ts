import { setImmediate as nextTurn } from 'node:timers/promises';
import type { AuditLog } from '../audit/audit.ts';
import type { AuditEntry } from '../audit/entry.ts';
import { type ErrorCode, isServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { Lease, Leases } from '../jobs/leases.ts';
import type { RotateMany, Rotating } from '../keys/rotate-many.ts';
import type { Rotated } from '../keys/rotated.ts';
import type { Revision } from '../store/revision.ts';
import type { RotationRow, RotationScheduleRow } from '../store/rotation-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import { type Due, nextDue, whenToAct } from './due.ts';
import type { OnRotation, RotationEvent } from './events.ts';
import { doneEvent, sealHistory } from './hooks.ts';
import { readPolicy } from './policy.ts';
import type { Schedules } from './schedules.ts';
import type { SharedClock } from './shared-clock.ts';

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

/** What becomes of one schedule. */
interface Step {
  readonly was: RotationScheduleRow;
  readonly next: RotationScheduleRow;
  readonly rotating?: Rotating;
  readonly history?: RotationRow;
  readonly entry?: AuditEntry;
  readonly events: readonly RotationEvent[];
}

const principal = { kind: 'system', id: 'rotation', name: 'rotation' } as const;
/** Waits as long as so many rotations may take. */
export type Pace = (rotations: number) => Promise<void>;

const preparedAtOnce = 16;
const firstPauseMilliseconds = 5_000;
const longestPauseMilliseconds = 3_600_000;

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

  async function authentic(due: readonly RotationScheduleRow[]) {
    const unusable: string[] = [];
    const usable: RotationScheduleRow[] = [];
    await Promise.all(
      due.map((row) =>
        rows.verify('rotation_schedules', row).then(
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

  /** Dates that were served before the clock was set back. */
  async function served(due: readonly RotationScheduleRow[]): Promise<ReadonlySet<string>> {
    if (due.length === 0) return new Set();
    const found = await store.db
      .selectFrom('rotations')
      .select(['key_id', 'due_at'])
      .where(
        'key_id',
        'in',
        due.map((row) => row.key_id),
      )
      .where(
        'due_at',
        'in',
        due.map((row) => row.due_at),
      )
      .execute();
    return new Set(found.map((row) => `${row.key_id} ${row.due_at}`));
  }

  async function steps(due: readonly RotationScheduleRow[], now: number, pace: Pace): Promise<Step[]> {
    const before = await served(due);
    const all: Step[] = [];
    const open: RotationScheduleRow[] = [];
    for (const row of due) {
      const policy = readPolicy(row.policy);
      const opensAt = whenToAct(policy, now);
      if (before.has(`${row.key_id} ${row.due_at}`)) all.push(await putOff(row, followingDue(row, now), now));
      else if (opensAt > now) all.push(await putOff(row, { dueAt: row.due_at, actAt: opensAt }, now));
      else open.push(row);
    }
    // A few at a time: what others ask of the HSM meanwhile does not wait for a whole chunk.
    for (let at = 0; at < open.length; at += preparedAtOnce) {
      const some = open.slice(at, at + preparedAtOnce);
      all.push(...(await prepared(some, now)));
      await pace(some.length);
    }
    return all;
  }

  async function prepared(open: readonly RotationScheduleRow[], now: number): Promise<Step[]> {
    const { ready, refused } = await many.prepare(open.map((row) => row.key_id));
    const byKey = new Map(ready.map((each) => [each.key.id, each]));
    return await Promise.all(
      open.map((row) => {
        const rotating = byKey.get(row.key_id);
        if (rotating) return rotate(row, rotating, now);
        const code = refused.get(row.key_id) ?? 'internal';
        if (code !== 'key/disabled') return fail(row, code, now);
        return putOff(row, { dueAt: row.due_at, actAt: now + longestPauseMilliseconds }, now, code);
      }),
    );
  }

  async function putOff(
    was: RotationScheduleRow,
    due: Due,
    now: number,
    code: ErrorCode | null = null,
  ): Promise<Step> {
    const dates = { due_at: due.dueAt, act_at: due.actAt, reckoned_at: now, error_code: code };
    return { was, next: await schedules.change(was, dates), events: [] };
  }

  async function rotate(was: RotationScheduleRow, rotating: Rotating, now: number): Promise<Step> {
    const { key, from, to } = rotating;
    const due = followingDue(was, now);
    const rotated: Rotated = {
      ...{ keyId: key.id, keyName: key.name, namespaceId: key.namespace_id, cause: 'scheduled' },
      ...{ from, to, by: principal, at: now },
    };
    const [next, history] = await Promise.all([
      schedules.change(was, {
        ...{ due_at: due.dueAt, act_at: due.actAt, reckoned_at: now, failures: 0, error_code: null },
      }),
      sealHistory(rows, rotated, was.due_at),
    ]);
    const target = { kind: 'key', id: key.id, name: key.name, version: to.ordinal } as const;
    return {
      ...{ was, next, rotating, history },
      entry: { ...entryOf(was, now), target, outcome: 'allowed' },
      events: [...dueEvents(was, now), doneEvent(rotated, was.due_at)],
    };
  }

  async function fail(was: RotationScheduleRow, code: ErrorCode, now: number): Promise<Step> {
    const failures = was.failures + 1;
    const pause = Math.min(
      longestPauseMilliseconds,
      firstPauseMilliseconds * 2 ** Math.min(30, was.failures),
    );
    const { namespace_id: namespaceId, key_id: keyId } = was;
    return {
      was,
      next: await schedules.change(was, {
        ...{ act_at: now + pause, reckoned_at: now, failures, error_code: code },
      }),
      entry: { ...entryOf(was, now), target: { kind: 'key', id: keyId }, outcome: 'failed', code },
      events: [
        ...dueEvents(was, now),
        { type: 'rotation.failed', namespaceId, keyId, at: now, code, ...dueOf(was) },
      ],
    };
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

function entryOf(row: RotationScheduleRow, now: number) {
  return {
    ...{ id: newId(), time: now, namespaceId: row.namespace_id, requestId: newId() },
    ...{ principal, action: 'keys.rotate' },
  };
}

function followingDue(row: RotationScheduleRow, now: number): Due {
  const policy = readPolicy(row.policy);
  return nextDue(policy, { keyId: row.key_id, now, dueAt: row.due_at ?? now });
}

function dueOf({ due_at: dueAt }: RotationScheduleRow): { dueAt?: number } {
  return dueAt === null ? {} : { dueAt };
}

/** Told with what the first try came to. */
function dueEvents(row: RotationScheduleRow, at: number): RotationEvent[] {
  if (row.failures > 0) return [];
  const { namespace_id: namespaceId, key_id: keyId } = row;
  return [{ type: 'rotation.due', namespaceId, keyId, at, ...dueOf(row) }];
}
