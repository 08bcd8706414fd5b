import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  allRecords,
  appendMany,
  entry,
  expectWhole,
  gate,
  hookedFiles,
  insertRoot,
  manualClock,
  place,
  rootIds,
  SystemError,
  until,
} from './support.ts';

const limits = { retryMilliseconds: 20 };

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
  const log = await here.open({ files, limits: { stallMilliseconds: 1_000, retryMilliseconds: 20 } });
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
  expect(performance.now() - started).toBeLessThan(10_000);
  await new Promise((resolve) => setTimeout(resolve, 60));
  const again = performance.now();
  await expect(log.append(entry())).rejects.toMatchObject({ code: 'audit/unavailable' });
  // Far less than a write may take: nothing was tried.
  expect(performance.now() - again).toBeLessThan(500);
  disk.open();
  await until(() =>
    log.append(entry({ id: 'recovered' })).then(
      () => true,
      () => false,
    ),
  );
  // The log may have tried itself first.
  expect(log.head().sequence).toBeGreaterThanOrEqual(3);
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
