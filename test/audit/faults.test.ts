import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { AuditLog } from '../../src/audit/audit.ts';
import { lockSlot } from '../../src/audit/lock.ts';
import { isServiceError } from '../../src/core/errors.ts';
import {
  allRecords,
  appendMany,
  entry,
  gate,
  hookedFiles,
  insertRoot,
  manualClock,
  type Place,
  place,
  rootIds,
  SystemError,
  until,
} from './support.ts';

const limits = { retryMilliseconds: 20 };

/** Everything acknowledged is found once, in a log that verifies. */
async function expectWhole(here: Place, acknowledged: readonly string[]): Promise<void> {
  const log = await here.open();
  const found = (await allRecords(log)).map(({ id }) => id);
  expect(new Set(found).size).toBe(found.length);
  const there = new Set(found);
  expect(acknowledged.filter((id) => !there.has(id))).toEqual([]);
  expect(await here.verify()).toMatchObject({ ok: true, problems: [], records: found.length });
}

/** Guarantees for each system error, persisted or not: refused, cut off, tried again, nothing acknowledged lost. */
test.each([
  ...(['ENOSPC', 'EIO', 'EROFS'] as const).flatMap((code) => [
    { code, step: 'append', when: 'before' } as const,
    { code, step: 'append', when: 'after' } as const,
    { code, step: 'isAt', when: 'before' } as const,
  ]),
])('$code at $step, $when', async ({ code, step, when }) => {
  const here = await place();
  let failing = false;
  const events: string[] = [];
  const files = hookedFiles((at, moment) => {
    if (failing && at === step && moment === when) throw new SystemError(code);
  });
  const clock = manualClock();
  const log = await here.open({
    clock,
    files,
    limits,
    log: (level, event, fields) => void events.push(`${level} ${event} ${JSON.stringify(fields)}`),
  });
  const acknowledged = await appendMany(log, 3);
  failing = true;
  const refused = [entry(), entry()];
  for (const outcome of await Promise.allSettled(refused.map((one) => log.append(one)))) {
    expect(outcome).toMatchObject({
      reason: {
        code: 'audit/unavailable',
        retryAfterSeconds: 1,
        detail: 'The audit log cannot be written right now.',
      },
    });
  }
  expect(log.status().state).toBe('unavailable');
  expect(() => log.assertWritable()).toThrow('audit/unavailable');
  expect(log.head().sequence).toBe(3);
  failing = false;
  await expect(log.append(entry())).rejects.toMatchObject({ code: 'audit/unavailable' });
  clock.advance(limits.retryMilliseconds);
  expect(() => log.assertWritable()).not.toThrow();
  await log.append(entry({ id: 'recovered' }));
  acknowledged.push('recovered', ...(await appendMany(log, 2)));
  expect(log.status().state).toBe('ready');
  expect(log.head().sequence).toBe(6);
  expect(events).toEqual([
    `error audit.unavailable {"writer":"w1","reason":"${code}"}`,
    'info audit.recovered {"writer":"w1","sequence":4}',
  ]);
  const found = await allRecords(log);
  expect(found.some(({ id }) => refused.some((one) => one.id === id))).toBe(false);
  await log.close();
  await expectWhole(here, acknowledged);
});

/** Guarantees that after a failure nothing is tried for the pause, and then one record alone. */
test('half-open: one probe at a time', async () => {
  const here = await place();
  const clock = manualClock();
  let failing = false;
  let writes = 0;
  const files = hookedFiles((at, when) => {
    if (at === 'append' && when === 'before') writes += 1;
    if (failing && at === 'append') throw new SystemError('EIO');
  });
  const log = await here.open({ files, clock, limits: { retryMilliseconds: 200 } });
  failing = true;
  await expect(log.append(entry())).rejects.toMatchObject({ code: 'audit/unavailable' });
  expect(writes).toBe(1);
  await Promise.allSettled(Array.from({ length: 50 }, () => log.append(entry())));
  expect(writes).toBe(1);
  clock.advance(200);
  await Promise.allSettled(Array.from({ length: 50 }, () => log.append(entry())));
  expect(writes).toBe(2);
  failing = false;
  clock.advance(200);
  const outcomes = await Promise.allSettled(Array.from({ length: 50 }, () => log.append(entry())));
  expect(outcomes.filter(({ status }) => status === 'fulfilled').length).toBe(1);
  await appendMany(log, 50);
});

