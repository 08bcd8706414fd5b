import type { Clock } from '../core/clock.ts';
import { conflict } from '../keys/change.ts';
import type { Rotated, RotationHooks } from '../keys/rotated.ts';
import type { RotationRow } from '../store/rotation-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store } from '../store/store.ts';
import { dueAfterOther, firstDue } from './due.ts';
import type { OnRotation } from './events.ts';
import { readPolicy } from './policy.ts';
import { createSchedules, defaultFor, rotateAfterOf } from './schedules.ts';
import { createSharedClock } from './shared-clock.ts';

/** New keys get their namespace's policy; new versions go into the history and move the date of the next. */
export function createRotationHooks({
  store,
  rows,
  clock: own,
  onRotation,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: Clock;
  onRotation?: OnRotation | undefined;
}): RotationHooks {
  const schedules = createSchedules({ store, rows });
  const clock = createSharedClock({ store, clock: own });

  return {
    async created({ id, namespaceId, purpose, external }) {
      const policy = defaultFor(await schedules.defaultOf(namespaceId), { purpose, external });
      if (!policy) return { rotateAfter: null, insert: async () => undefined };
      const now = await clock.now();
      const row = await schedules.make({
        ...{ keyId: id, namespaceId, source: 'namespace', policy, paused: false, now },
        due: firstDue(policy, { keyId: id, now, since: now }),
      });
      const after = rotateAfterOf(policy);
      return {
        rotateAfter: after && JSON.stringify(after),
        insert: async (tx) => void (await tx.insertInto('rotation_schedules').values(row).execute()),
      };
    },

    async rotated(rotated) {
      const { keyId } = rotated;
      const now = await clock.now();
      const history = await sealHistory(rows, rotated, null);
      // One that was altered stays as it is: it must not keep anybody from a new version.
      const { row } = await schedules.look(keyId);
      const due =
        row?.paused === 0
          ? dueAfterOther(readPolicy(row.policy), { keyId, now })
          : { dueAt: null, actAt: null };
      const next =
        row &&
        (await schedules.change(row, {
          ...{ due_at: due.dueAt, act_at: due.actAt, reckoned_at: now, failures: 0, error_code: null },
        }));
      return async (tx) => {
        await tx.insertInto('rotations').values(history).execute();
        if (next && !(await schedules.write(tx, next))) throw conflict();
        await onRotation?.(tx, [doneEvent(rotated, null)]);
      };
    },
  };
}

export function sealHistory(
  rows: RowAuthenticator,
  { keyId, namespaceId, cause, from, to, by, at }: Rotated,
  dueAt: number | null,
): Promise<RotationRow> {
  return rows.seal('rotations', {
    ...{ namespace_id: namespaceId, key_id: keyId, to_ordinal: to.ordinal, to_version_id: to.id },
    ...{ from_ordinal: from.ordinal, from_version_id: from.id, cause, due_at: dueAt },
    ...{ by_kind: by.kind, by_id: by.id, by_name: by.name, rotated_at: at },
  });
}

export function doneEvent(
  { keyId, namespaceId, cause, from, to, at }: Rotated,
  dueAt: number | null,
): Parameters<OnRotation>[1][number] {
  return {
    ...{ type: 'rotation.done', namespaceId, keyId, at, cause },
    ...{ fromVersion: from.ordinal, toVersion: to.ordinal, ...(dueAt !== null && { dueAt }) },
  };
}
