import type { Operation } from '../access/operations.ts';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { Emit } from '../events/events.ts';
import type { Hsm } from '../hsm/hsm.ts';
import { changedVersion, conflict, writeVersion } from '../keys/change.ts';
import { type Key, targetOf } from '../keys/key.ts';
import { requireAllowed } from '../keys/transitions.ts';
import type { DestructionRow } from '../store/lifecycle-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { KeyRow, KeyVersionRow } from '../store/schema.ts';
import type { StoreTransaction } from '../store/store.ts';
import { type Dependence, type FindDependence, inUse } from './dependence.ts';
import { endedDestruction, type Reader, writeDestruction } from './rows.ts';
import { toldOf } from './told.ts';

/** A version whose destruction is asked for. */
export interface Candidate extends Dependence {
  readonly row: KeyVersionRow;
  /** Why it is refused; undefined where it is not. */
  readonly refusal: ServiceError | undefined;
}

export interface Wish {
  /** Absent: every version that is neither destroyed nor scheduled. */
  readonly versions?: readonly number[] | undefined;
  /** Why it is done without full coverage. */
  readonly reason?: string | undefined;
  readonly windowSeconds: number;
  readonly requestedBy: string;
  /** Commits with it. */
  readonly also?: ((tx: StoreTransaction) => Promise<void>) | undefined;
}

export interface RestoredVersions {
  readonly keyId: string;
  readonly versions: readonly number[];
}

/** Schedules destructions and takes them back, inside an operation on a key. */
export interface Scheduling {
  candidates(key: Key, wish: Pick<Wish, 'versions' | 'reason'>): Promise<Candidate[]>;
  /**
   * @param candidates without a refusal
   * @param answer plain JSON, of when they are destroyed
   * @throws key/conflict
   */
  schedule<Answer>(
    operation: Operation,
    key: Key,
    candidates: readonly Candidate[],
    wish: Wish,
    answer: (destroyAt: number) => Answer,
  ): Promise<Answer>;
  /** @throws key/not-found, key/version-state, key/conflict */
  restore(operation: Operation, key: Key, ordinals?: readonly number[]): Promise<RestoredVersions>;
}

