import { expect, onTestFinished, test } from 'vitest';
import { newId, serviceNamespaceId } from '../../src/core/ids.ts';
import { housekeeping } from '../../src/jobs/housekeeping.ts';
import { createLeases } from '../../src/jobs/leases.ts';
import { createSchedule } from '../../src/jobs/schedule.ts';
import { counting, pieces } from './kinds.ts';
import { callerWith, handClock, openJobs, overEachDatabase, type Place, rows, until } from './support.ts';

const hour = 3_600_000;
const service = callerWith(undefined, serviceNamespaceId);

overEachDatabase((open) => {
  async function part(place: Place, writer: string, clock = handClock()) {
    const store = await place.connect();
    const kind = housekeeping({ store, clock, retentionMilliseconds: 48 * hour });
    const kinds = [kind, counting];
    const opened = await openJobs({ store, directory: place.directory, writer, kinds, clock });
    onTestFinished(() => opened.close());
    const leases = createLeases({ store, clock });
    const makeDue = createSchedule({
      ...{ store, rows, clock, audit: opened.audit, leases },
      kinds: new Map([[kind.kind, kind]]),
    });
    return { store, clock, makeDue, ...opened };
  }

  const housekeepings = async ({ jobs }: Awaited<ReturnType<typeof part>>) =>
    (await jobs.list(service, { limit: 1_000, kind: 'jobs.housekeeping' })).items;

  /** Guarantees that of all processes one makes the job of an interval, and that no clock step makes many or none. */
  test('once an interval', async () => {
    const place = await open();
    const clock = handClock();
    const parts = [await part(place, 'w1', clock), await part(place, 'w2', clock)] as const;
    const [one] = parts;
    let made = 0;
    const expectMade = async (count: number) => {
      for (let round = 0; round < 3; round += 1)
        await Promise.all(parts.flatMap(({ makeDue }) => [makeDue(), makeDue()]));
      made += count;
      expect(await housekeepings(one)).toHaveLength(made);
    };
    const finish = async () => {
      for (const { id, state } of await housekeepings(one))
        if (state === 'queued') await one.jobs.cancel(service, id);
    };
    await expectMade(1);
    clock.pass(2 * hour);
    // The last is not done yet.
    await expectMade(0);
    await finish();
    await expectMade(1);
    await finish();
    clock.pass(hour - 1);
    await expectMade(0);
    clock.pass(1);
    await expectMade(1);
    await finish();
    for (const step of [-240 * hour, 480 * hour, -hour / 2]) {
      clock.step(step);
      // What was made in the future does not count, so that a step back costs one job, not a wait.
      await expectMade(1);
      await finish();
    }
    const records = await one.audit.records({
      ...{ namespaceId: serviceNamespaceId, action: 'jobs.create', limit: 100 },
    });
    expect(records.items.length).toBeGreaterThan(0);
  });

  /** Guarantees that answers are kept for their day and no longer, and finished jobs with their chunks for the time that was set. */
  test('removes what is over, and nothing else', async () => {
    const one = await part(await open(), 'w1');
    const { clock, store } = one;
    const remembered = (at: number, key: string) => ({
      ...{ namespace_id: newId(), principal_id: newId(), idempotency_key: key, operation: 'keys.create' },
      ...{ fingerprint: new Uint8Array(32), answer: '{}', expires_at: at },
    });
    const old = await one.enqueue('test.count', {}, pieces(2, 1));
    await one.jobs.cancel(callerWith(), old.id);
    const waiting = await one.enqueue('test.count', {}, pieces(1, 1));
    clock.pass(49 * hour);
    const recent = await one.enqueue('test.count', {}, pieces(1, 1));
    await one.jobs.cancel(callerWith(), recent.id);
    const expired = Array.from({ length: 1_100 }, (_, at) => remembered(clock.now() - at, `old ${at}`));
    for (let at = 0; at < expired.length; at += 100)
      await store.db
        .insertInto('idempotency')
        .values(expired.slice(at, at + 100))
        .execute();
    await store.db
      .insertInto('idempotency')
      .values(remembered(clock.now() + 1, 'kept'))
      .execute();
    one.jobs.start();
    await until(async () => (await housekeepings(one))[0]?.state === 'done');
    expect((await housekeepings(one))[0]).toMatchObject({
      done: 1_101,
      result: { idempotencyRows: 1_100, jobs: 1 },
    });
    const left = await store.db.selectFrom('idempotency').select('idempotency_key').execute();
    expect(left).toEqual([{ idempotency_key: 'kept' }]);
    await expect(one.jobs.get(callerWith(), old.id)).rejects.toMatchObject({ code: 'job/not-found' });
    for (const { id } of [waiting, recent]) await one.jobs.get(callerWith(), id);
    const chunks = await store.db.selectFrom('job_chunks').select('job_id').execute();
    expect(chunks.map(({ job_id }) => job_id)).not.toContain(old.id);
  });
});
