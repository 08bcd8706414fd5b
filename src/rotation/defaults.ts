import type { Caller } from '../access/caller.ts';
import type { Operations } from '../access/operations.ts';
import type { Purpose } from '../crypto/suites.ts';
import type { Jobs } from '../jobs/jobs.ts';
import { conflict } from '../keys/change.ts';
import type { RotationDefaultRow } from '../store/rotation-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import { isUniqueViolation } from '../store/store.ts';
import { followDefault } from './follow-default.ts';
import { checkPolicy, type RotationPolicy } from './policy.ts';
import { createSchedules } from './schedules.ts';
import type { SharedClock } from './shared-clock.ts';

export interface DefaultView {
  /** Null: keys get no policy. */
  readonly policy: RotationPolicy | null;
  readonly purposes: readonly string[];
  /** Absent: nobody has set it, it is the service's. Milliseconds. */
  readonly updatedAt?: number;
  /** The job that brings it to existing keys. */
  readonly jobId?: string;
}

export interface DefaultRequest {
  readonly policy: RotationPolicy | null;
  readonly purposes: readonly Purpose[];
  /** Brings it to keys that are there and have no policy of their own, by a job. */
  readonly existingKeys: boolean;
}

/** What the keys of the caller's namespace get. */
export interface RotationDefaults {
  get(caller: Caller): Promise<DefaultView>;
  /** @throws request/invalid, key/conflict */
  set(caller: Caller, request: DefaultRequest): Promise<DefaultView>;
}

export function createRotationDefaults({
  store,
  rows,
  clock,
  operations,
  jobs,
  minimumSeconds,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: SharedClock;
  operations: Operations;
  jobs: Jobs;
  minimumSeconds: number;
}): RotationDefaults {
  const schedules = createSchedules({ store, rows });

  async function write(
    tx: StoreTransaction,
    row: RotationDefaultRow | undefined,
    next: RotationDefaultRow,
  ): Promise<void> {
    if (row) {
      const { numUpdatedRows } = await tx
        .updateTable('rotation_defaults')
        .set(next)
        .where('namespace_id', '=', row.namespace_id)
        .where('revision', '=', row.revision)
        .executeTakeFirst();
      if (numUpdatedRows !== 1n) throw conflict();
      return;
    }
    try {
      await tx.insertInto('rotation_defaults').values(next).execute();
    } catch (error) {
      throw isUniqueViolation(error) ? conflict() : error;
    }
  }

  return {
    get: (caller) =>
      operations.run(caller, 'rotation.describe-default', { kind: 'namespace' }, async () => {
        const { policy, purposes, row } = await schedules.defaultOf(caller.principal.namespaceId);
        return { policy, purposes, ...(row && { updatedAt: row.updated_at }) };
      }),

    set: (caller, { policy, purposes, existingKeys }) =>
      operations.run(caller, 'rotation.set-default', { kind: 'namespace' }, async (operation) => {
        const { namespaceId } = caller.principal;
        const now = await clock.now();
        if (policy) checkPolicy(policy, { minimumSeconds, now });
        operation.target({ kind: 'namespace', id: namespaceId });
        const { row } = await schedules.defaultOf(namespaceId);
        const next = await rows.seal('rotation_defaults', {
          ...{ namespace_id: namespaceId, policy: policy && JSON.stringify(policy) },
          ...{ purposes: JSON.stringify(purposes), updated_at: now, revision: (row?.revision ?? 0) + 1 },
        });
        const view = { policy, purposes, updatedAt: now };
        if (!existingKeys)
          return await operation.change(async (tx) => {
            await write(tx, row, next);
            return view;
          });
        const request = { kind: followDefault, input: {}, pieces: [null] };
        const job = await jobs.enqueue(caller, operation, request, (tx) => write(tx, row, next));
        return { ...view, jobId: job.id };
      }),
  };
}