export function createScheduling({
  reader,
  rows,
  clock,
  hsm,
  findDependence,
  emit,
}: {
  reader: Reader;
  rows: RowAuthenticator;
  clock: Clock;
  hsm: Hsm;
  findDependence: FindDependence;
  emit: Emit;
}): Scheduling {
  async function prepare(
    { row, coverage, effect }: Candidate,
    { reason, windowSeconds, requestedBy }: Wish,
    now: number,
  ) {
    const next = await changedVersion(rows, row, { state: 'destroy-scheduled' });
    const destruction = await rows.seal('version_destructions', {
      ...{ id: newId(), namespace_id: row.namespace_id, key_id: row.key_id, version_id: row.id },
      ...{ ordinal: row.ordinal, state: 'scheduled' as const, previous_state: row.state },
      coverage: coverage === 'unknown' ? null : JSON.stringify(coverage),
      // A reason that was not needed is none: what was covered must still be when the time has come.
      reason: effect === 'nothing' ? null : (reason ?? null),
      ...{ requested_by: requestedBy, scheduled_at: now, destroy_at: now + windowSeconds * 1000 },
      ...{ ended_at: null, record: null, revision: 1 },
    });
    return { row, next, destruction };
  }

  return {
    async candidates(key, { versions, reason }) {
      const keyRow = await reader.key(key);
      const found = await reader.versions(key, versions);
      const over = (row: KeyVersionRow) => row.state === 'destroyed' || row.state === 'destroy-scheduled';
      const chosen = versions ? found : found.filter((row) => !over(row));
      return await Promise.all(
        chosen.map(async (row) => {
          const dependence = await findDependence(keyRow, row);
          return { ...dependence, row, refusal: refusalOf(keyRow, row, dependence, reason) };
        }),
      );
    },

    async schedule(operation, key, candidates, wish, answer) {
      const now = clock.now();
      const prepared = await Promise.all(candidates.map((candidate) => prepare(candidate, wish, now)));
      const ids = prepared.map(({ row }) => row.id);
      // That the current version goes rests on the key's state, which somebody may be changing.
      const held = ids.includes(key.currentVersionId) ? await heldKey(reader, rows, key) : undefined;
      nameVersions(
        operation,
        key,
        prepared.map(({ row }) => row.ordinal),
      );
      const destroyAt = now + wish.windowSeconds * 1000;
      const answered = await operation.change(
        async (tx) => {
          await wish.also?.(tx);
          await held?.(tx);
          for (const { row, next, destruction } of prepared) {
            await writeVersion(tx, row, next);
            await tx.insertInto('version_destructions').values(destruction).execute();
          }
          const forced = (reason: string | null) => ({ destroyAt, forced: reason !== null });
          await emit(
            tx,
            prepared.map(({ row, destruction }) =>
              toldOf('destruction.scheduled', row, now, forced(destruction.reason)),
            ),
          );
          return answer(destroyAt);
        },
        { touches: ids },
      );
      await Promise.all(ids.map((id) => hsm.evict(id)));
      return answered;
    },

    async restore(operation, key, ordinals) {
      const destructions = await reader.scheduled(key, ordinals);
      if (!ordinals && destructions.length === 0) throw nothingScheduled();
      const versions = await reader.versions(key, ordinals ?? destructions.map(({ ordinal }) => ordinal));
      const prepared = await Promise.all(
        versions.map(async (row) => {
          const destruction = destructions.find((each) => each.version_id === row.id);
          const state = (destruction?.previous_state ?? 'enabled') as KeyVersionRow['state'];
          requireAllowed('restore', row.state, state);
          if (!destruction) throw conflict();
          const next = await changedVersion(rows, row, { state });
          return { row, next, destruction, ended: await restored(rows, destruction, clock.now()) };
        }),
      );
      const restoredOrdinals = prepared.map(({ row }) => row.ordinal);
      nameVersions(operation, key, restoredOrdinals);
      return await operation.change(
        async (tx) => {
          for (const { row, next, destruction, ended } of prepared) {
            await writeVersion(tx, row, next);
            await writeDestruction(tx, destruction, ended);
          }
          const now = clock.now();
          await emit(
            tx,
            prepared.map(({ row, next }) => toldOf('destruction.cancelled', row, now, { state: next.state })),
          );
          return { keyId: key.id, versions: restoredOrdinals };
        },
        { touches: prepared.map(({ row }) => row.id) },
      );
    },
  };
}

function nothingScheduled(): ServiceError {
  return new ServiceError('key/version-state', 'No version of this key is scheduled for destruction.');
}

export function restored(rows: RowAuthenticator, row: DestructionRow, now: number): Promise<DestructionRow> {
  return endedDestruction(rows, row, { state: 'restored', ended_at: now, record: null });
}

function refusalOf(
  key: KeyRow,
  row: KeyVersionRow,
  dependence: Dependence,
  reason: string | undefined,
): ServiceError | undefined {
  try {
    requireAllowed('schedule', row.state, 'destroy-scheduled');
  } catch (error) {
    return error as ServiceError;
  }
  if (row.id === key.current_version_id && key.state === 'enabled') {
    return new ServiceError(
      'key/version-state',
      `Version ${row.ordinal} is what the key makes everything with: rotate the key first, or disable it.`,
    );
  }
  return reason === undefined ? inUse(row.ordinal, dependence) : undefined;
}

/** The record names each version. */
function nameVersions(operation: Operation, key: Key, ordinals: readonly number[]): void {
  const [first, ...others] = ordinals;
  operation.target({ ...targetOf(key), ...(first !== undefined && { version: first }) });
  if (others.length === 0) return;
  operation.items(
    ordinals.map((version) => ({
      action: 'keys.version',
      target: { ...targetOf(key), version },
      outcome: 'allowed' as const,
    })),
  );
}

/** Changes nothing of the key but its revision: a change that came between is noticed. */
async function heldKey(reader: Reader, rows: RowAuthenticator, key: Key) {
  const row = await reader.key(key);
  const { mac: _, ...current } = row;
  const next = await rows.seal('keys', { ...current, revision: row.revision + 1 });
  if (row.state === 'enabled') throw conflict();
  return async (tx: StoreTransaction) => {
    const { numUpdatedRows } = await tx
      .updateTable('keys')
      .set({ revision: next.revision, mac: next.mac })
      .where('id', '=', row.id)
      .where('revision', '=', row.revision)
      .executeTakeFirst();
    if (numUpdatedRows !== 1n) throw conflict();
  };
}
