import { renameSync } from 'node:fs';
import { expect, test } from 'vitest';
import { createMovedRows } from '../../src/audit/moved.ts';
import { ServiceError } from '../../src/core/errors.ts';
import type { Store } from '../../src/store/store.ts';
import {
  allRecords,
  appendMany,
  entry,
  hookedFiles,
  hookedStore,
  insertRoot,
  type Place,
  place,
  rootIds,
  SystemError,
  until,
} from './support.ts';

const limits = { retryMilliseconds: 20 };

/** Exactly the changes that are in the database have a record, one each, and the outbox empties. */
async function expectOnce(here: Place): Promise<string[]> {
  const log = await here.open();
  const recorded = (await allRecords(log, { action: 'keys.create' })).map(({ id }) => id).toSorted();
  const made = await rootIds(here.store);
  expect(recorded).toEqual(made);
  await log.close();
  expect(await here.verify()).toMatchObject({ ok: true, outboxPending: 0 });
  return made;
}

/** Guarantees that a crash at any step of a change leaves both it and its record, or neither, and never two. */
test.each([{ segmentBytes: 1 }, { segmentBytes: 1_000_000 }])(
  'a crash at each step of a change (%j)',
  async (size) => {
    const here = await place();
    const snapshots: { step: string; root: string }[] = [];
    let taking = false;
    const take = (step: string): void => {
      if (taking) snapshots.push({ step, root: here.snapshot() });
    };
    const files = hookedFiles((at, when) => take(`${at} ${when}`));
    const store = hookedStore(here.store, (when) => take(`transaction ${when}`));
    const log = await here.open({ files, store, limits: { ...limits, ...size } });
    await appendMany(log, 2);
    taking = true;
    const ids: string[] = [];
    for (let change = 0; change < 3; change += 1) {
      const one = entry({ action: 'keys.create' });
      ids.push(one.id);
      expect(await log.change(one, insertRoot(one.id))).toBe(one.id);
      take('answered');
    }
    await until(async () => (await here.verify()).outboxPending === 0);
    take('deleted');
    taking = false;
    expect(snapshots.length).toBeGreaterThan(20);
    const answered = { changes: 0 };
    for (const { step, root } of snapshots) {
      const made = await expectOnce(await place(root));
      if (step === 'answered') answered.changes += 1;
      expect(made.length).toBeGreaterThanOrEqual(answered.changes);
      expect(ids.slice(0, made.length)).toEqual(made);
    }
    await log.close();
    expect(await expectOnce(here)).toEqual(ids);
  },
);

/** Guarantees that a change that fails leaves nothing behind, neither itself nor a record. */
test('what apply throws is what the caller gets, and nothing is recorded', async () => {
  const here = await place();
  const log = await here.open();
  const broken = log.change(entry({ action: 'keys.create' }), async (tx) => {
    await insertRoot('a')(tx);
    throw new ServiceError('key/exists', 'there is one');
  });
  await expect(broken).rejects.toMatchObject({ code: 'key/exists' });
  expect(log.head().sequence).toBe(0);
  expect(await rootIds(here.store)).toEqual([]);
  expect((await here.verify()).outboxPending).toBe(0);
});

/** Guarantees that a commit that looks failed but is there counts as made, and one that is not there as failed. */
test('an unknown outcome is resolved by reading', async () => {
  const here = await place();
  let mode: 'none' | 'after' | 'at-commit' = 'none';
  const store = hookedStore(here.store, (when) => {
    if (when === mode) throw new ServiceError('store/unavailable', 'The database cannot be used right now.');
  });
  const log = await here.open({ store, limits });
  mode = 'after';
  await log.change(entry({ id: 'a', action: 'keys.create' }), insertRoot('a'));
  mode = 'at-commit';
  await expect(log.change(entry({ id: 'b', action: 'keys.create' }), insertRoot('b'))).rejects.toMatchObject({
    code: 'store/unavailable',
  });
  await log.close();
  expect(await expectOnce(here)).toEqual(['a']);
});

