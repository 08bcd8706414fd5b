import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { Hsm } from '../../src/hsm/hsm.ts';
import type { RotationPolicy } from '../../src/rotation/policy.ts';
import type { SchedulerLimits } from '../../src/rotation/scheduler.ts';
import { createSchedules } from '../../src/rotation/schedules.ts';
import { handClock } from '../jobs/support.ts';
import { freshDataDir, removeDirectory } from '../support/data.ts';
import {
  day,
  makeKey,
  type Opened,
  openHsm,
  openRotation,
  openStore,
  type Place,
  traces,
} from './support.ts';

let place: Place;
let hsm: Hsm;
beforeAll(async () => {
  place = { dataDir: await freshDataDir() };
  hsm = await openHsm(place);
});
afterAll(async () => {
  await hsm.close();
  await removeDirectory(place.dataDir);
});

/** One process with a clock of its own; the database is the file's. */
async function opened(limits: Partial<SchedulerLimits> = {}, clock = handClock()) {
  const store = await openStore(place);
  const parts = await openRotation({ hsm, store, clock, directory: place.dataDir, limits });
  onTestFinished(async () => {
    // The next test's clock knows nothing of what this one left due.
    await store.db.deleteFrom('rotation_schedules').execute();
    await parts.close();
    await store.close();
  });
  return { ...parts, clock };
}

let names = 0;
async function keyWith(parts: Opened, policy: RotationPolicy) {
  const { id, name } = await makeKey(parts, `key-${++names}`);
  await parts.policies.setPolicy(parts.caller(), id, { policy });
  return { id, name };
}

const rotations = async (parts: Opened, id: string) =>
  (await traces(parts, id)).history.map(({ cause }) => cause);

