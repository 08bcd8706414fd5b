import type { Caller } from '../access/caller.ts';
import type { Operation } from '../access/operations.ts';
import { ServiceError } from '../core/errors.ts';
import { cutPage, invalidCursor, type Page, type PageRequest } from '../core/page.ts';
import { conflict } from '../keys/change.ts';
import type { Key } from '../keys/key.ts';
import type { Keys } from '../keys/keys.ts';
import type { RotationScheduleRow } from '../store/rotation-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import { type Due, datesAhead, firstDue } from './due.ts';
import { checkPolicy, type RotationPolicy, readPolicy } from './policy.ts';
import { createSchedules, defaultFor, rotateAfterOf } from './schedules.ts';
import type { SharedClock } from './shared-clock.ts';
import { type PolicyView, policyView, type RotationView, rotationView, unusableView } from './views.ts';

export interface PolicyChange {
  /** Null: the namespace's default, or none. */
  readonly policy?: RotationPolicy | null | undefined;
  readonly paused?: boolean | undefined;
}

export interface RotationPlan {
  readonly keyId: string;
  /** Milliseconds. */
  readonly dates: readonly number[];
  /** More dates follow within the days asked for. */
  readonly more: boolean;
}

/** Policies and the history of single keys. `key` is a name or an id. */
export interface Rotation {
  policy(caller: Caller, key: string): Promise<PolicyView>;
  /** @throws key/external, request/invalid with what to do instead, key/conflict */
  setPolicy(caller: Caller, key: string, change: PolicyChange): Promise<PolicyView>;
  /** The dates to come, of the key's policy or of another one, which is not set by that. */
  plan(
    caller: Caller,
    key: string,
    request: { readonly policy?: RotationPolicy | undefined; readonly days: number },
  ): Promise<RotationPlan>;
  /** Newest first. */
  history(caller: Caller, key: string, page: PageRequest): Promise<Page<RotationView>>;
}

const dayMilliseconds = 86_400_000;
const planDates = 400;

