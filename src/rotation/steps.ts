import type { AuditEntry } from '../audit/entry.ts';
import type { ErrorCode } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { RotateMany, Rotating } from '../keys/rotate-many.ts';
import type { Rotated } from '../keys/rotated.ts';
import type { RotationRow, RotationScheduleRow } from '../store/rotation-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store } from '../store/store.ts';
import { type Due, nextDue, whenToAct } from './due.ts';
import type { RotationEvent } from './events.ts';
import { doneEvent, sealHistory } from './hooks.ts';
import { readPolicy } from './policy.ts';
import type { Schedules } from './schedules.ts';
import type { SharedClock } from './shared-clock.ts';

/** What becomes of one schedule. */
export interface Step {
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

export const preparedAtOnce = 16;
const preparedMilliseconds = 2_000;
const firstPauseMilliseconds = 5_000;
const longestPauseMilliseconds = 3_600_000;

/** Decides what becomes of due schedules, and makes the versions: nothing is written by that. */
export function createStepMaker({
  store,
  rows,
  clock,
  many,
  schedules,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: SharedClock;
  many: RotateMany;
  schedules: Schedules;
}): (due: readonly RotationScheduleRow[], now: number, pace: Pace) => Promise<Step[]> {
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
    const since = clock.monotonic();
    // A few at a time: what others ask of the HSM meanwhile does not wait for a whole chunk.
    for (let at = 0; at < open.length; at += preparedAtOnce) {
      const some = open.slice(at, at + preparedAtOnce);
      all.push(...(await prepared(some, now)));
      await pace(some.length);
      // Key pairs take seconds: what is ready is committed, the others are due still.
      if (clock.monotonic() - since > preparedMilliseconds) break;
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

  return steps;
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