describe('by date', () => {
  /** Guarantees that a key is rotated when it is due, not before, with one record, one place in the history, and events. */
  test('once, when it is due', async () => {
    const parts = await opened();
    const { id } = await keyWith(parts, { everyDays: 90 });
    parts.clock.pass(90 * day - 1);
    await parts.scheduler.look();
    expect(await rotations(parts, id)).toEqual([]);
    parts.clock.pass(1);
    await parts.scheduler.look();
    await parts.scheduler.look();
    const dueAt = parts.clock.now();
    expect(await traces(parts, id)).toEqual({
      ...{ ordinals: [1, 2], counts: 2, current: 2 },
      history: [{ to_ordinal: 2, cause: 'scheduled', due_at: dueAt }],
      records: [{ outcome: 'allowed', version: 2, by: 'rotation' }],
    });
    expect(parts.told.map(({ type }) => type)).toEqual(['rotation.due', 'rotation.done']);
    expect(await parts.policies.policy(parts.caller(), id)).toMatchObject({
      ...{ reason: 'date', nextAt: dueAt + 90 * day, failures: 0 },
    });
    expect((await parts.policies.history(parts.caller(), id, { limit: 10 })).items).toEqual([
      {
        ...{ fromVersion: 1, toVersion: 2, cause: 'scheduled', rotatedAt: dueAt, dueAt },
        by: { kind: 'system', id: 'rotation', name: 'rotation' },
      },
    ]);
  });

  /** Guarantees that after years without a process a key is rotated once, and its dates keep their grid. */
  test('what was missed', async () => {
    const parts = await opened();
    const { id } = await keyWith(parts, { everyDays: 1 });
    const first = parts.clock.now() + day;
    parts.clock.pass(1_000.5 * day);
    await parts.scheduler.look();
    await parts.scheduler.look();
    expect(await rotations(parts, id)).toEqual(['scheduled']);
    const { nextAt } = await parts.policies.policy(parts.caller(), id);
    expect(nextAt).toBe(first + 1_000 * day);
  });

  /** Guarantees that a pause holds off what is due, and that its end counts the version's age. */
  test('a pause', async () => {
    const parts = await opened();
    const { id } = await keyWith(parts, { everyDays: 10 });
    const paused = await parts.policies.setPolicy(parts.caller(), id, { paused: true });
    expect(paused).toMatchObject({ paused: true, reason: 'paused' });
    expect(paused.nextAt).toBeUndefined();
    parts.clock.pass(50 * day);
    await parts.scheduler.look();
    expect(await rotations(parts, id)).toEqual([]);
    const resumed = await parts.policies.setPolicy(parts.caller(), id, { paused: false });
    expect(resumed.nextAt).toBe(parts.clock.now());
    await parts.scheduler.look();
    expect(await rotations(parts, id)).toEqual(['scheduled']);
  });

  /** Guarantees that nothing is rotated outside a window, however overdue it is, and what is due when one opens is. */
  test('windows', async () => {
    const parts = await opened();
    // The clock begins at 22:13:20Z on a Tuesday.
    const opens = [{ days: ['sat' as const], at: '01:00', minutes: 60 }];
    const { id } = await keyWith(parts, { everyDays: 1, windows: { timeZone: 'UTC', opens } });
    parts.clock.pass(day);
    await parts.scheduler.look();
    expect(await rotations(parts, id)).toEqual([]);
    expect(await parts.policies.policy(parts.caller(), id)).toMatchObject({ reason: 'window' });
    const saturday = Date.parse('2023-11-18T01:00:00Z');
    // As if nothing had run while it was open.
    parts.clock.pass(saturday + 3_600_000 - parts.clock.now());
    await parts.scheduler.look();
    expect(await rotations(parts, id)).toEqual([]);
    expect((await parts.policies.policy(parts.caller(), id)).nextAt).toBe(saturday + 7 * day);
    parts.clock.pass(saturday + 7 * day - parts.clock.now());
    await parts.scheduler.look();
    expect(await rotations(parts, id)).toEqual(['scheduled']);
  });

  /** Guarantees that a disabled key is left alone and says why, and is rotated after it was enabled. */
  test('a disabled key', async () => {
    const parts = await opened();
    const { id } = await keyWith(parts, { everyDays: 1 });
    await parts.keys.update(parts.caller(), id, { state: 'disabled' });
    parts.clock.pass(2 * day);
    await parts.scheduler.look();
    expect(await rotations(parts, id)).toEqual([]);
    expect(await parts.policies.policy(parts.caller(), id)).toMatchObject({
      reason: 'disabled',
      failures: 0,
    });
    await parts.keys.update(parts.caller(), id, { state: 'enabled' });
    parts.clock.pass(3_600_000);
    await parts.scheduler.look();
    expect(await rotations(parts, id)).toEqual(['scheduled']);
  });

  /** Guarantees that more keys than a transaction takes are all rotated, those that cannot be are not in their way. */
  test('many at once', async () => {
    const parts = await opened({ chunkRows: 5 });
    const made = await Promise.all(Array.from({ length: 24 }, () => keyWith(parts, { everyDays: 1 })));
    const [altered, unusable, unknown] = made;
    await parts.store.db
      .updateTable('keys')
      .set({ description: 'altered' })
      .where('id', '=', altered?.id ?? '')
      .execute();
    await parts.store.db
      .updateTable('rotation_schedules')
      .set({ policy: '{"everyDays":2}' })
      .where('key_id', '=', unusable?.id ?? '')
      .execute();
    // As newer software may write it.
    const schedules = createSchedules(parts);
    const { row } = await schedules.look(unknown?.id ?? '');
    if (!row) throw new Error('it has a policy');
    const next = await schedules.change(row, { policy: '{"everyFullMoon":true}' });
    await parts.store.transaction((tx) => schedules.write(tx, next));
    parts.clock.pass(day);
    await parts.scheduler.look();
    await parts.scheduler.look();
    const counts = await Promise.all(made.map(async ({ id }) => (await rotations(parts, id)).length));
    expect(counts).toEqual([0, 0, 0, ...Array.from({ length: 21 }, () => 1)]);
    const { records } = await traces(parts, altered?.id ?? '');
    expect(records.map(({ outcome }) => outcome)).toEqual(['failed']);
    expect(parts.told.filter(({ type }) => type === 'rotation.failed')).toMatchObject([
      { keyId: altered?.id, code: 'internal' },
    ]);
    expect(parts.logged.filter(({ event }) => event === 'rotation.row-unusable')).toHaveLength(2);
    // It keeps nobody from a new version or another policy.
    const id = unusable?.id ?? '';
    expect(await parts.policies.policy(parts.caller(), id)).toMatchObject({ reason: 'unusable' });
    await expect(parts.policies.setPolicy(parts.caller(), id, { paused: true })).rejects.toMatchObject({
      code: 'internal',
    });
    await parts.keys.rotate(parts.caller(), id);
    expect(await rotations(parts, id)).toEqual(['manual']);
    await parts.policies.setPolicy(parts.caller(), id, { policy: { everyDays: 3 } });
    expect(await parts.policies.policy(parts.caller(), id)).toMatchObject({ reason: 'date' });
    expect(parts.metrics.text()).toMatch(/stathera_rotations_total\{outcome="failed"\} 3\n/);
  });

  /** Guarantees that what fails is tried again later and later, shows why, and is forgotten when it succeeds. */
  test('failures', async () => {
    const parts = await opened();
    const { id } = await keyWith(parts, { everyDays: 10 });
    const set = (description: string) =>
      parts.store.db.updateTable('keys').set({ description }).where('id', '=', id).execute();
    await set('altered');
    parts.clock.pass(10 * day);
    const dueAt = parts.clock.now();
    const waits: number[] = [];
    for (let count = 0; count < 12; count += 1) {
      await parts.scheduler.look();
      const row = await parts.store.db
        .selectFrom('rotation_schedules')
        .selectAll()
        .where('key_id', '=', id)
        .executeTakeFirstOrThrow();
      expect([row.failures, row.error_code, row.due_at]).toEqual([count + 1, 'internal', dueAt]);
      waits.push((row.act_at ?? 0) - parts.clock.now());
      parts.clock.pass(waits.at(-1) ?? 0);
    }
    expect(waits.slice(0, 4)).toEqual([5_000, 10_000, 20_000, 40_000]);
    expect(waits.at(-1)).toBe(3_600_000);
    await set('');
    expect(await parts.policies.policy(parts.caller(), id)).toMatchObject({
      reason: 'failed',
      code: 'internal',
    });
    expect((await parts.overview.status(parts.caller())).failingKeys).toMatchObject([
      { keyId: id, failures: 12 },
    ]);
    await parts.scheduler.look();
    expect(await traces(parts, id)).toMatchObject({ history: [{ cause: 'scheduled', due_at: dueAt }] });
    expect(await parts.policies.policy(parts.caller(), id)).toMatchObject({ reason: 'date', failures: 0 });
  });
});

