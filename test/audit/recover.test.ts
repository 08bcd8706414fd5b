import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import {
  appendFileSync,
  copyFileSync,
  cpSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { acceptLoss } from '../../src/audit/loss.ts';
import { systemClock } from '../../src/core/clock.ts';
import {
  allRecords,
  appendMany,
  entry,
  insertRoot,
  mac,
  place,
  rootIds,
  scratchDirectory,
} from './support.ts';

const segment = (root: string, number: number) =>
  join(root, 'audit', `w1-${String(number).padStart(8, '0')}.ndjson`);

/** A log as a crash left it: two groups, the first acknowledged, the second being written. */
async function crashed(): Promise<{
  root: string;
  firstIds: string[];
  firstBytes: number;
  allBytes: number;
}> {
  const here = await place();
  const log = await here.open();
  const firstIds = await appendMany(log, 3);
  const firstBytes = statSync(segment(here.root, 1)).size;
  await appendMany(log, 2);
  return { root: here.snapshot(), firstIds, firstBytes, allBytes: statSync(segment(here.root, 1)).size };
}

/** Guarantees that a write torn at any byte is cut off, that nothing before it is lost, and that the log goes on. */
test('a tail torn at every byte of the last group', { timeout: 120_000 }, async () => {
  const { root, firstIds, firstBytes, allBytes } = await crashed();
  const whole = readFileSync(segment(root, 1));
  const here = await place(root);
  for (let bytes = firstBytes; bytes < allBytes; bytes += 1) {
    writeFileSync(segment(root, 1), whole.subarray(0, bytes));
    // One database does for all cuts: as the crash left it, it names no end for the running segment.
    await here.store.db.deleteFrom('audit_segments').where('number', '>', 1).execute();
    await here.store.db.updateTable('audit_segments').set({ last_sequence: null, last_head: null }).execute();
    rmSync(segment(root, 2), { force: true });
    const warnings: string[] = [];
    const log = await here.open({ log: (_level, event) => void warnings.push(event) });
    expect(warnings).toEqual(bytes === firstBytes ? [] : ['audit.torn-tail']);
    expect(statSync(segment(root, 1)).size).toBe(firstBytes);
    expect(log.head().sequence).toBe(3);
    const more = await appendMany(log, 2);
    expect((await allRecords(log)).map(({ id }) => id)).toEqual([...firstIds, ...more].toReversed());
    expect(await here.verify()).toMatchObject({ ok: true, records: 5 });
    await log.close();
  }
});

/** Guarantees that a hole a power failure left in the group being written is a torn write, too. */
test('a hole before the last commit line is cut off', async () => {
  const { root, firstBytes, firstIds } = await crashed();
  const bytes = readFileSync(segment(root, 1)).fill(0, firstBytes + 10, firstBytes + 60);
  writeFileSync(segment(root, 1), bytes);
  const log = await (await place(root)).open();
  expect((await allRecords(log)).map(({ id }) => id)).toEqual(firstIds.toReversed());
});

/** Guarantees that an altered record is never taken for a torn write: the log refuses and says what to do. */
test('a flipped bit anywhere in the last segment refuses to open', async () => {
  const { root } = await crashed();
  const whole = readFileSync(segment(root, 1));
  const here = await place(root);
  await fc.assert(
    fc.asyncProperty(fc.nat(whole.length * 8 - 1), async (bit) => {
      const bytes = Buffer.from(whole);
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      // A broken commit line of the last group, or its newline, cannot be told from a torn write.
      fc.pre(bit >> 3 < whole.lastIndexOf('{"commit"'));
      fc.pre(!bytes.includes(0));
      writeFileSync(segment(root, 1), bytes);
      await expect(here.open()).rejects.toMatchObject({
        code: 'audit/unavailable',
        detail: expect.stringMatching(/w1-00000001\.ndjson was altered or damaged .* accept-loss/),
      });
    }),
    { numRuns: 150 },
  );
});

/** Guarantees that another HSM's, or a forged, MAC refuses to open, and that a silent HSM does not. */
test('the last MAC is checked when the HSM answers', async () => {
  const { root } = await crashed();
  const here = await place(root);
  const other = async (data: Uint8Array) => createHmac('sha256', 'another key').update(data).digest();
  await expect(here.open({ mac: other })).rejects.toMatchObject({
    code: 'audit/unavailable',
    detail: expect.stringContaining('the MAC over record 5 is wrong'),
  });
  const events: string[] = [];
  const silent = {
    mac: () => Promise.reject(new Error('down')),
    log: (_: string, event: string) => void events.push(event),
  };
  await (await here.open(silent)).close();
  expect(events).toEqual(['audit.mac-unchecked']);
});

/** Guarantees that bytes after a sealed end, or a sealed end cut short, refuse to open. */
test.each([
  ['longer', (path: string) => appendFileSync(path, 'x')],
  ['shorter', (path: string) => truncateSync(path, statSync(path).size - 1)],
])('a sealed segment that became %s refuses', async (_, damage) => {
  const here = await place();
  const log = await here.open();
  await appendMany(log, 3);
  await log.close();
  damage(segment(here.root, 1));
  await expect(here.open()).rejects.toMatchObject({ code: 'audit/unavailable' });
});

/** Guarantees that a missing segment refuses until an operator accepts the loss, which stays visible for ever. */
test.each([1, 3])('segment %i of three is missing', async (number) => {
  const here = await place();
  const log = await here.open({ limits: { segmentBytes: 1 } });
  for (let i = 0; i < 3; i += 1) await appendMany(log, 2);
  const copy = await place(here.snapshot());
  renameSync(segment(copy.root, number), join(copy.root, 'away'));
  await expect(copy.open()).rejects.toMatchObject({
    code: 'audit/unavailable',
    detail: expect.stringMatching(
      new RegExp(`0000000${number}.ndjson is missing: restore the file, or run .stathera audit accept-loss`),
    ),
  });
  const file = `w1-0000000${number}.ndjson`;
  expect(await acceptLoss(copy.store, copy.audit, systemClock)).toEqual([{ writer: 'w1', number, file }]);
  const reopened = await copy.open();
  const more = await appendMany(reopened, 2);
  expect((await allRecords(reopened)).slice(0, 2).map(({ id }) => id)).toEqual(more.toReversed());
  expect((await allRecords(reopened)).length).toBe(6);
  const report = await copy.verify();
  expect(report).toMatchObject({ ok: false, problems: [], records: 6 });
  expect(report.losses).toMatchObject([
    { file, firstSequence: number * 2 - 1, lastSequence: number === 1 ? 2 : null },
  ]);
  await reopened.close();
  expect((await copy.verify()).problems).toEqual([]);
});

/** Guarantees that a restored, older database does not overwrite or hide the records it does not know. */
test('a segment unknown to the database refuses', async () => {
  const here = await place();
  const log = await here.open({ limits: { segmentBytes: 1 } });
  await appendMany(log, 2);
  const older = await place(here.snapshot());
  await appendMany(log, 2);
  copyFileSync(segment(here.root, 2), segment(older.root, 2));
  await expect(older.open()).rejects.toMatchObject({
    code: 'audit/unavailable',
    detail: expect.stringContaining('00000002.ndjson is unknown to the database'),
  });
  expect((await older.verify()).problems).toEqual([
    { file: 'w1-00000002.ndjson', what: 'holds records but is unknown to the database' },
  ]);
});

/** Guarantees that a crash between a segment's file and its row costs nothing. */
test.each(['', '{"format":1,"wri', '{"format":1}\n'])(
  'a file that was never registered (%j) is replaced',
  async (left) => {
    const here = await place();
    const log = await here.open();
    await appendMany(log, 2);
    await log.close();
    writeFileSync(segment(here.root, 2), left);
    expect(await here.verify()).toMatchObject({ ok: true });
    const reopened = await here.open();
    await appendMany(reopened, 2);
    expect(await here.verify()).toMatchObject({ ok: true, records: 4, segments: 2 });
  },
);

/** Guarantees that a directory that vanished is not replaced by an empty one. */
test('a missing directory refuses once there were segments', async () => {
  const here = await place();
  const log = await here.open();
  await appendMany(log, 2);
  await log.close();
  cpSync(here.audit, join(here.root, 'away'), { recursive: true });
  rmSync(here.audit, { recursive: true });
  await expect(here.open()).rejects.toMatchObject({ code: 'audit/unavailable' });
  renameSync(join(here.root, 'away'), here.audit);
  expect((await allRecords(await here.open())).length).toBe(2);
});

/** Guarantees over SIGKILL: every acknowledged record is there once, every change that is there has its record. */
test('kill -9 while writing', { timeout: 120_000 }, async () => {
  const root = scratchDirectory();
  await (await place(root)).store.close();
  const acknowledged: string[] = [];
  for (let round = 0; round < 5; round += 1) {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'child.ts'), root], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const goal = 200 + round * 97;
    let text = '';
    let lines = 0;
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      lines += chunk.split('\n').length - 1;
      if (lines >= goal) child.kill('SIGKILL');
    });
    await once(child, 'close');
    expect(child.signalCode).toBe('SIGKILL');
    acknowledged.push(...text.split('\n').slice(0, -1));
  }
  const here = await place(root);
  const log = await here.open();
  const found = (await allRecords(log)).map(({ id }) => id);
  expect(acknowledged.length).toBeGreaterThan(1000);
  expect(new Set(found).size).toBe(found.length);
  const there = new Set(found);
  expect(acknowledged.filter((id) => !there.has(id))).toEqual([]);
  const changes = (await allRecords(log, { action: 'keys.create' })).map(({ id }) => id);
  expect(changes.toSorted()).toEqual(await rootIds(here.store));
  await expect
    .poll(() => here.verify(), { timeout: 5000 })
    .toMatchObject({ ok: true, outboxPending: 0, records: found.length });
});