export function createRotation({
  store,
  rows,
  clock,
  keys,
  minimumSeconds,
  onScheduled,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: SharedClock;
  keys: Keys;
  /** The shortest period allowed. */
  minimumSeconds: number;
  /** There may be something due earlier than the scheduler knows. */
  onScheduled: () => void;
}): Rotation {
  const schedules = createSchedules({ store, rows });

  /** When the key's current version was made. */
  async function versionMadeAt(key: Key): Promise<number> {
    const row = await store.db
      .selectFrom('key_versions')
      .selectAll()
      .where('id', '=', key.currentVersionId)
      .executeTakeFirst();
    if (!row) return await clock.now();
    await rows.verify('key_versions', row);
    return row.created_at;
  }

  async function dueOf(key: Key, policy: RotationPolicy, now: number): Promise<Due> {
    return firstDue(policy, { keyId: key.id, now, since: await versionMadeAt(key) });
  }

  /** What a change makes of a schedule: undefined where there is none then. */
  async function changed(
    key: Key,
    row: RotationScheduleRow | undefined,
    { policy: asked, paused = row?.paused === 1 }: PolicyChange,
  ): Promise<RotationScheduleRow | undefined> {
    const now = await clock.now();
    const resumed = row?.paused === 1 && !paused;
    if (asked === undefined && !row) return undefined;
    const unchanged = asked === undefined && row !== undefined;
    const policy = unchanged ? readPolicy(row.policy) : await wanted(key, asked);
    if (!policy) return undefined;
    const source = unchanged ? row.source : asked ? 'key' : 'namespace';
    if (row && unchanged && !resumed) {
      const dates = paused ? { due_at: null, act_at: null } : {};
      return await schedules.change(row, { paused: paused ? 1 : 0, ...dates, reckoned_at: now });
    }
    const due = paused ? { dueAt: null, actAt: null } : await dueOf(key, policy, now);
    if (!row)
      return await schedules.make({
        ...{ keyId: key.id, namespaceId: key.namespaceId, source, policy, paused, due, now },
      });
    return await schedules.change(row, {
      ...{ source, policy: JSON.stringify(policy), paused: paused ? 1 : 0, due_at: due.dueAt },
      ...{ act_at: due.actAt, reckoned_at: now, failures: 0, error_code: null },
    });
  }

  async function wanted(key: Key, asked: RotationPolicy | null | undefined) {
    if (asked) return asked;
    const { purpose } = key.suite;
    return defaultFor(await schedules.defaultOf(key.namespaceId), { purpose, external: key.external });
  }

  async function write(
    tx: StoreTransaction,
    key: Key,
    row: RotationScheduleRow | undefined,
    next: RotationScheduleRow | undefined,
    altered: boolean,
  ): Promise<undefined> {
    if (next && row && !(await schedules.write(tx, next))) throw conflict();
    if (altered) await tx.deleteFrom('rotation_schedules').where('key_id', '=', key.id).execute();
    if (next && !row) await tx.insertInto('rotation_schedules').values(next).execute();
    if (!next && row)
      await tx
        .deleteFrom('rotation_schedules')
        .where('key_id', '=', key.id)
        .where('revision', '=', row.revision)
        .execute();
  }

  async function set(operation: Operation, key: Key, change: PolicyChange): Promise<PolicyView> {
    if (key.external)
      throw new ServiceError('key/external', 'The versions of this key are imported: import the next one.');
    if (change.policy)
      checkPolicy(change.policy, { minimumSeconds, now: await clock.now(), purpose: key.suite.purpose });
    const { row, altered } = await schedules.look(key.id);
    // Only what says all of it may take its place.
    if (altered && change.policy === undefined) throw unusable();
    const next = await changed(key, row, change);
    if (!next && !row && change.paused !== undefined)
      throw new ServiceError('request/invalid', 'The request breaks the rules listed in errors.', {
        errors: [{ pointer: '/paused', detail: 'the key has no policy that could be paused: give one' }],
      });
    const after = next && next.paused === 0 ? rotateAfterOf(readPolicy(next.policy)) : null;
    await keys.setRotateAfter(operation, key, after, (tx) => write(tx, key, row, next, altered));
    onScheduled();
    return policyView(key, next);
  }

  return {
    policy: (caller, ref) =>
      keys.use(caller, 'rotation.describe', ref, async (key) => {
        const { row, altered } = await schedules.look(key.id);
        return altered ? unusableView(key.id) : policyView(key, row);
      }),

    setPolicy: (caller, ref, change) =>
      keys.use(caller, 'rotation.set-policy', ref, (key, operation) => set(operation, key, change)),

    plan: (caller, ref, { policy: asked, days }) =>
      keys.use(caller, 'rotation.describe', ref, async (key) => {
        const now = await clock.now();
        if (asked) checkPolicy(asked, { minimumSeconds, now, purpose: key.suite.purpose });
        const { row } = await schedules.look(key.id);
        const policy = asked ?? (row && readPolicy(row.policy));
        if (!policy || key.external) return { keyId: key.id, dates: [], more: false };
        const due = asked || !row ? await dueOf(key, policy, now) : { dueAt: row.due_at, actAt: row.act_at };
        const until = now + days * dayMilliseconds;
        const dates = datesAhead(policy, { keyId: key.id, due, until, limit: planDates + 1 });
        return { keyId: key.id, dates: dates.slice(0, planDates), more: dates.length > planDates };
      }),

    history: (caller, ref, { limit, cursor }) =>
      keys.use(caller, 'rotation.history', ref, async (key) => {
        const before = cursor === undefined ? Number.MAX_SAFE_INTEGER : Number(cursor);
        if (!Number.isSafeInteger(before)) throw invalidCursor();
        const found = await store.db
          .selectFrom('rotations')
          .selectAll()
          .where('key_id', '=', key.id)
          .where('to_ordinal', '<', before)
          .orderBy('to_ordinal', 'desc')
          .limit(limit + 1)
          .execute();
        const { rows: page, next } = cutPage(found, limit, (row) => String(row.to_ordinal));
        await Promise.all(page.map((row) => rows.verify('rotations', row)));
        return { items: page.map(rotationView), ...next };
      }),
  };
}

function unusable(): ServiceError {
  return new ServiceError('internal', 'A stored record failed its authentication.', {
    cause: new Error('the schedule of a key was altered outside the service: set its policy anew'),
  });
}
