import { sql } from 'kysely';
import type { Caller, Principal } from '../access/caller.ts';
import type { Operations } from '../access/operations.ts';
import { isServiceError } from '../core/errors.ts';
import { isId } from '../core/ids.ts';
import { cutPage, invalidCursor, type Page, type PageRequest } from '../core/page.ts';
import { keyFromRow } from '../keys/key.ts';
import { visibleTo } from '../keys/listing.ts';
import type { RotationScheduleRow } from '../store/rotation-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store } from '../store/store.ts';
import { datesAhead } from './due.ts';
import { readPolicy } from './policy.ts';
import type { SharedClock } from './shared-clock.ts';
import { type PolicyView, policyView, unusableView } from './views.ts';

export interface Upcoming extends PolicyView {
  readonly name: string;
  /** Within the days asked for, the first is `nextAt`; at most 31. Milliseconds. */
  readonly dates: readonly number[];
}

export interface RotationStatus {
  /** Keys that the caller may see, with a policy. */
  readonly scheduled: number;
  readonly paused: number;
  readonly overdue: number;
  readonly failing: number;
  /** How long what waits longest is overdue, in milliseconds; 0: nothing is. */
  readonly lagMilliseconds: number;
  readonly nextAt?: number;
  /** Up to 20 each. */
  readonly failingKeys: readonly (PolicyView & { readonly name: string })[];
  readonly pausedKeys: readonly (PolicyView & { readonly name: string })[];
}

/** Rotations of all keys that the caller may see. */
export interface RotationOverview {
  /** By date, what is overdue first. */
  upcoming(caller: Caller, request: PageRequest & { readonly days: number }): Promise<Page<Upcoming>>;
  status(caller: Caller): Promise<RotationStatus>;
}

const dayMilliseconds = 86_400_000;
const listedDates = 31;
const listedKeys = 20;

export function createRotationOverview({
  store,
  rows,
  clock,
  operations,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: SharedClock;
  operations: Operations;
}): RotationOverview {
  const visible = (principal: Principal) =>
    store.db
      .selectFrom('rotation_schedules')
      .where('rotation_schedules.namespace_id', '=', principal.namespaceId)
      .$if(principal.keyPatterns !== undefined, (query) =>
        query.where('key_id', 'in', (build) =>
          build
            .selectFrom('keys')
            .select('id')
            .where('namespace_id', '=', principal.namespaceId)
            .where(visibleTo(principal)),
        ),
      );

  /** With their keys; of rows that cannot be authenticated nothing but that is told. */
  async function viewed(found: readonly RotationScheduleRow[]) {
    if (found.length === 0) return [];
    const ids = found.map((row) => row.key_id);
    const keys = await store.db.selectFrom('keys').selectAll().where('id', 'in', ids).execute();
    const byId = new Map(keys.map((row) => [row.id, row]));
    const views = found.map(async (row) => {
      const key = byId.get(row.key_id);
      if (!key) return [];
      try {
        await Promise.all([rows.verify('rotation_schedules', row), rows.verify('keys', key)]);
        return [{ row, view: { ...policyView(keyFromRow(key), row), name: key.name } }];
      } catch (error) {
        if (!isServiceError(error, 'internal')) throw error;
        return [{ row: undefined, view: { ...unusableView(row.key_id), name: row.key_id } }];
      }
    });
    return (await Promise.all(views)).flat();
  }

  async function some(
    principal: Principal,
    column: 'failures' | 'paused',
  ): Promise<(PolicyView & { name: string })[]> {
    const found = await visible(principal)
      .selectAll('rotation_schedules')
      .where(column, '>', 0)
      .orderBy('key_id')
      .limit(listedKeys)
      .execute();
    return (await viewed(found)).map(({ view }) => view);
  }

  return {
    upcoming: (caller, { limit, cursor, days }) =>
      operations.run(caller, 'rotation.list', { kind: 'key' }, async () => {
        const until = (await clock.now()) + days * dayMilliseconds;
        const after = placeOf(cursor);
        const found = await visible(caller.principal)
          .selectAll('rotation_schedules')
          .where('act_at', '<=', until)
          .$if(after !== undefined, (query) =>
            query.where(sql<boolean>`(act_at, key_id) > (${after?.at ?? 0}, ${after?.keyId ?? ''})`),
          )
          .orderBy('act_at')
          .orderBy('key_id')
          .limit(limit + 1)
          .execute();
        const { rows: page, next } = cutPage(found, limit, (row) => `${row.act_at}.${row.key_id}`);
        const items = (await viewed(page)).map(({ row, view }) => ({
          ...view,
          dates: row ? datesOf(row, until) : [],
        }));
        return { items, ...next };
      }),

    status: (caller) =>
      operations.run(caller, 'rotation.list', { kind: 'key' }, async () => {
        const { principal } = caller;
        const now = await clock.now();
        const counts = await visible(principal)
          .select(({ fn, eb }) => {
            const countOf = (condition: ReturnType<typeof eb>) =>
              fn.sum(eb.case().when(condition).then(1).else(0).end());
            return [
              fn.countAll().as('scheduled'),
              countOf(eb('paused', '=', 1)).as('paused'),
              countOf(eb('act_at', '<=', now)).as('overdue'),
              countOf(eb('failures', '>', 0)).as('failing'),
              fn.min('act_at').as('next_at'),
            ];
          })
          .executeTakeFirstOrThrow();
        const nextAt = counts.next_at === null ? undefined : Number(counts.next_at);
        return {
          ...{ scheduled: Number(counts.scheduled), paused: Number(counts.paused) },
          ...{ overdue: Number(counts.overdue), failing: Number(counts.failing) },
          lagMilliseconds: nextAt === undefined ? 0 : Math.max(0, now - nextAt),
          ...(nextAt !== undefined && { nextAt }),
          failingKeys: await some(principal, 'failures'),
          pausedKeys: await some(principal, 'paused'),
        };
      }),
  };
}

function datesOf(row: RotationScheduleRow, until: number): number[] {
  const due = { dueAt: row.due_at, actAt: row.act_at };
  return datesAhead(readPolicy(row.policy), { keyId: row.key_id, due, until, limit: listedDates });
}

function placeOf(cursor: string | undefined): { at: number; keyId: string } | undefined {
  if (cursor === undefined) return undefined;
  const match = /^(\d{1,16})\.(.+)$/.exec(cursor);
  const keyId = match?.[2] ?? '';
  if (!isId(keyId)) throw invalidCursor();
  return { at: Number(match?.[1]), keyId };
}
