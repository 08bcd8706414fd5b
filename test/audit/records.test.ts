import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { AuditEntry } from '../../src/audit/entry.ts';
import type { AuditLimits } from '../../src/audit/options.ts';
import { allRecords, appendMany, entry, hookedFiles, namespaceId, place, SystemError } from './support.ts';

const otherNamespace = '0190a0c0-0000-7000-8000-000000000002';

/** A log over several segments with two namespaces, several actions and batches. */
async function mixed(budget: Partial<AuditLimits> = { pageLines: 25 }) {
  const here = await place();
  const log = await here.open({ limits: { segmentBytes: 6000, ...budget } });
  const all: AuditEntry[] = [];
  for (let group = 0; group < 30; group += 1) {
    const entries = Array.from({ length: 5 }, (_, i) => {
      const at = group * 5 + i;
      return entry({
        time: 1_000_000 + at,
        namespaceId: at % 3 === 0 ? otherNamespace : namespaceId,
        action: at % 2 === 0 ? 'keys.create' : 'envelope.encrypt',
        outcome: at % 7 === 0 ? 'refused' : 'allowed',
        requestId: `r${at % 11}`,
        principal: { kind: 'token', id: `p${at % 4}` },
        target: { kind: 'key', id: `k${at % 5}`, name: `name-${at % 6}` },
        ...(at % 10 === 0 && {
          items: [
            {
              action: 'envelope.rewrap',
              target: { kind: 'key' as const, name: 'inner' },
              outcome: 'allowed' as const,
            },
          ],
        }),
      });
    });
    all.push(...entries);
    await Promise.all(entries.map((one) => log.append(one)));
  }
  return { here, log, all };
}

