import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { AuditLog } from '../../src/audit/audit.ts';
import {
  allRecords,
  appendMany,
  entry,
  namespaceId,
  type Place,
  place,
  rootIds,
  scratchDirectory,
  until,
} from './support.ts';

/** A process that writes until it has been answered so often and `others` allow it, and is killed then, wherever it is. */
function writer(root: string, answers: number, others: () => boolean) {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'child.ts'), root], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  let lines = 0;
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    lines += chunk.split('\n').length - 1;
    if (others() && lines >= answers) child.kill('SIGKILL');
  });
  return once(child, 'close').then(() => {
    expect(child.signalCode).toBe('SIGKILL');
    return text.split('\n').slice(0, -1);
  });
}

/** Segments of other writers that have records and no end. */
async function unsealedRecords({ store, audit }: Place, own: string): Promise<string[]> {
  const rows = await store.db
    .selectFrom('audit_segments')
    .select('file')
    .where('last_sequence', 'is', null)
    .where('writer', '!=', own)
    .execute();
  return rows.map(({ file }) => file).filter((file) => /\n./.test(readFileSync(join(audit, file), 'utf8')));
}

/**
 * Guarantees over SIGKILL of any of several processes: every answered operation has its record once, every change
 * that is there has its record, and what a dead process left is finished by a live one without a restart.
 */
test('processes of one log are killed again and again', { timeout: 180_000 }, async () => {
  const root = scratchDirectory();
  const here = await place(root);
  const log = await here.open({ limits: { adoptMilliseconds: 100 } });
  const writing = new Set<number>();
  const lane = async (first: number): Promise<string[]> => {
    const answered: string[] = [];
    for (let round = 0; round < 3; round += 1) {
      // The first round's are there at the same time, however slow the machine is.
      const together = () => writing.add(first).size === 3;
      answered.push(...(await writer(root, first + round * 71, together)));
    }
    return answered;
  };
  const answered = (await Promise.all([lane(90), lane(133), lane(210)])).flat();
  answered.push(...(await appendMany(log, 3)));
  await expect.poll(() => here.verify(), { timeout: 30_000 }).toMatchObject({ ok: true, outboxPending: 0 });
  await expect.poll(() => unsealedRecords(here, log.head().writer), { timeout: 30_000 }).toEqual([]);
  const found = (await allRecords(log)).map(({ id }) => id);
  expect(new Set(found).size).toBe(found.length);
  const there = new Set(found);
  expect(answered.filter((id) => !there.has(id))).toEqual([]);
  const changes = (await allRecords(log, { action: 'keys.create' })).map(({ id }) => id);
  expect(changes.toSorted()).toEqual(await rootIds(here.store));
  const report = await here.verify();
  expect(report).toMatchObject({ ok: true, problems: [], losses: [], records: found.length });
  expect(report.heads.length).toBeGreaterThan(3);
});

/** Guarantees that a slot is taken by the next process, and that no two have one. */
test('each process has a slot of its own, and a free one is used again', async () => {
  const here = await place();
  const logs = [await here.open(), await here.open(), await here.open()];
  expect(logs.map((log) => log.head().writer)).toEqual(['w1', 'w2', 'w3']);
  const [, second] = logs;
  if (!second) throw new Error('there are three');
  await appendMany(second, 2);
  await second.close();
  const next = await here.open();
  expect(next.head()).toMatchObject({ writer: 'w2', sequence: 2 });
});

interface Event {
  readonly event: string;
  readonly fields: object;
}

/** Guarantees that an empty segment, and a row that is not the service's, are not looked after again and again. */
test('what needs nothing is left alone', async () => {
  const here = await place();
  const rare = { limits: { adoptMilliseconds: 60_000 } };
  await (await here.open({ writer: 'w2', ...rare })).close();
  const forged = JSON.stringify({ writer: 'w2', entry: JSON.stringify(entry()), mac: '00'.repeat(32) });
  await here.store.db
    .insertInto('audit_outbox')
    .values({ id: 'forged', namespace_id: 'n', entry: forged, created_at: 1 })
    .execute();
  await (await here.open({ writer: 'w3', ...rare })).close();
  const crashed = await place(here.snapshot());
  const events: Event[] = [];
  const log = await crashed.open({
    limits: { adoptMilliseconds: 10 },
    log: (_level, event, fields) => void events.push({ event, fields }),
  });
  const adopted = () => events.filter(({ event }) => event === 'audit.adopted').map(({ fields }) => fields);
  await until(() => adopted().length > 0);
  // Another orphan comes: by the time it is adopted the first ones were looked at again.
  for (const id of ['a', 'b']) {
    const other = await crashed.open({ writer: 'w4', ...rare });
    await appendMany(other, 2);
    const files = crashed.store.db.updateTable('audit_segments').where('writer', '=', 'w4');
    const before = adopted().length;
    await other.close();
    await files.set({ last_sequence: null, last_head: null }).execute();
    await until(() => adopted().length > before);
    await log.append(entry({ id }));
  }
  expect(adopted()).toEqual([
    { writer: 'w2', sequence: 0 },
    { writer: 'w4', sequence: 2 },
    { writer: 'w4', sequence: 4 },
  ]);
});

