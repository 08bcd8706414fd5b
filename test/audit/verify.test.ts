import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { verifyAudit } from '../../src/audit/verify.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { allRecords, appendMany, entry, insertRoot, place } from './support.ts';
import { joined, lines, written } from './written.ts';

/** Guarantees that a log cut at a commit line, which nothing inside it can tell, is found by an exported head. */
test('a running log cut before an exported head', async () => {
  const here = await place();
  const log = await here.open();
  await appendMany(log, 3);
  const bytes = readFileSync(join(here.audit, 'w1-00000001.ndjson')).length;
  const early = log.head();
  await appendMany(log, 3);
  const late = log.head();
  const crashed = await place(here.snapshot());
  expect(await crashed.verify({ expect: [early, late] })).toMatchObject({ ok: true, heads: [late] });
  truncateSync(join(crashed.audit, 'w1-00000001.ndjson'), bytes);
  expect((await crashed.verify()).ok).toBe(true);
  expect(await crashed.verify({ expect: [early] })).toMatchObject({ ok: true, heads: [early] });
  expect((await crashed.verify({ expect: [early, late] })).problems).toMatchObject([
    { file: 'w1', what: expect.stringContaining('record 6, whose head was exported, was not found') },
  ]);
  const forged = { ...early, head: late.head };
  expect((await crashed.verify({ expect: [forged] })).problems).toMatchObject([
    { what: 'record 3 is not the one whose head was exported' },
  ]);
  expect((await crashed.verify({ expect: [{ ...early, writer: 'w9' }] })).ok).toBe(false);
});

/** Guarantees that a problem is named with its line and offset, and does not hide those of later segments. */
test('a problem is placed, and the later segments are still checked', async () => {
  const { here, files } = await written();
  for (const name of [files[0] ?? '', files[2] ?? '']) {
    const path = join(here.audit, name);
    const parts = lines(readFileSync(path));
    parts[1] = (parts[1] ?? '').replace('"source":"127.0.0.1"', '"source":"127.0.0.2"');
    writeFileSync(path, joined(parts));
  }
  const report = await here.verify();
  const header = lines(readFileSync(join(here.audit, files[0] ?? '')))[0] ?? '';
  const second = lines(readFileSync(join(here.audit, files[0] ?? '')));
  const commit = second.findIndex((line) => line.startsWith('{"commit"'));
  expect(report.problems).toEqual([
    {
      file: files[0],
      line: commit + 1,
      offset: second.slice(0, commit).join('').length,
      what: 'the chain is broken: a record of this group was altered',
    },
    expect.objectContaining({ file: files[2] }),
  ]);
  expect(header).toContain('"format":1');
  expect(report.segments).toBe(files.length);
});

/** Guarantees that a registry that was rewritten to fit is found where it does not fit the chain. */
test('the database and the files must agree', async () => {
  const { here, files } = await written();
  const { db } = here.store;
  const change = async (values: object, number: number) => {
    const row = await db
      .selectFrom('audit_segments')
      .selectAll()
      .where('number', '=', number)
      .executeTakeFirstOrThrow();
    await db.updateTable('audit_segments').set(values).where('number', '=', number).execute();
    const { ok } = await here.verify();
    await db.updateTable('audit_segments').set(row).where('number', '=', number).execute();
    return ok;
  };
  expect(await change({ last_sequence: 1 }, 2)).toBe(false);
  expect(await change({ last_head: Buffer.alloc(32) }, 2)).toBe(false);
  expect(await change({ first_sequence: 1 }, 2)).toBe(false);
  expect(await change({ first_head: Buffer.alloc(32) }, 2)).toBe(false);
  expect(await change({ created_at: 1 }, 2)).toBe(false);
  expect(await change({ file: files[0] }, 2)).toBe(false);
  expect(await change({ last_sequence: null, last_head: null }, 2)).toBe(false);
  expect(await change({ loss_accepted_at: 1 }, 2)).toBe(false);
  expect((await here.verify()).ok).toBe(true);
  await db.deleteFrom('audit_segments').where('number', '=', 2).execute();
  const report = await here.verify();
  expect(report.problems.map(({ file }) => file)).toContain(files[1]);
});

