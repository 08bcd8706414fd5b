import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { exportSegments } from '../../src/audit/export.ts';
import { openPostgresStore } from '../../src/store/postgres.ts';
import type { Store } from '../../src/store/store.ts';
import { postgresSettings, startPostgres, type TestPostgres, whyNoPostgres } from '../support/postgres.ts';
import { startTestProxy } from '../support/proxy.ts';
import {
  allRecords,
  appendMany,
  entry,
  insertRoot,
  type Place,
  place,
  rootIds,
  scratchDirectory,
  until,
} from './support.ts';

const quick = { adoptMilliseconds: 50, silentMilliseconds: 2_000 };
const rare = { adoptMilliseconds: 600_000, silentMilliseconds: 600_000 };

/** A writer in a process of its own. */
function writer(url: string) {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'child.ts'), url], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const closed = once(child, 'close');
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const answered = () => text.split('\n').slice(0, -1);
  return {
    answered,
    hasAnswered: (count: number) => until(() => answered().length >= count, 60_000),
    signal: (name: NodeJS.Signals) => void child.kill(name),
    async kill() {
      child.kill('SIGKILL');
      await closed;
      return answered();
    },
  };
}

/** Every answered record once, a record for every change, nothing left in the outbox, and a log that verifies. */
async function expectWhole(here: Place, answered: readonly string[], store: Store): Promise<void> {
  const log = await here.open({ limits: quick });
  await expect.poll(() => here.verify(), { timeout: 60_000 }).toMatchObject({ ok: true, outboxPending: 0 });
  const found = (await allRecords(log)).map(({ id }) => id);
  expect(new Set(found).size).toBe(found.length);
  const there = new Set(found);
  expect(answered.filter((id) => !there.has(id))).toEqual([]);
  const changes = (await allRecords(log, { action: 'keys.create' })).map(({ id }) => id);
  expect(changes.toSorted()).toEqual((await rootIds(store)).toSorted());
}