/** Guarantees that a disk that hangs hangs nobody: refused within the limit, then at once; cut off when it wakes. */
test('a write that stalls', async () => {
  const here = await place();
  const disk = gate();
  const files = hookedFiles(async (at, when) => {
    if (at === 'append' && when === 'after') await disk.pass();
  });
  const log = await here.open({ files, limits: { stallMilliseconds: 150, retryMilliseconds: 20 } });
  const acknowledged = await appendMany(log, 2);
  disk.shut();
  const started = performance.now();
  const first = log.append(entry());
  await new Promise((resolve) => setTimeout(resolve, 50));
  const outcomes = await Promise.allSettled([
    first,
    ...Array.from({ length: 20 }, () => log.append(entry())),
  ]);
  expect(outcomes.every(({ status }) => status === 'rejected')).toBe(true);
  expect(performance.now() - started).toBeLessThan(600);
  await new Promise((resolve) => setTimeout(resolve, 60));
  const again = performance.now();
  await expect(log.append(entry())).rejects.toMatchObject({ code: 'audit/unavailable' });
  expect(performance.now() - again).toBeLessThan(20);
  disk.open();
  await until(() =>
    log.append(entry({ id: 'recovered' })).then(
      () => true,
      () => false,
    ),
  );
  expect(log.head().sequence).toBe(3);
  await log.close();
  await expectWhole(here, [...acknowledged, 'recovered']);
});

/** Guarantees that a tail that cannot be cut off is left behind for good: the next segment says how much to ignore. */
test.each(['half', 'whole'] as const)('a %s group that cannot be cut off', async (kind) => {
  const here = await place();
  let failing = false;
  const segment = join(here.audit, 'w1-00000001.ndjson');
  const files = hookedFiles((at, when) => {
    if (!failing) return;
    if (kind === 'half' && at === 'append' && when === 'before') {
      writeFileSync(segment, '{"sequence":4,"id":"half', { flag: 'a' });
      throw new SystemError('ENOSPC');
    }
    if (at === 'append' && when === 'after') throw new SystemError('EIO');
    if (at === 'truncate') throw new SystemError('EIO');
  });
  const log = await here.open({ files, limits });
  const acknowledged = await appendMany(log, 3);
  failing = true;
  await expect(log.append(entry({ id: 'refused' }))).rejects.toMatchObject({ code: 'audit/unavailable' });
  await expect(log.change(entry(), insertRoot('never'))).rejects.toMatchObject({ code: 'audit/unavailable' });
  await new Promise((resolve) => setTimeout(resolve, 30));
  const pending = log.change(entry({ id: 'change' }), insertRoot('r'));
  await expect(pending).rejects.toMatchObject({ code: 'audit/unavailable' });
  failing = false;
  await until(async () => (await allRecords(log)).some(({ id }) => id === 'change'));
  acknowledged.push('change', ...(await appendMany(log, 2)));
  const records = (await allRecords(log)).map(({ id }) => id);
  expect(records).toEqual(acknowledged.toReversed());
  expect(await rootIds(here.store)).toEqual(['r']);
  const crashed = await place(here.snapshot());
  await expectWhole(crashed, acknowledged);
  await log.close();
  expect(readdirSync(here.audit)).toContain('w1-00000002.ndjson');
  await expectWhole(here, acknowledged);
  writeFileSync(segment, 'more', { flag: 'a' });
  writeFileSync(segment, 'x'.repeat(5000), { flag: 'a' });
  expect((await here.verify()).problems).toMatchObject([{ what: 'holds more than the next segment says' }]);
});