/** Guarantees that an orphan that is not whole is told of once, and that the others are finished all the same. */
test('an orphan that is not whole', async () => {
  const here = await place();
  const rare = { limits: { adoptMilliseconds: 60_000 } };
  const logs = [await here.open({ writer: 'w2', ...rare }), await here.open({ writer: 'w3', ...rare })];
  for (const log of logs) await appendMany(log, 2);
  const crashed = await place(here.snapshot());
  const broken = join(crashed.audit, 'w2-00000001.ndjson');
  const bytes = readFileSync(broken);
  writeFileSync(broken, bytes.fill(0x20, 400, 410));
  const events: Event[] = [];
  const log = await crashed.open({
    limits: { adoptMilliseconds: 10 },
    log: (_level, event, fields) => void events.push({ event, fields }),
  });
  await until(() => events.some(({ event }) => event === 'audit.adopted'));
  await log.append(entry());
  const unsealed = await crashed.store.db
    .selectFrom('audit_segments')
    .select('writer')
    .where('last_sequence', 'is', null)
    .orderBy('writer')
    .execute();
  expect(unsealed).toEqual([{ writer: 'w1' }, { writer: 'w2' }]);
  expect(events).toEqual([
    {
      event: 'audit.orphan-left',
      fields: { writer: 'w2', reason: expect.stringContaining('w2-00000001.ndjson was altered or damaged') },
    },
    { event: 'audit.adopted', fields: { writer: 'w3', sequence: 2 } },
  ]);
});

/** Guarantees one list of all processes' records: each one's in order, newest first between them, each once, whatever the page's size. */
test.each([1, 3, 1000])('records of several processes, %i a page', async (limit) => {
  const here = await place();
  const [one, two, three] = [await here.open(), await here.open(), await here.open()];
  const expected: string[] = [];
  const write = async (log: AuditLog, time: number) => {
    const record = entry({ time });
    await log.append(record);
    expected.unshift(record.id);
  };
  for (let at = 0; at < 30; at += 1) await write([one, two, one, three][at % 4] ?? one, 1_000 + at);
  await two.close();
  for (let at = 0; at < 6; at += 1) await write([one, three][at % 2] ?? one, 2_000 + at);
  // Read by a process that wrote none of them.
  const reader = await here.open();
  expect((await allRecords(reader, { limit })).map(({ id }) => id)).toEqual(expected);
  const first = await reader.records({ namespaceId, limit });
  // What comes between two pages shifts and repeats nothing.
  await Promise.all([appendMany(one, 4), appendMany(reader, 4), (await here.open()).append(entry())]);
  const found = [...first.items];
  for (let cursor = first.nextCursor; cursor !== undefined; ) {
    const page = await reader.records({ namespaceId, limit, cursor });
    found.push(...page.items);
    cursor = page.nextCursor;
  }
  expect(found.map(({ id }) => id)).toEqual(expected);
  expect(await here.verify({ expect: found })).toMatchObject({ ok: true });
});

/** Guarantees that a page of many processes' records is bounded all the same, and loses none of them. */
test.each([1, 5_000])('pages of several processes that may read %i bytes', async (pageBytes) => {
  const here = await place();
  const logs = [await here.open(), await here.open(), await here.open()];
  const ids = (await Promise.all(logs.map((log) => appendMany(log, 40)))).flat();
  await Promise.all(logs.map((log) => appendMany(log, 40)));
  const reader = await here.open({ limits: { pageBytes } });
  const query = { principalId: '0190a0c0-0000-7000-8000-0000000000aa' };
  const found = (await allRecords(reader, query)).map(({ id }) => id);
  expect(found.length).toBe(240);
  expect(new Set(found).size).toBe(240);
  expect(ids.every((id) => found.includes(id))).toBe(true);
  expect(await allRecords(reader, { principalId: 'nobody' })).toEqual([]);
});