describe('other causes', () => {
  /** Guarantees that a rotation by hand is in the history, begins a period anew, and leaves a calendar as it is. */
  test('by hand', async () => {
    const parts = await opened();
    const { id } = await keyWith(parts, { everyDays: 10 });
    parts.clock.pass(9 * day);
    await parts.keys.rotate(parts.caller(), id);
    expect((await traces(parts, id)).history).toEqual([{ to_ordinal: 2, cause: 'manual', due_at: null }]);
    expect((await parts.policies.policy(parts.caller(), id)).nextAt).toBe(parts.clock.now() + 10 * day);

    const cron = { expression: '0 3 1 * *', timeZone: 'Europe/Berlin' };
    const other = await keyWith(parts, { cron });
    const { nextAt } = await parts.policies.policy(parts.caller(), other.id);
    await parts.keys.rotate(parts.caller(), other.id);
    expect((await parts.policies.policy(parts.caller(), other.id)).nextAt).toBe(nextAt);
  });

  /** Guarantees that a version is replaced before it has encrypted more than its policy allows, and not much before. */
  test.each([
    ['encryptions', { encryptions: 1_000 }, 1, 0],
    ['bytes', { bytes: 1_000_000 }, 1, 1_000],
  ])('by count of %s', async (_, after, uses, bytes) => {
    const parts = await opened();
    const { id } = await keyWith(parts, { after });
    let count = 0;
    const isDone = () => parts.told.some(({ type }) => type === 'rotation.done');
    for (; count < 1_000 && !isDone(); count += 1) {
      const key = await parts.keys.find(parts.caller().principal, id);
      await parts.keys.encrypting(key, uses, bytes);
    }
    await expect.poll(isDone, { timeout: 20_000 }).toBe(true);
    expect(await rotations(parts, id)).toEqual(['usage']);
    // A block is a 64th; while the next version is made some more are counted.
    expect(count).toBeGreaterThan(1_000 - 2 * 16);
    expect((await parts.policies.policy(parts.caller(), id)).reason).toBe('usage');
    const usage = await parts.keys.usage(parts.caller(), id);
    expect(usage).toMatchObject({ currentVersion: 2, rotateAfter: after, usesLimit: 2 ** 32 });
    // A pause stops it.
    await parts.policies.setPolicy(parts.caller(), id, { paused: true });
    for (count = 0; count < 1_100; count += 1) {
      const key = await parts.keys.find(parts.caller().principal, id);
      await parts.keys.encrypting(key, uses, bytes);
    }
    expect(await rotations(parts, id)).toEqual(['usage']);
  });
});