/** The store, whose reads of the outbox fail while `blind()`. */
function blindStore(store: Store, blind: () => boolean): Store {
  const db = new Proxy(store.db, {
    get(target, name) {
      if (name === 'selectFrom' && blind()) throw new ServiceError('store/unavailable', 'no');
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  return { ...store, db };
}

/** Guarantees that an outcome nobody could read is told as unknown, and recorded all the same if it was made. */
test('an outcome that cannot be read is moved by the sweep', async () => {
  const here = await place();
  let failing = false;
  const lost = hookedStore(here.store, (when) => {
    if (failing && when === 'after') throw new ServiceError('store/unavailable', 'no');
  });
  const log = await here.open({ store: blindStore(lost, () => failing), limits });
  failing = true;
  const started = performance.now();
  await expect(log.change(entry({ id: 'a', action: 'keys.create' }), insertRoot('a'))).rejects.toMatchObject({
    code: 'store/unavailable',
    detail: expect.stringContaining('not known yet'),
  });
  expect(performance.now() - started).toBeLessThan(1000);
  failing = false;
  await until(async () => (await allRecords(log)).length === 1);
  await until(async () => (await here.verify()).outboxPending === 0);
  await log.close();
  expect(await expectOnce(here)).toEqual(['a']);
});

/** Guarantees that a change whose record cannot be written is refused, and recorded once when the log is back. */
test.each(['before', 'after'] as const)('the log fails %s the write of a change', async (moment) => {
  const here = await place();
  let failing = false;
  const files = hookedFiles((at, when) => {
    if (failing && at === 'append' && when === moment) throw new SystemError('ENOSPC');
  });
  const log = await here.open({ files, limits });
  await appendMany(log, 1);
  failing = true;
  const outcomes = await Promise.allSettled(
    ['a', 'b', 'c'].map((id) => log.change(entry({ id, action: 'keys.create' }), insertRoot(id))),
  );
  for (const outcome of outcomes) {
    expect(outcome).toMatchObject({ reason: { code: 'audit/unavailable', retryAfterSeconds: 1 } });
  }
  expect(outcomes).toMatchObject([
    { reason: { detail: expect.stringContaining('The change was made') } },
    {},
    {},
  ]);
  const made = await rootIds(here.store);
  const crashed = await place(here.snapshot());
  expect(await expectOnce(crashed)).toEqual(made);
  failing = false;
  // Nobody calls: the sweep itself finds that the log is back.
  await until(async () => (await allRecords(log)).length === 1 + made.length);
  await until(async () => (await here.verify()).outboxPending === 0);
  await log.close();
  expect(await expectOnce(here)).toEqual(made);
});

/** Guarantees that a change is refused before any work while the log is down. */
test('a change does not start while the log is down', async () => {
  const here = await place();
  const log = await here.open({ limits: { retryMilliseconds: 60_000 } });
  renameSync(here.audit, `${here.audit}-away`);
  await expect(log.append(entry())).rejects.toMatchObject({ code: 'audit/unavailable' });
  let started = false;
  const change = log.change(entry(), async () => {
    started = true;
  });
  await expect(change).rejects.toMatchObject({ code: 'audit/unavailable' });
  expect(started).toBe(false);
  renameSync(`${here.audit}-away`, here.audit);
});

/** Guarantees that changes under way are bounded. */
test('too many changes are refused', async () => {
  const here = await place();
  const log = await here.open({ limits: { queuedRecords: 10 } });
  const outcomes = await Promise.allSettled(
    Array.from({ length: 12 }, (_, index) =>
      log.change(entry({ action: 'keys.create' }), insertRoot(`${index}`)),
    ),
  );
  expect(outcomes.filter(({ status }) => status === 'fulfilled').length).toBe(10);
  expect(outcomes[11]).toMatchObject({ reason: { code: 'service/overloaded' } });
});

/** Guarantees that a writer leaves the outbox rows of another alone while that is there, and moves them when it is not. */
test('two writers share the outbox', async () => {
  const here = await place();
  let failing = true;
  const files = hookedFiles((at) => {
    if (failing && at === 'append') throw new SystemError('ENOSPC');
  });
  await (await here.open({ writer: 'w1' })).close();
  const first = await here.open({ writer: 'w1', files, limits: { retryMilliseconds: 60_000 } });
  await expect(first.change(entry({ id: 'a', action: 'keys.create' }), insertRoot('a'))).rejects.toThrow(
    'audit/unavailable',
  );
  const second = await here.open({ writer: 'w2', limits: { adoptMilliseconds: 20 } });
  await second.change(entry({ id: 'b', action: 'keys.create' }), insertRoot('b'));
  const recorded = async () => (await allRecords(second)).map(({ id, writer }) => `${id} ${writer}`);
  expect(await recorded()).toEqual(['b w2']);
  failing = false;
  await first.close();
  await until(async () => (await recorded()).length === 2);
  expect((await recorded()).toSorted()).toEqual(['a w1', 'b w2']);
  await until(async () => (await here.verify()).outboxPending === 0);
});

/** Guarantees that a record in the part of a segment that was left behind does not pass for a recorded change. */
test('a crash after a group that could not be cut off', async () => {
  const here = await place();
  let stage: 'sound' | 'failing' | 'failed' = 'sound';
  const snapshots: string[] = [];
  const files = hookedFiles((at, when) => {
    if (stage === 'sound') return;
    if (at === 'truncate') throw new SystemError('EIO');
    if (at !== 'append') return;
    if (stage === 'failed' && when === 'before') snapshots.push(here.snapshot());
    if (stage === 'failing' && when === 'after') throw new SystemError('EIO');
  });
  const log = await here.open({ files, limits });
  await appendMany(log, 1);
  stage = 'failing';
  const change = log.change(entry({ id: 'a', action: 'keys.create' }), insertRoot('a'));
  await expect(change).rejects.toMatchObject({ code: 'audit/unavailable' });
  stage = 'failed';
  // The sweep begins the next segment; the process dies before the record is in it.
  await until(() => snapshots.length > 0);
  const crashed = await place(snapshots[0]);
  expect((await crashed.store.db.selectFrom('audit_segments').select('number').execute()).length).toBe(2);
  expect(await expectOnce(crashed)).toEqual(['a']);
});

/** Guarantees that a row moved and deleted while the outbox is being read is not taken for one to move. */
test('what was moved since is remembered while rows are read', () => {
  const moved = createMovedRows();
  moved.add(['before']);
  const known = moved.track();
  moved.add(['meanwhile']);
  moved.deleted(['before', 'meanwhile']);
  expect(moved.size).toBe(0);
  expect(['before', 'meanwhile', 'never'].map(known.has)).toEqual([true, true, false]);
  known.end();
  moved.add(['after']);
  expect(known.has('after')).toBe(false);
});

/** Guarantees that a row put into the database by somebody else never becomes a record, and that verify tells. */
test('a forged row stays out of the log', async () => {
  const here = await place();
  const log = await here.open();
  await log.change(entry({ id: 'genuine', action: 'keys.create' }), insertRoot('genuine'));
  await log.close();
  const forged = entry({ id: 'forged', action: 'keys.create' });
  const rows = [
    {
      id: 'forged',
      entry: JSON.stringify({ writer: 'w1', entry: JSON.stringify(forged), mac: '00'.repeat(32) }),
    },
    { id: 'nonsense', entry: 'not JSON' },
    { id: 'unsigned', entry: JSON.stringify({ writer: 'w1', entry: JSON.stringify(forged) }) },
  ];
  for (const row of rows) {
    await here.store.db
      .insertInto('audit_outbox')
      .values({ ...row, namespace_id: forged.namespaceId, created_at: forged.time })
      .execute();
  }
  const again = await here.open();
  await again.append(entry({ id: 'after' }));
  expect((await allRecords(again)).map(({ id }) => id)).toEqual(['after', 'genuine']);
  await again.close();
  const report = await here.verify();
  expect(report).toMatchObject({ ok: false, outboxPending: 3 });
  expect(report.problems.filter(({ file }) => file === 'audit_outbox')).toHaveLength(3);
});