/** Callers in a closed loop; counts what they are told. */
function load(log: AuditLog, callers: number) {
  const acknowledged: string[] = [];
  const slowest = { refusal: 0 };
  const unexpected: unknown[] = [];
  const state = { stopped: false };
  let refused = 0;
  const running = Array.from({ length: callers }, async () => {
    while (!state.stopped) {
      const one = entry();
      const started = performance.now();
      try {
        await log.append(one);
        acknowledged.push(one.id);
      } catch (error) {
        refused += 1;
        slowest.refusal = Math.max(slowest.refusal, performance.now() - started);
        if (!isServiceError(error, 'audit/unavailable')) unexpected.push(error);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  });
  return {
    acknowledged,
    refused: () => refused,
    async stop() {
      state.stopped = true;
      await Promise.all(running);
      expect(unexpected).toEqual([]);
      expect(slowest.refusal).toBeLessThan(1000);
      return acknowledged;
    },
  };
}

/** Guarantees that a directory renamed under load is noticed, and that the log goes on when it is back. */
test('the directory is renamed under load and comes back', async () => {
  const here = await place();
  const log = await here.open({ limits });
  const callers = load(log, 32);
  await until(() => callers.acknowledged.length > 100);
  renameSync(here.audit, `${here.audit}-away`);
  await until(() => callers.refused() > 100);
  const before = callers.acknowledged.length;
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(callers.acknowledged.length).toBe(before);
  renameSync(`${here.audit}-away`, here.audit);
  await until(() => callers.acknowledged.length > before + 100);
  const acknowledged = await callers.stop();
  await log.close();
  await expectWhole(here, acknowledged);
});

/** Guarantees that a deleted directory is noticed, that an operator's new one is used, and that the loss is told. */
test('the directory is deleted under load and made anew', async () => {
  const here = await place();
  const log = await here.open({ limits });
  const callers = load(log, 32);
  await until(() => callers.acknowledged.length > 100);
  rmSync(here.audit, { recursive: true, force: true });
  await until(() => callers.refused() > 100);
  const lost = callers.acknowledged.length;
  mkdirSync(here.audit);
  await until(() => callers.acknowledged.length > lost + 100);
  const acknowledged = await callers.stop();
  expect((await allRecords(log)).map(({ id }) => id).toSorted()).toEqual(acknowledged.slice(lost).toSorted());
  const report = await here.verify();
  expect(report).toMatchObject({
    ok: false,
    problems: [],
    losses: [{ file: 'w1-00000001.ndjson', firstSequence: 1 }],
  });
  expect(report.losses[0]?.lastSequence).toBeGreaterThanOrEqual(lost);
  await expect(here.open()).rejects.toMatchObject({ code: 'audit/unavailable' });
});

/** Guarantees on a real full disk: refused in time, nothing acknowledged lost, changes moved when there is room. */
test('a full disk under load', async ({ skip }) => {
  const here = await place();
  mkdirSync(here.audit);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', here.audit]);
  skip(mounted.status !== 0, 'needs the right to mount a small file system');
  onTestFinished(() => void spawnSync('umount', ['-l', here.audit]));
  const log = await here.open({ limits });
  const callers = load(log, 32);
  await until(() => callers.acknowledged.length > 50);
  const filler = join(here.audit, 'filler');
  expect(() => {
    for (;;) writeFileSync(filler, Buffer.alloc(4096), { flag: 'a' });
  }).toThrow('ENOSPC');
  await until(() => callers.refused() > 200);
  const changes: string[] = [];
  await until(async () => {
    const one = entry({ action: 'keys.create' });
    await log.change(one, insertRoot(one.id)).catch(() => undefined);
    changes.push(one.id);
    return (await rootIds(here.store)).length > 0;
  });
  rmSync(filler);
  const before = callers.acknowledged.length;
  await until(() => callers.acknowledged.length > before + 100);
  const acknowledged = await callers.stop();
  const made = await rootIds(here.store);
  await until(async () => (await here.verify()).outboxPending === 0);
  const recorded = (await allRecords(log, { action: 'keys.create' })).map(({ id }) => id).toSorted();
  expect(recorded).toEqual(made);
  await log.close();
  await expectWhole(here, [...acknowledged, ...made]);
});

/** Guarantees that a segment that cannot be begun leaves the log closed, not half-open in the old one. */
test.each(['create before', 'create after'])('beginning a segment fails at %s', async (moment) => {
  const here = await place();
  let failing = false;
  const files = hookedFiles((at, when) => {
    if (failing && `${at} ${when}` === moment) throw new SystemError('ENOSPC');
  });
  const log = await here.open({ files, limits: { ...limits, segmentBytes: 1 } });
  const acknowledged = await appendMany(log, 2);
  failing = true;
  await expect(log.append(entry())).rejects.toMatchObject({ code: 'audit/unavailable' });
  failing = false;
  await until(() =>
    log.append(entry({ id: 'recovered' })).then(
      () => true,
      () => false,
    ),
  );
  await log.close();
  await expectWhole(here, [...acknowledged, 'recovered']);
});

/** Guarantees that a file somebody else put in the next segment's place is never written over. */
test('a file with records where the next segment goes', async () => {
  const here = await place();
  const log = await here.open({ limits: { ...limits, segmentBytes: 1 } });
  const acknowledged = await appendMany(log, 2);
  const foreign = join(here.audit, 'w1-00000002.ndjson');
  writeFileSync(foreign, 'one\ntwo\n');
  await expect(log.append(entry())).rejects.toMatchObject({ code: 'audit/unavailable' });
  expect(readFileSync(foreign, 'utf8')).toBe('one\ntwo\n');
  rmSync(foreign);
  await until(() =>
    appendMany(log, 1)
      .then((ids) => acknowledged.push(...ids) > 0)
      .catch(() => false),
  );
  await log.close();
  await expectWhole(here, acknowledged);
});

/** Guarantees that the slot is ours in a directory that was replaced, too, before anything is written there. */
test('another process took the slot in the new directory', async () => {
  const here = await place();
  const log = await here.open({ limits });
  await appendMany(log, 2);
  rmSync(here.audit, { recursive: true });
  mkdirSync(here.audit);
  const other = lockSlot(here.audit, 'w1');
  for (let round = 0; round < 5; round += 1) {
    await expect(log.append(entry())).rejects.toMatchObject({ code: 'audit/unavailable' });
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  expect(readdirSync(here.audit)).toEqual(['w1.lock']);
  other.release();
  await until(() =>
    log.append(entry()).then(
      () => true,
      () => false,
    ),
  );
  expect(() => lockSlot(here.audit, 'w1')).toThrow('Another process writes the audit log as w1');
});