describe('clocks', () => {
  /** Guarantees that a clock that was ahead for a moment rotates nothing. */
  test('a step forward that is undone', async () => {
    const parts = await opened({ settleMilliseconds: 60_000 });
    const { id } = await keyWith(parts, { everyDays: 10 });
    await parts.scheduler.look();
    parts.clock.step(365 * day);
    await parts.scheduler.look();
    parts.clock.pass(30_000);
    await parts.scheduler.look();
    parts.clock.step(-365 * day);
    parts.clock.pass(61_000);
    await parts.scheduler.look();
    expect(await rotations(parts, id)).toEqual([]);
  });

  /** Guarantees that a clock that goes forward for good makes due what is due by it, once. */
  test('a step forward that stays', async () => {
    const parts = await opened({ settleMilliseconds: 60_000 });
    const { id } = await keyWith(parts, { everyDays: 10 });
    parts.clock.step(365 * day);
    await parts.scheduler.look();
    expect(await rotations(parts, id)).toEqual([]);
    parts.clock.pass(60_000);
    await parts.scheduler.look();
    await parts.scheduler.look();
    expect(await rotations(parts, id)).toEqual(['scheduled']);
  });

  /** Guarantees that after the clock was set back a key is due a period from then, not a year and a period. */
  test('a step back', async () => {
    const parts = await opened();
    const { id } = await keyWith(parts, { everyDays: 10 });
    parts.clock.pass(375 * day);
    await parts.scheduler.look();
    parts.clock.step(-365 * day);
    await parts.scheduler.look();
    expect(await rotations(parts, id)).toEqual(['scheduled']);
    expect((await parts.policies.policy(parts.caller(), id)).nextAt).toBe(parts.clock.now() + 10 * day);
    parts.clock.pass(10 * day);
    await parts.scheduler.look();
    expect(await rotations(parts, id)).toEqual(['scheduled', 'scheduled']);
  });

  /** Guarantees that a date that was served is not served a second time when the clock comes to it again. */
  test('a date that comes twice', async () => {
    const parts = await opened();
    const cron = { expression: '0 3 * * *', timeZone: 'UTC' };
    const { id } = await keyWith(parts, { cron });
    const { nextAt = 0 } = await parts.policies.policy(parts.caller(), id);
    parts.clock.pass(nextAt - parts.clock.now());
    await parts.scheduler.look();
    parts.clock.step(-3_600_000);
    await parts.scheduler.look();
    expect((await parts.policies.policy(parts.caller(), id)).nextAt).toBe(nextAt);
    parts.clock.pass(3_600_000);
    await parts.scheduler.look();
    await parts.scheduler.look();
    expect(await rotations(parts, id)).toEqual(['scheduled']);
    expect((await parts.policies.policy(parts.caller(), id)).nextAt).toBe(nextAt + day);
  });
});

