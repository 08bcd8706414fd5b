import { randomUUID } from 'node:crypto';
import { type Kysely, sql } from 'kysely';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { serviceNamespaceId } from '../core/ids.ts';
import type { LeaseRow, Schema } from '../store/schema.ts';
import { isUniqueViolation, type Store, type StoreTransaction } from '../store/store.ts';
import { createObserver } from './observer.ts';

/** A name that one holder has at a time, in all processes. */
export interface Lease {
  readonly name: string;
  /** Grows by one with each claim: of two who think they hold it, the one with the higher is right. */
  readonly fence: number;
}

/**
 * Work that one process at a time does. A lease alone promises nothing: its holder may be stopped for longer than
 * the lease and go on afterwards. What makes it safe is `fenced`, in the transaction of whatever the work changes.
 */
export interface Leases {
  /**
   * Takes the lease if nobody has it, or if nobody renewed it for its length while this process watched. Watching
   * begins with the first call that is refused: who waits for a lease asks again and again.
   * @param name of 1 to 200 characters, from the code: rows of old names stay
   * @param milliseconds how long it lasts without a renewal
   */
  claim(name: string, milliseconds?: number): Promise<Lease | undefined>;
  /** @throws lease/lost */
  renew(lease: Lease): Promise<void>;
  /** Lets others have it at once; does nothing when somebody has. */
  release(lease: Lease): Promise<void>;
  /**
   * Makes the transaction take effect only while the lease is held; it counts as a renewal. Call it first.
   * @throws lease/lost
   */
  fenced(tx: StoreTransaction, lease: Lease): Promise<void>;
  /**
   * Claims, works and releases; renews meanwhile. @returns undefined when somebody else has the lease
   * @param work its signal is aborted with `lease/lost` when the lease was lost, or could not be renewed in time
   */
  during<T>(
    name: string,
    work: (lease: Lease, signal: AbortSignal) => Promise<T>,
    milliseconds?: number,
  ): Promise<{ readonly answer: T } | undefined>;
}

export const leaseMilliseconds = 15_000;

export function leaseLost(): ServiceError {
  return new ServiceError('lease/lost', 'Another process does this work now, or it was cancelled.');
}

export function createLeases({ store, clock }: { store: Store; clock: Clock }): Leases {
  const holder = randomUUID();
  const observer = createObserver(clock);

  async function claim(name: string, milliseconds = leaseMilliseconds): Promise<Lease | undefined> {
    const askedAt = clock.monotonic();
    const row = await store.db.selectFrom('leases').selectAll().where('name', '=', name).executeTakeFirst();
    if (!row) return await insert(name, milliseconds);
    const quiet = observer.quietMilliseconds(name, `${row.fence}.${row.beat}`, askedAt);
    if (row.holder !== null && quiet < row.quiet_milliseconds) return undefined;
    const fence = row.fence + 1;
    const { numUpdatedRows } = await store.db
      .updateTable('leases')
      .set({ holder, fence, beat: row.beat + 1, quiet_milliseconds: milliseconds })
      .where('name', '=', name)
      .where('fence', '=', row.fence)
      .where('beat', '=', row.beat)
      .executeTakeFirst();
    return numUpdatedRows === 1n ? { name, fence } : undefined;
  }

  async function insert(name: string, milliseconds: number): Promise<Lease | undefined> {
    const row: LeaseRow = {
      ...{ name, namespace_id: serviceNamespaceId, holder, fence: 1, beat: 0 },
      quiet_milliseconds: milliseconds,
    };
    try {
      await store.db.insertInto('leases').values(row).execute();
    } catch (error) {
      if (isUniqueViolation(error)) return undefined;
      throw error;
    }
    return { name, fence: 1 };
  }

  /** Changes the row, and so holds it against a claim that is under way. */
  async function beat(db: Kysely<Schema>, { name, fence }: Lease, change: Partial<LeaseRow> = {}) {
    const { numUpdatedRows } = await db
      .updateTable('leases')
      .set({ beat: sql<number>`beat + 1`, ...change })
      .where('name', '=', name)
      .where('fence', '=', fence)
      .where('holder', '=', holder)
      .executeTakeFirst();
    return numUpdatedRows === 1n;
  }

  async function renew(lease: Lease): Promise<void> {
    if (!(await beat(store.db, lease))) throw leaseLost();
  }

  async function release(lease: Lease): Promise<void> {
    await beat(store.db, lease, { holder: null });
  }

  return {
    claim,
    renew,
    release,
    async fenced(tx, lease) {
      if (!(await beat(tx, lease))) throw leaseLost();
    },
    async during(name, work, milliseconds = leaseMilliseconds) {
      const claimedAt = clock.monotonic();
      const lease = await claim(name, milliseconds);
      if (!lease) return undefined;
      const keeper = keepAlive({ clock, milliseconds, claimedAt, renew: () => renew(lease) });
      try {
        return { answer: await work(lease, keeper.signal) };
      } finally {
        keeper.end();
        // What cannot be released ends by itself.
        await release(lease).catch(() => undefined);
      }
    },
  };
}

export interface Keeper {
  /** Aborted with `lease/lost`. */
  readonly signal: AbortSignal;
  end(): void;
}

/**
 * Renews five times a lease's length. Others may have it once it was not renewed for that long: by this process's
 * own clock it is lost then, whether the database can be asked or not.
 */
export function keepAlive({
  clock,
  milliseconds,
  claimedAt,
  renew,
}: {
  clock: Clock;
  milliseconds: number;
  /** `monotonic()` before the claim. */
  claimedAt: number;
  /** @throws lease/lost */
  renew: () => Promise<void>;
}): Keeper {
  const controller = new AbortController();
  let renewedAt = claimedAt;
  let renewing = false;
  const timer = setInterval(
    () => {
      if (clock.monotonic() - renewedAt >= milliseconds) return end(leaseLost());
      if (renewing) return;
      renewing = true;
      const askedAt = clock.monotonic();
      renew()
        .then(
          () => {
            renewedAt = askedAt;
          },
          (error: unknown) => {
            if (error instanceof ServiceError && error.code === 'lease/lost') end(error);
          },
        )
        .finally(() => {
          renewing = false;
        });
    },
    Math.ceil(milliseconds / 5),
  ).unref();

  function end(reason?: ServiceError): void {
    clearInterval(timer);
    if (reason) controller.abort(reason);
  }

  return { signal: controller.signal, end: () => end() };
}
