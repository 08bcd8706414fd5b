import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newId, serviceNamespaceId } from '../../src/core/ids.ts';
import { type ChangeFeed, keptChanges } from '../../src/store/changes.ts';
import { migrate } from '../../src/store/migrations.ts';
import type { Store } from '../../src/store/store.ts';
import type { StoreUnderTest } from './store.contract.ts';

const change = (...subjects: string[]) => ({ namespaceId: serviceNamespaceId, subjects, at: 1 });

async function heard(feed: ChangeFeed): Promise<{ subjects: string[]; lost: boolean }> {
  const { changes, lost } = await feed.read();
  return { subjects: changes.flatMap(({ subjects }) => subjects), lost };
}

/** What every adapter of store/changes.ts promises. @param open gives an empty database */
export function changesContract(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`changes in ${name}`, () => {
    let under: StoreUnderTest;
    const stores: Store[] = [];
    let store: Store;
    let feed: ChangeFeed;
    const connect = async (): Promise<Store> => {
      const opened = await under.connect();
      stores.push(opened);
      return opened;
    };
    beforeAll(async () => {
      under = await open();
      store = await connect();
      await migrate(store.db, store.dialect, 1);
      feed = await store.changes.follow();
    });
    afterAll(async () => {
      await feed.close();
      for (const opened of stores) await opened.close();
      await under.remove();
    });

    /** Guarantees that a change is read once, in the order of the commits, by whoever follows since before it. */
    test('a commit is read once, in order', async () => {
      const other = await connect();
      await other.transaction((tx) => other.changes.record(tx, change('a', 'b')));
      await store.transaction((tx) => store.changes.record(tx, change('c')));
      expect(await heard(feed)).toEqual({ subjects: ['a', 'b', 'c'], lost: false });
      expect(await heard(feed)).toEqual({ subjects: [], lost: false });
      const late = await other.changes.follow();
      expect(await heard(late)).toEqual({ subjects: [], lost: false });
      await late.close();
    });

    /** Guarantees that what was rolled back, or is not committed yet, is not read; and is once it is committed. */
    test('reads what is committed alone', async () => {
      const other = await connect();
      const thrown = new Error('undone');
      await expect(
        other.transaction(async (tx) => {
          await other.changes.record(tx, change('undone'));
          throw thrown;
        }),
      ).rejects.toBe(thrown);
      await other.transaction(async (tx) => {
        await other.changes.record(tx, change('under way'));
        expect(await heard(feed)).toEqual({ subjects: [], lost: false });
      });
      expect(await heard(feed)).toEqual({ subjects: ['under way'], lost: false });
    });

    /** Guarantees that of changes committed by many at once, some slowly, a reader who never waits misses none. */
    test('misses nothing of many at once', { timeout: 60_000 }, async () => {
      const others = await Promise.all([connect(), connect(), connect()]);
      const written: string[] = [];
      const read: string[] = [];
      let writing = true;
      const writer = async (from: Store): Promise<void> => {
        for (let count = 0; count < 60; count += 1) {
          const subject = newId();
          await from.transaction(async (tx) => {
            const row = { id: subject, namespace_id: serviceNamespaceId, token_label: 'x', created_at: 1 };
            await tx.insertInto('roots').values(row).execute();
            await from.changes.record(tx, change(subject));
          });
          written.push(subject);
        }
      };
      const reader = async (): Promise<void> => {
        for (let last = false; !last; ) {
          last = !writing;
          const { subjects, lost } = await heard(feed);
          expect(lost).toBe(false);
          read.push(...subjects);
          await new Promise(setImmediate);
        }
      };
      const reading = reader();
      await Promise.all([...others, store].map(writer));
      writing = false;
      await reading;
      expect(read.toSorted()).toEqual(written.toSorted());
      const numbers = await store.db.selectFrom('changes').select('revision').orderBy('revision').execute();
      expect(numbers.length).toBeGreaterThanOrEqual(written.length);
    });

    /** Guarantees that whoever was away while what he missed was cut off learns that it is not known. */
    test('says what is not known any more', async () => {
      const slow = await store.changes.follow();
      await store.transaction((tx) => store.changes.record(tx, change('cut off')));
      await store.transaction((tx) => store.changes.record(tx, change('kept')));
      const newest = await store.db
        .selectFrom('changes')
        .select('revision')
        .orderBy('revision', 'desc')
        .execute();
      await store.db
        .deleteFrom('changes')
        .where('revision', '<', newest[0]?.revision ?? 0)
        .execute();
      expect(await heard(slow)).toEqual({ subjects: [], lost: true });
      expect(await heard(slow)).toEqual({ subjects: [], lost: false });
      await slow.close();
      await feed.read();
    });

    /** Guarantees that the table does not grow beyond what is kept and what one cut leaves. */
    test('the table is cut back', async () => {
      const [{ revision } = { revision: 0 }] = await store.db
        .selectFrom('changes')
        .select('revision')
        .orderBy('revision', 'desc')
        .limit(1)
        .execute();
      // As if 200,000 changes lay between.
      const far = Math.ceil(revision / 1_000) * 1_000 + 2 * keptChanges - 1;
      await skipTo(store, far);
      await store.transaction((tx) => store.changes.record(tx, change('last')));
      const left = await store.db.selectFrom('changes').select(['revision', 'subjects']).execute();
      expect(left).toEqual([{ revision: far + 1, subjects: '["last"]' }]);
      expect(await heard(feed)).toMatchObject({ lost: true });
    });

    /** Guarantees that a follower hears of another's commit without asking, where the database can tell. */
    test('announces', async () => {
      if (store.dialect.name === 'sqlite') {
        expect(feed.pollMilliseconds).toBeLessThanOrEqual(50);
        return;
      }
      const announced = new Promise<void>((resolve) => feed.onAnnounced(resolve));
      const other = await connect();
      await other.transaction((tx) => other.changes.record(tx, change('told')));
      await announced;
      const { subjects } = await heard(feed);
      expect(subjects).toContain('told');
    });
  });
}

/** Lets the next number be the one after `revision`. */
async function skipTo(store: Store, revision: number): Promise<void> {
  if (store.dialect.name === 'sqlite')
    await sql`update sqlite_sequence set seq = ${revision} where name = 'changes'`.execute(store.db);
  else
    await sql`alter table changes alter column revision restart with ${sql.raw(String(revision + 1))}`.execute(
      store.db,
    );
}