describe('defaults', () => {
  /** Guarantees that new keys get the default, those there get it by a job unless they have a policy of their own. */
  test('of a namespace', async () => {
    const parts = await opened();
    const young = await makeKey(parts, `young-${++names}`);
    expect(await parts.policies.policy(parts.caller(), young.id)).toMatchObject({
      ...{ source: 'namespace', policy: { everyDays: 90, jitterSeconds: 86_400 } },
    });
    // As a key that was made before there was rotation.
    const old = await makeKey(parts, `old-${++names}`);
    await parts.store.db.deleteFrom('rotation_schedules').where('key_id', '=', old.id).execute();
    expect(await parts.policies.policy(parts.caller(), old.id)).toMatchObject({
      source: 'none',
      reason: 'none',
    });
    // Nothing of it gives a key a policy by the way.
    await expect(parts.policies.setPolicy(parts.caller(), old.id, { paused: false })).rejects.toMatchObject({
      ...{ code: 'request/invalid', errors: [{ pointer: '/paused' }] },
    });
    await parts.policies.setPolicy(parts.caller(), old.id, {});
    expect(await parts.policies.policy(parts.caller(), old.id)).toMatchObject({ source: 'none' });
    const own = await keyWith(parts, { everyDays: 5 });
    const pair = await parts.keys.create(parts.caller(), {
      ...{ name: `pair-${++names}`, algorithm: 'x-wing', description: '', tags: {} },
    });
    expect(await parts.policies.policy(parts.caller(), pair.id)).toMatchObject({ source: 'none' });

    const set = async (policy: RotationPolicy | null, existingKeys: boolean) => {
      const request = { policy, purposes: ['encrypt' as const], existingKeys };
      const { jobId = '' } = await parts.rotationDefaults.set(parts.caller(), request);
      if (!existingKeys) return;
      parts.jobs.start();
      await expect
        .poll(async () => (await parts.jobs.get(parts.caller(), jobId)).state, { timeout: 20_000 })
        .toBe('done');
    };
    const sources = async () =>
      await Promise.all(
        [young, old, own, pair].map(async ({ id }) => {
          const { source, policy } = await parts.policies.policy(parts.caller(), id);
          return `${source} ${policy?.everyDays ?? '-'} ${policy?.after?.encryptions ?? '-'}`;
        }),
      );
    await set({ everyDays: 30 }, false);
    expect(await sources()).toEqual(['namespace 90 -', 'none - -', 'key 5 -', 'none - -']);
    await set({ everyDays: 30, after: { encryptions: 5_000 } }, true);
    expect(await sources()).toEqual(['namespace 30 5000', 'namespace 30 5000', 'key 5 -', 'none - -']);
    expect((await parts.keys.find(parts.caller().principal, old.id)).rotateAfter).toEqual({
      encryptions: 5_000,
    });
    await set(null, true);
    expect(await sources()).toEqual(['none - -', 'none - -', 'key 5 -', 'none - -']);
    expect((await parts.keys.find(parts.caller().principal, old.id)).rotateAfter).toBeUndefined();
    await parts.policies.setPolicy(parts.caller(), own.id, { policy: null });
    expect(await sources()).toEqual(['none - -', 'none - -', 'none - -', 'none - -']);
  });
});