/** Guarantees that verify works beside the running log, through a read-only database, and writes nothing. */
test('beside the running log', async () => {
  const here = await place();
  const log = await here.open({ limits: { segmentBytes: 20_000 } });
  const state = { stopped: false };
  const writing = Array.from({ length: 8 }, async (_, index) => {
    while (!state.stopped) {
      const one = entry();
      if (index === 0) await log.change(one, insertRoot(one.id));
      else await log.append(one);
    }
  });
  const store = openSqliteStore({ file: join(here.root, 'stathera.db'), readonly: true });
  const seen: number[] = [];
  // Until the log has moved on beside it: the time limit of the test is the ceiling.
  for (let round = 0; round < 12 || seen.at(-1) === seen[0]; round += 1) {
    const report = await here.verify({ store });
    expect(report.problems).toEqual([]);
    expect(report.ok).toBe(true);
    seen.push(report.records);
    const [head] = report.heads;
    if (head && round % 5 === 0) expect((await here.verify({ store, expect: [head] })).ok).toBe(true);
  }
  state.stopped = true;
  await Promise.all(writing);
  await store.close();
  expect(seen.at(-1)).toBeGreaterThan(seen[0] ?? 0);
  expect(seen.toSorted((a, b) => a - b)).toEqual(seen);
});

/** Guarantees that what was not checked is said: no token, a silent token, a group that is being written. */
test('what could not be checked', async () => {
  const here = await place();
  const log = await here.open();
  await appendMany(log, 3);
  await appendMany(log, 2);
  const { store, audit } = here;
  const without = await verifyAudit({ directory: audit, store });
  expect(without).toMatchObject({
    ok: true,
    unchecked: ['w1: 2 MACs, which need the token: the chain alone was followed'],
  });
  const down = await here.verify({ mac: () => Promise.reject(new Error('down')) });
  expect(down).toMatchObject({ ok: true, unchecked: without.unchecked });
  const copy = await place(here.snapshot());
  writeFileSync(join(copy.audit, 'w1-00000001.ndjson'), '{"sequence":6,', { flag: 'a' });
  expect(await copy.verify()).toMatchObject({
    ok: true,
    records: 5,
    unchecked: [expect.stringContaining('w1-00000001.ndjson: 14 bytes after the last commit line')],
  });
});

/** Guarantees that files and rows that should not be there, or are not, are told, and other files are let be. */
test('missing, foreign and stray files', async () => {
  const { here, files } = await written();
  const [first = '', second = ''] = files;
  writeFileSync(join(here.audit, 'notes.txt'), 'x');
  mkdirSync(join(here.audit, 'archive'));
  expect((await here.verify()).ok).toBe(true);
  copyFileSync(join(here.audit, first), join(here.audit, 'w7-00000001.ndjson'));
  expect((await here.verify()).problems).toEqual([
    { file: 'w7-00000001.ndjson', what: 'holds records but is unknown to the database' },
  ]);
  rmSync(join(here.audit, 'w7-00000001.ndjson'));
  renameSync(join(here.audit, second), join(here.audit, 'archive', second));
  expect(await here.verify()).toMatchObject({
    ok: false,
    problems: [],
    losses: [{ file: second, acceptedAt: null }],
  });
  rmSync(here.audit, { recursive: true });
  expect((await here.verify()).losses.length).toBe(files.length);
  expect(existsSync(here.audit)).toBe(false);
});

/** Guarantees progress for whoever waits: counts that only grow, the last near the end. */
test('progress', async () => {
  const { here } = await written();
  const seen: number[] = [];
  const report = await here.verify({ onProgress: ({ records }) => void seen.push(records) });
  expect(seen.at(-1)).toBe(report.records);
  expect(seen.toSorted((a, b) => a - b)).toEqual(seen);
  expect((await allRecords(await here.open())).length).toBe(report.records);
});

/** Guarantees without a token, too, that a MAC that was taken away or altered is found once a later record covers it. */
test.each(['null', 'other'])('a MAC of an earlier group becomes %s', async (kind) => {
  const { here, files } = await written();
  const instead = kind === 'null' ? 'null' : `"${'0'.repeat(64)}"`;
  const earlier = files.slice(0, -1);
  for (const name of earlier) {
    const path = join(here.audit, name);
    const whole = lines(readFileSync(path));
    for (const [at, line] of whole.entries()) {
      if (!line.startsWith('{"commit"')) continue;
      writeFileSync(path, joined(whole.with(at, line.replace(/"mac":"[0-9a-f]+"/, `"mac":${instead}`))));
      expect((await verifyAudit({ directory: here.audit, store: here.store })).ok).toBe(false);
    }
    writeFileSync(path, joined(whole));
  }
  expect((await here.verify()).ok).toBe(true);
});
