import { existsSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { AuditEntry } from '../../src/audit/entry.ts';
import { allRecords, appendMany, entry, gate, hookedFiles, mac, place } from './support.ts';

/** Guarantees that no caller goes on before its record is on disk, in the file at the segment's path. */
test('an append resolves after its write and the look at the path, not before', async () => {
  const here = await place();
  const events: string[] = [];
  const looking = gate();
  let watching = false;
  const files = hookedFiles(async (step, when) => {
    if (!watching) return;
    events.push(`${step} ${when}`);
    if (step === 'isAt' && when === 'before') await looking.pass();
  });
  const log = await here.open({ files });
  watching = true;
  looking.shut();
  const one = entry();
  const appended = log.append(one).then(() => events.push('resolved'));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(events).toEqual(['append before', 'append after', 'isAt before']);
  expect((await allRecords(log)).length).toBe(0);
  looking.open();
  await appended;
  expect(events).toEqual(['append before', 'append after', 'isAt before', 'isAt after', 'resolved']);
  expect(readFileSync(join(here.audit, 'w1-00000001.ndjson'), 'utf8')).toContain(one.id);
});

/** Guarantees that records waiting together cost one write, and that their order is that of the calls. */
test('what waits is committed together, in order', async () => {
  const here = await place();
  const log = await here.open();
  const ids = await appendMany(log, 300);
  expect(log.status()).toMatchObject({ appended: 300, groups: 3, queued: 0, state: 'ready' });
  const records = await allRecords(log);
  expect(records.map(({ id }) => id)).toEqual(ids.toReversed());
  expect(records.map(({ sequence }) => sequence)).toEqual(Array.from({ length: 300 }, (_, i) => 300 - i));
  expect(records[0]?.head).toBe(log.head().head);
  expect((await here.verify()).ok).toBe(true);
});

/** Guarantees one chain over restarts and segments: sealed ends meet the next beginning. */
test('the chain goes on over segments and restarts', async () => {
  const here = await place();
  const ids: string[] = [];
  for (let round = 0; round < 4; round += 1) {
    const log = await here.open({ limits: { segmentBytes: 4000 } });
    for (let group = 0; group < 5; group += 1) ids.push(...(await appendMany(log, 4)));
    expect(log.head().sequence).toBe(ids.length);
    await log.close();
  }
  const files = readdirSync(here.audit).filter((name) => name.endsWith('.ndjson'));
  expect(files.length).toBeGreaterThan(8);
  const report = await here.verify();
  expect(report).toMatchObject({
    ok: true,
    records: 80,
    segments: files.length,
    outboxPending: 0,
    unchecked: [],
  });
  const log = await here.open();
  expect((await allRecords(log)).map(({ id }) => id)).toEqual(ids.toReversed());
  const sealed = await here.store.db.selectFrom('audit_segments').selectAll().execute();
  expect(sealed.every((row) => row.last_sequence !== null)).toBe(true);
});

/** Guarantees that waiting records are bounded: the first beyond is refused at once and can come again. */
test('a full queue refuses', async () => {
  const here = await place();
  const log = await here.open({ limits: { queuedRecords: 100 } });
  const outcomes = await Promise.allSettled(Array.from({ length: 101 }, () => log.append(entry())));
  expect(outcomes.slice(0, 100).every(({ status }) => status === 'fulfilled')).toBe(true);
  expect(outcomes[100]).toMatchObject({ reason: { code: 'service/overloaded', retryAfterSeconds: 1 } });
  await log.append(entry());
  expect(log.head().sequence).toBe(101);
});

/** Guarantees that an HSM that refuses, or hangs, neither stops nor hangs the log, and that a later MAC covers. */
test('groups without a MAC are written, counted, and covered later', async () => {
  const here = await place();
  let mode: 'up' | 'down' | 'hung' = 'down';
  const log = await here.open({
    limits: { macMilliseconds: 300 },
    mac: async (data) => {
      if (mode === 'down') throw new Error('no device');
      if (mode === 'hung') await new Promise(() => undefined);
      return mac(data);
    },
  });
  await appendMany(log, 3);
  expect(log.status()).toMatchObject({ groups: 1, unsignedGroups: 1 });
  mode = 'hung';
  const started = performance.now();
  for (let i = 0; i < 10; i += 1) await log.append(entry());
  // One waited for the HSM, not all ten.
  expect(performance.now() - started).toBeLessThan(2_700);
  expect(log.status().unsignedGroups).toBe(11);
  expect((await here.verify()).unchecked).toEqual(['w1: records 1 to 13 are not covered by a MAC yet']);
  mode = 'up';
  await expect
    .poll(
      async () => {
        await log.append(entry());
        return (await here.verify()).unchecked;
      },
      { timeout: 20_000 },
    )
    .toEqual([]);
  expect((await here.verify()).ok).toBe(true);
});

/** Guarantees that one process at a time writes to a slot, and that another slot is another log. */
test('a second writer on one slot is refused', async () => {
  const here = await place();
  const first = await here.open();
  await expect(here.open({ writer: 'w1' })).rejects.toMatchObject({
    code: 'audit/unavailable',
    detail: expect.stringContaining('Another process writes the audit log as w1'),
  });
  const other = await here.open();
  expect([first.head().writer, other.head().writer]).toEqual(['w1', 'w2']);
  await Promise.all([appendMany(first, 5), appendMany(other, 7)]);
  const report = await here.verify();
  expect(report).toMatchObject({ ok: true, records: 12 });
  expect(report.heads).toEqual([first.head(), other.head()]);
  await first.close();
  expect((await here.open()).head()).toEqual(first.head());
});

/** Guarantees that nothing but the schema's members reaches the log: no payload, token or free text has a place. */
test('what the schema does not know is refused before it is written', async () => {
  const here = await place();
  const log = await here.open();
  const secret = 'c2VjcmV0LXBsYWludGV4dA';
  const bad: object[] = [
    { ...entry(), plaintext: secret },
    { ...entry(), target: { kind: 'key', name: 'a', token: secret } },
    { ...entry(), items: [{ action: 'x', outcome: 'allowed', context: { a: secret } }] },
    { ...entry(), requestId: secret.repeat(100) },
    { ...entry(), code: secret },
    { ...entry(), time: 1.5 },
  ];
  for (const one of bad) {
    await expect(log.append(one as AuditEntry)).rejects.toThrow(TypeError);
    await expect(log.append(one as AuditEntry)).rejects.not.toThrow(secret);
    await expect(log.change(one as AuditEntry, async () => undefined)).rejects.toThrow(TypeError);
  }
  expect(log.head().sequence).toBe(0);
  for (const name of readdirSync(here.audit)) {
    expect(readFileSync(join(here.audit, name), 'latin1')).not.toContain(secret);
  }
});

/** Guarantees that refusals of callers nobody knows cost one record a source and interval, under a bound. */
test('refusals are counted, not written one by one', async () => {
  const here = await place();
  const log = await here.open({ limits: { refusalSources: 3, refusalMilliseconds: 100 } });
  for (let i = 0; i < 500; i += 1) log.countRefusal(`10.0.0.${i % 5}`, 'access/unauthenticated');
  await expect.poll(() => log.head().sequence, { timeout: 20_000 }).toBe(4);
  const service = '00000000-0000-0000-0000-000000000000';
  const records = await allRecords(log, { namespaceId: service, action: 'access.refuse' });
  const counted = Object.fromEntries(records.map(({ source, count }) => [source, count]));
  expect(counted).toEqual({ '10.0.0.0': 100, '10.0.0.1': 100, '10.0.0.2': 100, other: 200 });
  expect(records[0]).toMatchObject({
    outcome: 'refused',
    code: 'access/unauthenticated',
    principal: { kind: 'anonymous' },
  });
  log.countRefusal('10.0.0.9', 'access/denied');
  await log.close();
  const report = await here.verify();
  expect(report).toMatchObject({ ok: true, records: 5 });
});

/** Guarantees that refusals that could not be written are written, with their count, when the log is back. */
test('refusals outlive a failure of the log', async () => {
  const here = await place();
  const log = await here.open({ limits: { refusalMilliseconds: 50, retryMilliseconds: 20 } });
  await log.append(entry());
  renameSync(here.audit, `${here.audit}-away`);
  for (let i = 0; i < 7; i += 1) log.countRefusal('10.0.0.1', 'access/unauthenticated');
  await expect.poll(() => log.status().state, { timeout: 20_000 }).toBe('unavailable');
  expect(existsSync(here.audit)).toBe(false);
  renameSync(`${here.audit}-away`, here.audit);
  const written = () => allRecords(log, { namespaceId: '00000000-0000-0000-0000-000000000000' });
  await expect
    .poll(written, { timeout: 5000 })
    .toContainEqual(expect.objectContaining({ source: '10.0.0.1', count: 7 }));
});

/** Guarantees that the log is ready again although nobody calls, and says so in a record of its own. */
test('recovers without traffic', async () => {
  const here = await place();
  const log = await here.open({ limits: { retryMilliseconds: 20 } });
  await log.append(entry());
  renameSync(here.audit, `${here.audit}-away`);
  await expect(log.append(entry())).rejects.toMatchObject({ code: 'audit/unavailable' });
  renameSync(`${here.audit}-away`, here.audit);
  await expect.poll(() => log.status().state, { timeout: 5000 }).toBe('ready');
  const records = await allRecords(log, { namespaceId: '00000000-0000-0000-0000-000000000000' });
  expect(records.map(({ action }) => action)).toEqual(['audit.recover']);
  await log.close();
  expect(await here.verify()).toMatchObject({ ok: true, records: 2 });
});

/** Guarantees that a closed log refuses and that what was queued before the close is written. */
test('close writes what waits, then refuses', async () => {
  const here = await place();
  const log = await here.open();
  const waiting = Promise.all(Array.from({ length: 200 }, () => log.append(entry())));
  await log.close();
  await waiting;
  expect(() => log.assertWritable()).toThrow('closed');
  await expect(log.append(entry())).rejects.toMatchObject({ code: 'audit/unavailable' });
  expect(await here.verify()).toMatchObject({ ok: true, records: 200 });
});