/** Guarantees that pages of any size give every record of the namespace once, newest first, with its own head. */
test.each([1, 2, 7, 1000])('pages of %i', async (limit) => {
  const { log, all } = await mixed();
  const found = [];
  let [cursor, pages, short] = [undefined as string | undefined, 0, 0];
  do {
    const page = await log.records({ namespaceId, limit, cursor });
    expect(page.items.length).toBeLessThanOrEqual(limit);
    if (page.items.length < limit) short += 1;
    found.push(...page.items);
    cursor = page.nextCursor;
    pages += 1;
  } while (cursor !== undefined);
  const expected = all.filter((one) => one.namespaceId === namespaceId).toReversed();
  expect(found.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
  expect(found.map(({ sequence, writer, head, ...values }) => values)).toEqual(expected);
  // The budget of a page ends it before the limit does: a short page is no last page.
  expect(short).toBeGreaterThan(limit === 1000 ? 3 : 0);
  expect(pages).toBeGreaterThan(1);
});

/** Guarantees that a page reads a bounded number of bytes, however long the records are, and loses none for it. */
test.each([1, 5000, 20_000])('pages that may read %i bytes', async (pageBytes) => {
  const { log, all } = await mixed({ pageBytes });
  const first = await log.records({ namespaceId, limit: 1000 });
  expect(JSON.stringify(first.items).length).toBeLessThan(pageBytes + 5000);
  const expected = all.filter((one) => one.namespaceId === namespaceId).toReversed();
  expect((await allRecords(log)).map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
});

/** Guarantees that the head given with a record is the chain's after it, wherever in its group the page begins. */
test('heads are those of the chain', async () => {
  const { here, log } = await mixed();
  const found = await allRecords(log, { limit: 3 });
  const expect_ = found.map(({ writer, sequence, head }) => ({ writer, sequence, head }));
  expect(await here.verify({ expect: expect_ })).toMatchObject({ ok: true });
  const wrong = expect_.map((one, at) => (at === 7 ? { ...one, head: found[0]?.head ?? '' } : one));
  expect((await here.verify({ expect: wrong })).problemCount).toBe(1);
});

/** Guarantees that each filter gives exactly the records it names, and that batches are found by their items. */
test('filters', async () => {
  const { log, all } = await mixed();
  const mine = all.filter((one) => one.namespaceId === namespaceId);
  const cases: [object, (one: AuditEntry) => boolean][] = [
    [{ action: 'keys.create' }, (one) => one.action === 'keys.create'],
    [{ action: 'envelope.rewrap' }, (one) => one.items !== undefined],
    [{ outcome: 'refused' }, (one) => one.outcome === 'refused'],
    [{ principalId: 'p1' }, (one) => one.principal.id === 'p1'],
    [{ target: 'k2' }, (one) => one.target?.id === 'k2'],
    [{ target: 'name-4' }, (one) => one.target?.name === 'name-4'],
    [{ target: 'inner' }, (one) => one.items !== undefined],
    [{ requestId: 'r5' }, (one) => one.requestId === 'r5'],
    [{ from: 1_000_010, to: 1_000_020 }, (one) => one.time >= 1_000_010 && one.time < 1_000_020],
    [
      { action: 'keys.create', principalId: 'p2' },
      (one) => one.action === 'keys.create' && one.principal.id === 'p2',
    ],
  ];
  for (const [query, belongs] of cases) {
    const expected = mine.filter(belongs).map(({ id }) => id);
    expect(expected.length).toBeGreaterThan(2);
    expect((await allRecords(log, query)).map(({ id }) => id).toReversed()).toEqual(expected);
  }
});

/** Guarantees that no namespace sees another's records, whatever else it asks for or whose cursor it brings. */
test('namespaces do not see each other', async () => {
  const { log, all } = await mixed();
  const theirs = await log.records({ namespaceId: otherNamespace, limit: 3 });
  expect(theirs.nextCursor).toBeDefined();
  const page = await log.records({ namespaceId, limit: 10, cursor: theirs.nextCursor });
  expect(page.items.length).toBeGreaterThan(0);
  expect(page.items.every((one) => one.namespaceId === namespaceId)).toBe(true);
  const hidden = all.find((one) => one.namespaceId === otherNamespace && one.target?.id === 'k0');
  expect(
    await allRecords(log, {
      requestId: hidden?.requestId,
      target: 'k0',
      from: hidden?.time,
      to: (hidden?.time ?? 0) + 1,
    }),
  ).toEqual([]);
  expect(await allRecords(log, { namespaceId: 'nobody' })).toEqual([]);
});

/** Guarantees that records appended between two pages neither shift nor repeat what the next page holds. */
test('a page goes on where the last one ended', async () => {
  const { log } = await mixed();
  const before = await allRecords(log);
  const first = await log.records({ namespaceId, limit: 4 });
  await appendMany(log, 20);
  const second = await log.records({ namespaceId, limit: 4, cursor: first.nextCursor });
  expect([...first.items, ...second.items]).toEqual(before.slice(0, 8));
});

/** Guarantees that a cursor nobody gave out is refused, not followed. */
test('forged cursors', async () => {
  const { log } = await mixed();
  const encode = (text: string) => Buffer.from(text).toString('base64url');
  const forged = [
    '',
    '!',
    'x',
    encode('w1'),
    encode('w1.1'),
    encode('w1.1.zzzz'),
    encode('w1.1.0'),
    encode('w1.0.1'),
    encode('w1.-1.5'),
    encode('w1.zz.'),
    encode('w2.1.'),
    encode('w1.1.,w1.1.'),
    encode('w1.1.,'),
    `${encode('w1.1.')}=`,
    encode('w1.1.1.1'),
    encode('w1.01.'),
    encode('W1.1.'),
  ];
  for (const cursor of forged) {
    await expect(log.records({ namespaceId, limit: 5, cursor })).rejects.toMatchObject({
      code: 'request/invalid',
    });
  }
});

/** Guarantees that a made-up place in the log tells nothing: every one within it answers, with own records alone. */
test('made-up cursors are led to a line', async () => {
  const { log } = await mixed();
  const own = new Set((await allRecords(log)).map(({ id }) => id));
  const encode = (offset: number) => Buffer.from(`w1.1.${offset.toString(36)}`).toString('base64url');
  let last = 0;
  for (let offset = 1; offset < 2000; offset += 7) {
    const { items } = await log.records({ namespaceId, limit: 1000, cursor: encode(offset) });
    expect(items.every(({ id }) => own.has(id))).toBe(true);
    expect(items.length).toBeGreaterThanOrEqual(last);
    last = items.length;
  }
  expect(last).toBeGreaterThan(0);
});

/** Guarantees that a record nobody was answered for is not shown, though its bytes may be on disk. */
test('only committed records are shown', async () => {
  const here = await place();
  let failing = false;
  const files = hookedFiles((at, when) => {
    if (failing && ((at === 'append' && when === 'after') || at === 'truncate')) throw new SystemError('EIO');
  });
  const log = await here.open({ files });
  const [id] = await appendMany(log, 1);
  failing = true;
  const unanswered = entry();
  await expect(log.append(unanswered)).rejects.toMatchObject({ code: 'audit/unavailable' });
  expect(readFileSync(join(here.audit, 'w1-00000001.ndjson'), 'utf8')).toContain(unanswered.id);
  expect((await allRecords(log)).map((one) => one.id)).toEqual([id]);
});

/** Guarantees that the largest record there can be is written, read back and verified. */
test('a batch with every character escaped', async () => {
  const here = await place();
  const log = await here.open();
  const worst = '\u0001'.repeat(64);
  const item = {
    action: worst,
    target: { kind: 'namespace' as const, id: worst, name: worst + worst, version: Number.MAX_SAFE_INTEGER },
    outcome: 'refused' as const,
  };
  const big = entry({ items: Array.from({ length: 1000 }, () => item), requestId: '\ud800é"\\' });
  await Promise.all([log.append(big), appendMany(log, 3)]);
  const records = await allRecords(log);
  expect(records.find(({ id }) => id === big.id)).toMatchObject(big);
  expect(await here.verify()).toMatchObject({ ok: true, records: 4 });
});