/** Guarantees that the slot is held against other processes, and is free the moment its holder is killed. */
test('the slot ends with its process', async () => {
  const root = scratchDirectory();
  const here = await place(root);
  const child = spawn(process.execPath, [join(import.meta.dirname, 'child.ts'), root], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  await expect(here.open({ writer: 'w1' })).rejects.toMatchObject({
    code: 'audit/unavailable',
    detail: expect.stringContaining('Another process writes the audit log as w1'),
  });
  child.stdout.resume();
  child.kill('SIGKILL');
  await once(child, 'close');
  expect((await allRecords(await here.open({ writer: 'w1' }))).length).toBeGreaterThan(0);
});

/** Guarantees that MACs are made with what the log is given, so that the checks above check something. */
test('a log of another key does not verify', async () => {
  const here = await place();
  const log = await here.open({ mac: async (data) => createHmac('sha256', 'x').update(data).digest() });
  await log.change(entry({ action: 'keys.create' }), insertRoot('r'));
  const report = await here.verify({ mac });
  expect(report.problems.map(({ file }) => file).toSorted()).toEqual(['audit_outbox', 'w1-00000001.ndjson']);
  expect(report.problems).toContainEqual({
    file: 'w1-00000001.ndjson',
    what: 'the MAC over record 1 is wrong',
  });
});
