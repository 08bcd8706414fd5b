import { isServiceError } from '../core/errors.ts';
import type { RotationScheduleRow } from '../store/rotation-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store } from '../store/store.ts';
import { firstDue } from './due.ts';
import { type RotationPolicy, readPolicy } from './policy.ts';
import type { Schedules } from './schedules.ts';
import type { SharedClock } from './shared-clock.ts';

/** What the clocks of two machines may differ. */
const skewMilliseconds = 60_000;
const chunkRows = 128;

/**
 * Dates that were reckoned by a clock that is set back now would come too late, by as much as it was ahead. They are
 * reckoned anew from now: a period begins again, a calendar is looked up. @returns whether there may be more
 */
export function createReckoner({
  store,
  rows,
  clock,
  schedules,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: SharedClock;
  schedules: Schedules;
}): (now: number) => Promise<boolean> {
  async function anew(row: RotationScheduleRow): Promise<RotationScheduleRow | undefined> {
    let policy: RotationPolicy;
    try {
      await rows.verify('rotation_schedules', row);
      policy = readPolicy(row.policy);
    } catch (error) {
      // Told of when its date comes, which nobody can say.
      if (isServiceError(error, 'internal')) return undefined;
      throw error;
    }
    const now = await clock.now();
    const { key_id: keyId, due_at: dueAt, act_at: actAt } = row;
    const stands = row.paused === 1 || (dueAt !== null && dueAt <= now);
    const due = stands ? { dueAt, actAt } : firstDue(policy, { keyId, now, since: now });
    return await schedules.change(row, { due_at: due.dueAt, act_at: due.actAt, reckoned_at: now });
  }

  return async (now) => {
    const ahead = store.db.selectFrom('rotation_schedules').where('reckoned_at', '>', now + skewMilliseconds);
    if (!(await ahead.select('key_id').limit(1).executeTakeFirst())) return false;
    const found = await ahead.selectAll().limit(chunkRows).execute();
    const next = (await Promise.all(found.map(anew))).filter((row) => row !== undefined);
    await store.transaction(async (tx) => {
      // Whoever changed one meanwhile reckoned it anew.
      for (const row of next) await schedules.write(tx, row);
    });
    return next.length > 0;
  };
}
