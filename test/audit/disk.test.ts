import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { AuditLog } from '../../src/audit/audit.ts';
import { takeSlot } from '../../src/audit/lock.ts';
import { isServiceError } from '../../src/core/errors.ts';
import { allRecords, appendMany, entry, expectWhole, insertRoot, place, rootIds, until } from './support.ts';

const limits = { retryMilliseconds: 20 };

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

/** Guarantees that the slot is ours in a directory that was replaced, too, before anything is written there. */
test('another process took the slot in the new directory', async () => {
  const here = await place();
  const log = await here.open({ limits });
  await appendMany(log, 2);
  rmSync(here.audit, { recursive: true });
  mkdirSync(here.audit);
  const other = takeSlot(here.audit, 'w1').lock;
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
  expect(() => takeSlot(here.audit, 'w1').lock).toThrow('Another process writes the audit log as w1');
});
