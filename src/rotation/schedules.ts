import type { CompiledQuery } from 'kysely';
import { isServiceError } from '../core/errors.ts';
import type { RotateAfter } from '../keys/rotated.ts';
import type { RotationDefaultRow, RotationScheduleRow } from '../store/rotation-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import type { Due } from './due.ts';
import { defaultPolicy, defaultPurposes, type RotationPolicy, readPolicy } from './policy.ts';

/** One process at a time works on a shard: as many can work at once. */
export const rotationShards = 16;

/** Ids end in random bits. */
function shardOf(keyId: string): number {
  return Number.parseInt(keyId.slice(-1), 16) % rotationShards;
}

export interface NamespaceDefault {
  /** Null: no rotation. */
  readonly policy: RotationPolicy | null;
  readonly purposes: readonly string[];
  /** Undefined: nobody has set one. */
  readonly row: RotationDefaultRow | undefined;
}

export interface NewSchedule {
  readonly keyId: string;
  readonly namespaceId: string;
  readonly source: RotationScheduleRow['source'];
  readonly policy: RotationPolicy;
  readonly paused: boolean;
  readonly due: Due;
  readonly now: number;
}

type ScheduleChange = Partial<
  Pick<
    RotationScheduleRow,
    'source' | 'policy' | 'paused' | 'due_at' | 'act_at' | 'reckoned_at' | 'failures' | 'error_code'
  >
>;

/** The rows of schedules and of what namespaces have for their keys. */
export interface Schedules {
  /** An authenticated row; `altered`: there is one, and it is not, or has a policy of newer software. */
  look(keyId: string): Promise<{ readonly row: RotationScheduleRow | undefined; readonly altered: boolean }>;
  make(schedule: NewSchedule): Promise<RotationScheduleRow>;
  change(row: RotationScheduleRow, change: ScheduleChange): Promise<RotationScheduleRow>;
  /** Of the revision before: @returns whether nobody else changed it meanwhile */
  write(tx: StoreTransaction, next: RotationScheduleRow): Promise<boolean>;
  /** Authenticated; of the service where the namespace has none. */
  defaultOf(namespaceId: string): Promise<NamespaceDefault>;
}

export function createSchedules({ store, rows }: { store: Store; rows: RowAuthenticator }): Schedules {
  // Compiled once: of every rotation there is one.
  const update: CompiledQuery = store.db
    .updateTable('rotation_schedules')
    .set({ source: 'key', policy: '', paused: 0, due_at: 0, act_at: 0, reckoned_at: 0 })
    .set({ failures: 0, error_code: '', revision: 0, mac: new Uint8Array() })
    .where('key_id', '=', '')
    .where('revision', '=', 0)
    .compile();

  return {
    async look(keyId) {
      const row = await store.db
        .selectFrom('rotation_schedules')
        .selectAll()
        .where('key_id', '=', keyId)
        .executeTakeFirst();
      try {
        if (row) await rows.verify('rotation_schedules', row);
        if (row) readPolicy(row.policy);
        return { row, altered: false };
      } catch (error) {
        if (!isServiceError(error, 'internal')) throw error;
        return { row: undefined, altered: true };
      }
    },

    make: ({ keyId, namespaceId, source, policy, paused, due, now }) =>
      rows.seal('rotation_schedules', {
        ...{ key_id: keyId, namespace_id: namespaceId, source, policy: JSON.stringify(policy) },
        ...{ paused: paused ? 1 : 0, due_at: paused ? null : due.dueAt, act_at: paused ? null : due.actAt },
        ...{ reckoned_at: now, failures: 0, error_code: null, revision: 1, shard: shardOf(keyId) },
      }),

    change({ mac: _, ...row }, change) {
      return rows.seal('rotation_schedules', { ...row, ...change, revision: row.revision + 1 });
    },

    async write(tx, next) {
      const { source, policy, paused, due_at, act_at, reckoned_at } = next;
      const { failures, error_code, revision, mac } = next;
      const values = [source, policy, paused, due_at, act_at, reckoned_at];
      const { numAffectedRows } = await tx.executeQuery({
        ...update,
        parameters: [...values, failures, error_code, revision, mac, next.key_id, revision - 1],
      });
      return numAffectedRows === 1n;
    },

    async defaultOf(namespaceId) {
      const row = await store.db
        .selectFrom('rotation_defaults')
        .selectAll()
        .where('namespace_id', '=', namespaceId)
        .executeTakeFirst();
      if (!row) return { policy: defaultPolicy, purposes: defaultPurposes, row };
      await rows.verify('rotation_defaults', row);
      return {
        policy: row.policy === null ? null : readPolicy(row.policy),
        purposes: JSON.parse(row.purposes) as string[],
        row,
      };
    },
  };
}

/** What the default is for a key; undefined: none. */
export function defaultFor(
  { policy, purposes }: Pick<NamespaceDefault, 'policy' | 'purposes'>,
  key: { readonly purpose: string; readonly external: boolean },
): RotationPolicy | undefined {
  if (policy === null || key.external || !purposes.includes(key.purpose)) return undefined;
  if (key.purpose === 'encrypt' || policy.after === undefined) return policy;
  // Only encryptions are counted.
  const { after: _, ...dated } = policy;
  const hasDate = dated.cron ?? dated.everyDays ?? dated.everySeconds;
  return hasDate === undefined ? undefined : dated;
}

/** What the key's own row says of it. */
export function rotateAfterOf({ after }: RotationPolicy): RotateAfter | null {
  const { encryptions, bytes } = after ?? {};
  if (encryptions === undefined && bytes === undefined) return null;
  return { ...(encryptions !== undefined && { encryptions }), ...(bytes !== undefined && { bytes }) };
}
