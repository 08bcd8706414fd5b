import { z } from 'zod';
import type { Operations } from '../access/operations.ts';
import { isServiceError } from '../core/errors.ts';
import { type AnyKind, type ChunkContext, defineKind } from '../jobs/kinds.ts';
import { conflict } from '../keys/change.ts';
import type { Keys } from '../keys/keys.ts';
import type { RotationScheduleRow } from '../store/rotation-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { KeyRow } from '../store/schema.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import { firstDue } from './due.ts';
import { readPolicy } from './policy.ts';
import { createSchedules, defaultFor, type NamespaceDefault, rotateAfterOf } from './schedules.ts';
import type { SharedClock } from './shared-clock.ts';

export const followDefault = 'rotation.follow-default';

const pageKeys = 128;
const place = z.strictObject({ after: z.string(), changed: z.int(), unusable: z.int() });
/** How far it is: the last key, and how many were changed or could not be used. */
type Place = z.infer<typeof place>;

/** What becomes of a key's schedule. */
interface Following {
  readonly key: KeyRow;
  readonly row: RotationScheduleRow | undefined;
  readonly next: RotationScheduleRow | undefined;
}

/** Brings a namespace's default to its keys that have no policy of their own: 128 in a transaction, with its record. */
export function followDefaultKind({
  store,
  rows,
  clock,
  operations,
  keys,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: SharedClock;
  operations: Operations;
  keys: Keys;
}): AnyKind {
  const schedules = createSchedules({ store, rows });

  async function page(namespaceId: string, after: string): Promise<KeyRow[]> {
    return await store.db
      .selectFrom('keys')
      .selectAll()
      .where('namespace_id', '=', namespaceId)
      .where('id', '>', after)
      .orderBy('id')
      .limit(pageKeys)
      .execute();
  }

  /** Rows that cannot be authenticated are left as they are: one must not keep the others from their policy. */
  async function authentic(found: readonly KeyRow[]) {
    const ids = found.map(({ id }) => id);
    const own = await store.db
      .selectFrom('rotation_schedules')
      .selectAll()
      .where('key_id', 'in', ids)
      .execute();
    const schedule = new Map(own.map((row) => [row.key_id, row]));
    const usable: KeyRow[] = [];
    await Promise.all(
      found.map(async (key) => {
        try {
          await rows.verify('keys', key);
          const row = schedule.get(key.id);
          if (row) await rows.verify('rotation_schedules', row);
          usable.push(key);
        } catch (error) {
          if (!isServiceError(error, 'internal')) throw error;
        }
      }),
    );
    return { usable, schedule };
  }

  async function follow(key: KeyRow, row: RotationScheduleRow | undefined, namespace: NamespaceDefault) {
    const now = await clock.now();
    const policy = defaultFor(namespace, { purpose: key.purpose, external: key.origin === 'external' });
    if (!policy) return { key, row, next: undefined };
    const text = JSON.stringify(policy);
    if (row?.policy === text) return { key, row, next: row };
    const version = await store.db
      .selectFrom('key_versions')
      .select('created_at')
      .where('id', '=', key.current_version_id)
      .executeTakeFirst();
    const due = firstDue(policy, { keyId: key.id, now, since: version?.created_at ?? now });
    const { id: keyId, namespace_id: namespaceId } = key;
    if (!row)
      return {
        ...{ key, row },
        next: await schedules.make({
          ...{ keyId, namespaceId, source: 'namespace', policy, paused: false, due, now },
        }),
      };
    const paused = row.paused === 1;
    const next = await schedules.change(row, {
      ...{ policy: text, due_at: paused ? null : due.dueAt, act_at: paused ? null : due.actAt },
      ...{ reckoned_at: now, failures: 0, error_code: null },
    });
    return { key, row, next };
  }

  async function write(tx: StoreTransaction, following: readonly Following[]): Promise<void> {
    for (const { key, row, next } of following) {
      if (next === row) continue;
      if (next && row && !(await schedules.write(tx, next))) throw conflict();
      if (next && !row) await tx.insertInto('rotation_schedules').values(next).execute();
      if (!next) await tx.deleteFrom('rotation_schedules').where('key_id', '=', key.id).execute();
    }
  }

  async function commitPage(context: ChunkContext, namespaceId: string, found: readonly KeyRow[], at: Place) {
    const { usable, schedule } = await authentic(found);
    const namespace = await schedules.defaultOf(namespaceId);
    const theirs = usable.filter((key) => schedule.get(key.id)?.source !== 'key');
    const following = await Promise.all(theirs.map((key) => follow(key, schedule.get(key.id), namespace)));
    const byKey = new Map(following.map((each) => [each.key.id, each.next]));
    const writeAfter = await keys.many.prepareAfter(theirs, (key) => {
      const next = byKey.get(key.id);
      return next && next.paused === 0 ? rotateAfterOf(readPolicy(next.policy)) : null;
    });
    const next: Place = {
      after: found.at(-1)?.id ?? at.after,
      changed: at.changed + following.filter(({ row, next: to }) => to !== row).length,
      unusable: at.unusable + found.length - usable.length,
    };
    const step = { cursor: JSON.stringify(next), done: next.changed };
    const target = { kind: 'namespace', id: namespaceId } as const;
    await operations.run(context.caller, 'rotation.set-default', target, (operation) => {
      const touches = theirs.map(({ id }) => id);
      return context.commit(
        step,
        async (tx) => {
          await write(tx, following);
          if (!(await writeAfter(tx))) throw conflict();
        },
        { change: (work) => operation.change(work, { touches }) },
      );
    });
    return next;
  }

  return defineKind({
    kind: followDefault,
    input: z.strictObject({}),
    piece: z.null(),
    scopes: ['keys:admin'],

    async run({ namespaceId, cursor }, context) {
      let at: Place =
        cursor === undefined ? { after: '', changed: 0, unusable: 0 } : place.parse(JSON.parse(cursor));
      for (;;) {
        context.signal.throwIfAborted();
        const found = await page(namespaceId, at.after);
        if (found.length === 0) return { keys: at.changed, unusable: at.unusable };
        at = await commitPage(context, namespaceId, found, at);
      }
    },
  });
}