const why = whyNoPostgres();
describe.skipIf(why !== undefined)(`a log in PostgreSQL${why === undefined ? '' : ` (${why})`}`, () => {
  let server: TestPostgres;
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(() => server.remove());

  async function database() {
    const url = await server.createDatabase();
    const connect = () => openPostgresStore(postgresSettings(url));
    const store = await connect();
    return { url, store, connect, here: await place(scratchDirectory(), store) };
  }

  /** Guarantees one chain over segments and restarts, with nothing on the node's disk. */
  test('segments are rows', async () => {
    const { here } = await database();
    const ids: string[] = [];
    for (let round = 0; round < 3; round += 1) {
      const log = await here.open({ limits: { segmentBytes: 4000 } });
      for (let group = 0; group < 5; group += 1) ids.push(...(await appendMany(log, 4)));
      await log.change(entry({ id: `root-${round}`, action: 'keys.create' }), insertRoot(`root-${round}`));
      ids.push(`root-${round}`);
      expect(log.head()).toMatchObject({ writer: 'w1', sequence: ids.length });
      await log.close();
    }
    const report = await here.verify();
    expect(report).toMatchObject({ ok: true, records: 63, outboxPending: 0, unchecked: [], problems: [] });
    expect(report.segments).toBeGreaterThan(5);
    const log = await here.open();
    expect((await allRecords(log, { limit: 7 })).map(({ id }) => id)).toEqual(ids.toReversed());
    expect(existsSync(here.audit)).toBe(false);
  });

  /** Guarantees over SIGKILL of processes that write side by side: no record is missing or there twice, and a dead process's part is finished by a live one. */
  test('processes are killed', { timeout: 180_000 }, async () => {
    const { here, store, url } = await database();
    const answered: string[] = [];
    for (const count of [60, 110]) {
      const writers = [writer(url), writer(url), writer(url)];
      await Promise.all(writers.map((one, at) => one.hasAnswered(count + 31 * at)));
      for (const one of writers) answered.push(...(await one.kill()));
    }
    await expectWhole(here, answered, store);
    expect((await here.verify()).heads.length).toBeGreaterThan(2);
    const held = () => store.db.selectFrom('audit_writers').select('writer').where('held', '=', 1).execute();
    // Their slots are free again, all but the one of the log that is open.
    await expect.poll(held, { timeout: 60_000 }).toHaveLength(1);
  });

  /** Guarantees that a process that was stopped for longer than it may be silent writes nothing after another took its part over, and goes on with another slot. */
  test('a process is stopped and comes back', { timeout: 180_000 }, async () => {
    const { here, store, url } = await database();
    const stopped = writer(url);
    await stopped.hasAnswered(50);
    stopped.signal('SIGSTOP');
    const events: string[] = [];
    const log = await here.open({ limits: quick, log: (_level, event) => void events.push(event) });
    expect(log.head().writer).toBe('w2');
    await until(() => events.includes('audit.adopted'), 60_000);
    const answered = stopped.answered().length;
    stopped.signal('SIGCONT');
    await stopped.hasAnswered(answered + 50);
    const last = new Set(stopped.answered().slice(-20));
    const written = await allRecords(log);
    // What it was answered now is in a part of its own again.
    const writers = written.filter(({ id }) => last.has(id)).map((record) => record.writer);
    expect(writers).toHaveLength(20);
    expect(writers).not.toContain('w2');
    const epochs = await store.db.selectFrom('audit_writers').select(['writer', 'epoch']).execute();
    expect(epochs.find((row) => row.writer === 'w1')?.epoch).toBeGreaterThan(1);
    await log.close();
    await expectWhole(here, await stopped.kill(), store);
  });

  /** Guarantees the fence itself: whoever lost its slot can neither append, begin a segment, seal one nor cut one back. */
  test('a slot that was taken over', async () => {
    const { here, store } = await database();
    const log = await here.open({ writer: 'w1', limits: { ...rare, retryMilliseconds: 20 } });
    await appendMany(log, 3);
    const rows = () =>
      sql<{
        rows: string;
      }>`select count(*) || ':' || sum(octet_length(bytes)) as rows from audit_segment_bytes`
        .execute(store.db)
        .then(({ rows: [row] }) => row?.rows);
    const before = await rows();
    await store.db.updateTable('audit_writers').set({ epoch: 7, beat: 99 }).execute();
    await expect(log.append(entry())).rejects.toMatchObject({ code: 'audit/unavailable' });
    expect(log.status().state).toBe('unavailable');
    await log.close();
    expect(await rows()).toBe(before);
    // One that does not know yet, and closes in order.
    const second = await here.open({ writer: 'w2', limits: rare });
    await appendMany(second, 2);
    await store.db.updateTable('audit_writers').set({ epoch: 7, beat: 99 }).execute();
    await second.close();
    const sealed = await store.db.selectFrom('audit_segments').select('last_sequence').execute();
    expect(sealed).toEqual([{ last_sequence: null }, { last_sequence: null }]);
    expect(await store.db.selectFrom('audit_writers').select(['epoch', 'held']).execute()).toEqual([
      { epoch: 7, held: 1 },
      { epoch: 7, held: 1 },
    ]);
  });

  /** Guarantees that a log whose segments are files, as older software left them, goes on in the database where they are, and refuses where they are not. */
  test('segments that are files are brought in', async () => {
    const { here, store } = await database();
    const files = await place();
    const log = await files.open({ limits: { segmentBytes: 3000 } });
    for (let group = 0; group < 8; group += 1) await appendMany(log, 2);
    const ids = (await allRecords(log)).map(({ id }) => id);
    const rows = await files.store.db.selectFrom('audit_segments').selectAll().execute();
    expect(rows.length).toBeGreaterThan(2);
    await store.db.insertInto('audit_segments').values(rows).execute();
    await expect(here.open()).rejects.toMatchObject({
      code: 'audit/unavailable',
      detail: expect.stringMatching(
        /w1-00000001.ndjson is neither in the database nor in .* start the service once/,
      ),
    });
    // As a crash left them.
    const crashed = join(files.snapshot(), 'audit');
    const opened = await here.open({ directory: crashed });
    await opened.append(entry({ id: 'next' }));
    expect((await allRecords(opened)).map(({ id }) => id)).toEqual(['next', ...ids]);
    expect(opened.head()).toMatchObject({ writer: 'w1', sequence: 17 });
    await opened.close();
    expect(await here.verify()).toMatchObject({ ok: true, records: 17, unchecked: [] });
    // Nothing is asked of the files any more.
    await (await here.open()).close();
  });

  /** Guarantees that a group whose commit nobody heard of is not answered, and not in the log once that goes on. */
  test('the answer to a write is lost', async () => {
    const { here, url } = await database();
    const proxy = await startTestProxy(server.port);
    onTestFinished(() => proxy.close());
    const settings = { ...postgresSettings(url), port: proxy.port };
    const doubtful = await openPostgresStore(settings);
    const log = await here.open({ store: doubtful, limits: { ...rare, retryMilliseconds: 20 } });
    onTestFinished(async () => {
      await log.close();
      await doubtful.close();
    });
    const [before, lost, after] = [entry(), entry(), entry()];
    await log.append(before);
    proxy.onceSent(lost.id, () => proxy.loseAnswers());
    await expect(log.append(lost)).rejects.toMatchObject({ code: 'audit/unavailable' });
    proxy.pass();
    await until(() => log.status().state === 'ready', 60_000);
    await log.append(after);
    expect((await allRecords(log)).map(({ id }) => id)).toEqual([after.id, before.id]);
    await log.close();
    expect(await here.verify()).toMatchObject({ ok: true, problems: [], unchecked: [] });
  });

  /** Guarantees that sealed segments come out as files of the same bytes, each once, that these verify, and that one altered is found. */
  test('segments are exported', async () => {
    const { here, store } = await database();
    const log = await here.open({ limits: { segmentBytes: 3000 } });
    for (let group = 0; group < 8; group += 1) await appendMany(log, 2);
    const to = join(scratchDirectory(), 'exported');
    const first = await exportSegments({ directory: here.audit, store, to });
    expect(first).toMatchObject({ kept: 0, unsealed: [expect.stringContaining('w1-')] });
    expect(first.written.length).toBeGreaterThan(1);
    const early = await here.verify({ exported: to });
    expect(early).toMatchObject({ ok: true, losses: [], problems: [], segments: first.written.length });
    expect(early.unchecked).toEqual([`${first.unsealed[0]}: not exported, for it has no end yet`]);
    await log.close();
    const second = await exportSegments({ directory: here.audit, store, to });
    expect(second).toEqual({ written: first.unsealed, kept: first.written.length, unsealed: [] });
    expect(await here.verify({ exported: to })).toMatchObject({ ok: true, records: 16, unchecked: [] });
    const altered = join(to, first.written[0] ?? '');
    writeFileSync(altered, readFileSync(altered).fill(0x20, 700, 701));
    expect((await here.verify({ exported: to })).problemCount).toBe(1);
    writeFileSync(altered, 'short');
    await expect(exportSegments({ directory: here.audit, store, to })).rejects.toMatchObject({
      code: 'audit/unavailable',
      detail: expect.stringContaining('is another file than the segment'),
    });
  });

  /** Guarantees that a row that was altered or taken out is found, and that the log is not cut back to where it was. */
  test('a row that was taken out or altered', async () => {
    const { here, store } = await database();
    const log = await here.open();
    for (let group = 0; group < 6; group += 1) await appendMany(log, 2);
    await log.close();
    expect(await here.verify()).toMatchObject({ ok: true, records: 12 });
    const [, , third] = await store.db
      .selectFrom('audit_segment_bytes')
      .selectAll()
      .orderBy('start')
      .execute();
    if (!third) throw new Error('there are more');
    const where = store.db.updateTable('audit_segment_bytes').where('start', '=', third.start);
    const altered = Buffer.from(third.bytes);
    altered.writeUInt8((altered[200] ?? 0) ^ 1, 200);
    await where.set({ bytes: altered }).execute();
    expect((await here.verify()).problemCount).toBe(1);
    await where.set({ bytes: third.bytes }).execute();
    expect(await here.verify()).toMatchObject({ ok: true });
    await store.db.deleteFrom('audit_segment_bytes').where('start', '=', third.start).execute();
    expect((await here.verify()).problemCount).toBe(1);
    await store.db.updateTable('audit_segments').set({ last_sequence: null, last_head: null }).execute();
    await expect(here.open()).rejects.toMatchObject({
      code: 'audit/unavailable',
      detail: expect.stringContaining('altered or damaged'),
    });
  });
});
