import { describe, expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { newId } from '../../src/core/ids.ts';
import { type AnyKind, defineKind } from '../../src/jobs/kinds.ts';
import type { RunnerLimits } from '../../src/jobs/runner.ts';
import type { Store } from '../../src/store/store.ts';
import { counting, pieces } from './kinds.ts';
import {
  callerWith,
  leaveMark,
  marks,
  namespaceId,
  openJobs,
  overEachDatabase,
  type Place,
  quick,
  until,
} from './support.ts';

type Part = Awaited<ReturnType<typeof openJobs>>;

/** A kind of which a test says what it does. */
function kindOf(run: AnyKind['run'], more: Partial<AnyKind> = {}): AnyKind {
  return { kind: 'test.any', input: z.any(), piece: z.any(), scopes: [], run, ...more };
}

let writers = 0;

async function part(place: Place, kinds: readonly AnyKind[], limits: Partial<RunnerLimits> = {}) {
  const store = await place.connect();
  const opened = await openJobs({
    ...{ store, kinds, directory: place.directory, writer: `w${++writers}` },
    limits: { ...quick, ...limits },
  });
  onTestFinished(() => opened.close());
  return { store, ...opened };
}

const ended = async ({ jobs }: Part, id: string, caller = callerWith()) => {
  await until(async () => !['queued', 'running'].includes((await jobs.get(caller, id)).state));
  return await jobs.get(caller, id);
};

async function actionsOf({ audit }: Part, action: string, namespace = namespaceId) {
  const { items } = await audit.records({ namespaceId: namespace, action, limit: 100 });
  return items;
}

async function expectOnce(store: Store, jobId: string, count: number): Promise<void> {
  const own = (await marks(store)).filter((label) => label.startsWith(jobId));
  expect(own).toHaveLength(count);
  expect(new Set(own).size).toBe(count);
}

overEachDatabase((open) => {
  /** Guarantees that a job is done chunk by chunk, tells how far it is, and ends with its result and one record of its end. */
  test('a job from its making to its end', async () => {
    const one = await part(await open(), [counting]);
    const made = await one.enqueue('test.count', {}, pieces(7, 3));
    expect(made).toMatchObject({ state: 'queued', done: 0, chunks: { total: 7, done: 0, failed: 0 } });
    one.jobs.start();
    expect(await ended(one, made.id)).toMatchObject({
      ...{ kind: 'test.count', state: 'done', done: 21, total: 21, result: 21, createdBy: 'tester' },
      chunks: { total: 7, done: 7, failed: 0 },
      ratePerSecond: expect.any(Number),
    });
    await expectOnce(one.store, made.id, 21);
    expect(await actionsOf(one, 'jobs.finish')).toMatchObject([
      {
        outcome: 'allowed',
        principal: { kind: 'system', name: 'jobs' },
        target: { kind: 'job', id: made.id },
      },
    ]);
  });

  /** Guarantees that several processes share the chunks of a job, each taken by one. */
  test('processes share chunks', async () => {
    const place = await open();
    const seen: string[] = [];
    const kind = (who: string) =>
      kindOf(async ({ ordinal }) => {
        seen.push(`${who} ${ordinal}`);
        await new Promise((next) => setTimeout(next, 5));
        return 1;
      });
    const parts = [await part(place, [kind('a')]), await part(place, [kind('b')])] as const;
    const { id } = await parts[0].enqueue('test.any', null, Array(30).fill(null));
    for (const { jobs } of parts) jobs.start();
    expect(await ended(parts[1], id)).toMatchObject({ state: 'done', chunks: { done: 30 } });
    expect(new Set(seen.map((text) => text.split(' ')[1])).size).toBe(30);
    expect(seen).toHaveLength(30);
    expect(new Set(seen.map((text) => text[0]))).toEqual(new Set(['a', 'b']));
    const records = [
      ...(await actionsOf(parts[0], 'jobs.finish')),
      ...(await actionsOf(parts[1], 'jobs.finish')),
    ];
    expect(new Set(records.map((record) => record.id)).size).toBe(1);
  });

  /** Guarantees that after a cancel is answered nothing of the job takes effect, that its handler is told, and that nothing is begun any more. */
  test('cancel', async () => {
    const place = await open();
    let aborted = false;
    let go: () => void = () => undefined;
    const late: unknown[] = [];
    const kind = kindOf(async (_chunk, { commit, signal }) => {
      signal.addEventListener('abort', () => {
        aborted = true;
      });
      await commit({ done: 1 }, (tx) => leaveMark(tx, 'before'));
      await new Promise<void>((resolve) => {
        go = resolve;
      });
      await commit({ done: 2 }, (tx) => leaveMark(tx, 'after')).catch((error: unknown) => {
        late.push(error);
        throw error;
      });
      return 1;
    });
    const one = await part(place, [kind], { concurrency: 1 });
    const other = await part(place, []);
    const { id } = await one.enqueue('test.any', null, [null, null]);
    one.jobs.start();
    await until(async () => (await marks(one.store)).length === 1);
    const cancelled = await other.jobs.cancel(callerWith(), id);
    expect(cancelled).toMatchObject({ state: 'cancelled', done: 1 });
    go();
    await until(() => late.length === 1);
    expect(late).toMatchObject([{ code: 'lease/lost' }]);
    await until(() => one.jobs.running() === 0);
    expect(await one.jobs.get(callerWith(), id)).toMatchObject({ state: 'cancelled', chunks: { done: 0 } });
    expect(await marks(one.store)).toEqual(['before']);
    expect(await other.jobs.cancel(callerWith(), id)).toMatchObject({ state: 'cancelled' });
    expect(await actionsOf(other, 'jobs.cancel')).toMatchObject([{ target: { id } }, { target: { id } }]);

    const again = await one.enqueue('test.any', null, [null]);
    await until(() => one.jobs.running() === 1);
    await other.jobs.cancel(callerWith(), again.id);
    await until(() => aborted);
    go();
    await until(() => one.jobs.running() === 0);
  });

  /** Guarantees that what has ended cannot be cancelled, and that unknown jobs are told apart by nothing. */
  test('refusals', async () => {
    const one = await part(await open(), [counting]);
    const { id } = await one.enqueue('test.count', {}, pieces(1, 1));
    one.jobs.start();
    await ended(one, id);
    await expect(one.jobs.cancel(callerWith(), id)).rejects.toMatchObject({ code: 'job/finished' });
    const stranger = callerWith(undefined, newId());
    const answers = await Promise.all(
      [id, newId()].flatMap((jobId) =>
        [one.jobs.get(stranger, jobId), one.jobs.cancel(stranger, jobId)].map((answer) =>
          answer.catch((error: { code: string; detail: string }) => `${error.code} ${error.detail}`),
        ),
      ),
    );
    expect(new Set(answers)).toEqual(new Set(['job/not-found There is no such job.']));
    expect((await one.jobs.list(stranger, { limit: 10 })).items).toEqual([]);
    expect((await one.jobs.list(callerWith(), { limit: 10 })).items).toMatchObject([{ id, state: 'done' }]);
    const reader = callerWith(['jobs:read']);
    expect(await one.jobs.get(reader, id)).toMatchObject({ id });
    await expect(one.jobs.cancel(reader, id)).rejects.toMatchObject({ code: 'access/denied' });
    await expect(one.jobs.list(reader, { limit: 10, service: true })).rejects.toMatchObject({
      code: 'access/denied',
    });
    await expect(one.jobs.get(callerWith(['keys:admin']), id)).rejects.toMatchObject({
      code: 'access/denied',
    });
  });

  /** Guarantees that a chunk that cannot be done is tried again after pauses, ends as failed, and is seen, while the others are done. */
  test('a poison chunk', async () => {
    let attempts = 0;
    const kind = kindOf(
      async ({ ordinal }) => {
        if (ordinal !== 1) return 1;
        attempts += 1;
        throw new Error('poison');
      },
      { attempts: 3 },
    );
    const one = await part(await open(), [kind]);
    const { id } = await one.enqueue('test.any', null, [null, null, null]);
    one.jobs.start();
    expect(await ended(one, id)).toMatchObject({
      ...{ state: 'failed', code: 'internal', chunks: { total: 3, done: 2, failed: 1 } },
    });
    expect(attempts).toBe(3);
    expect(await actionsOf(one, 'jobs.finish')).toMatchObject([{ outcome: 'failed', code: 'internal' }]);
    expect(one.logged.filter(({ event }) => event === 'jobs.attempt-failed')).toHaveLength(3);
  });

  /** Guarantees that an attempt that got on does not count: work that fails now and then is done in the end, each step once. */
  test('getting on', async () => {
    let failures = 0;
    const kind = kindOf(
      async ({ cursor }, { commit }) => {
        for (let at = Number(cursor ?? 0); at < 10; at += 1) {
          await commit({ cursor: String(at + 1), done: at + 1 }, (tx) => leaveMark(tx, `step ${at}`));
          failures += 1;
          if (at < 9) throw new Error('now and then');
        }
        return 'done';
      },
      { attempts: 2 },
    );
    const one = await part(await open(), [kind]);
    const { id } = await one.enqueue('test.any', null, [null]);
    one.jobs.start();
    expect(await ended(one, id)).toMatchObject({ state: 'done', done: 10, result: 'done' });
    expect(failures).toBe(10);
    expect(await marks(one.store)).toEqual(Array.from({ length: 10 }, (_, at) => `step ${at}`));
  });

  /** Guarantees that an effect whose transaction fails takes the cursor with it, and the other way round. */
  test('effect and cursor are one', async () => {
    const cursors: (string | undefined)[] = [];
    const kind = kindOf(async ({ cursor }, { commit }) => {
      cursors.push(cursor);
      if (cursors.length === 1) {
        await commit({ cursor: 'one', done: 1 }, async (tx) => {
          await leaveMark(tx, 'undone');
          throw new Error('half-way');
        });
      }
      await commit({ cursor: 'two', done: 1 }, (tx) => leaveMark(tx, 'done'));
      return null;
    });
    const one = await part(await open(), [kind]);
    const { id } = await one.enqueue('test.any', null, [null]);
    one.jobs.start();
    await ended(one, id);
    expect(cursors).toEqual([undefined, undefined]);
    expect(await marks(one.store)).toEqual(['done']);
  });

  /** Guarantees that a handler that hangs is given up after its time, and that what it does later has no effect. */
  test('a hanging handler', async () => {
    let runs = 0;
    let wakeUp: () => void = () => undefined;
    let late: unknown;
    const kind = kindOf(async (_chunk, { commit }) => {
      runs += 1;
      if (runs === 1) {
        await new Promise<void>((resolve) => {
          wakeUp = resolve;
        });
        await commit({ done: 9 }, (tx) => leaveMark(tx, 'late')).catch((error: unknown) => {
          late = error;
        });
        return null;
      }
      await commit({ done: 1 }, (tx) => leaveMark(tx, 'second'));
      return null;
    });
    const one = await part(await open(), [kind], { stallMilliseconds: 200 });
    const { id } = await one.enqueue('test.any', null, [null]);
    one.jobs.start();
    expect(await ended(one, id)).toMatchObject({ state: 'done', done: 1 });
    wakeUp();
    await until(() => late !== undefined);
    expect(late).toMatchObject({ code: 'lease/lost' });
    expect(await marks(one.store)).toEqual(['second']);
  });

  /** Guarantees that a namespace with endless work does not keep another's from its turn, and loses nothing by giving way. */
  test('namespaces take turns', async () => {
    const place = await open();
    const one = await part(place, [counting], { concurrency: 1, turnMilliseconds: 100 });
    const long = await one.enqueue('test.count', { pauseMilliseconds: 10 }, pieces(2, 60));
    one.jobs.start();
    await until(() => one.jobs.running() === 1);
    const other = callerWith(undefined, newId());
    const short = await one.enqueue('test.count', {}, pieces(1, 1), other);
    await ended(one, short.id, other);
    const [{ finishedAt: early = 0 }, end] = [await one.jobs.get(other, short.id), await ended(one, long.id)];
    expect(end).toMatchObject({ state: 'done', done: 120 });
    expect(early).toBeLessThan(end.finishedAt ?? 0);
    await expectOnce(one.store, long.id, 120);
    const attempts = await one.store.db.selectFrom('job_chunks').select('attempts').execute();
    for (const row of attempts) expect(row.attempts).toBeLessThanOrEqual(1);
  });

  /** Guarantees that a process that stops in order gives its chunks back at once, and that the next goes on where it was. */
  test('an orderly stop', async () => {
    const place = await open();
    const slow = { leaseMilliseconds: 600_000 };
    const first = await part(place, [counting], slow);
    const { id } = await first.enqueue('test.count', { pauseMilliseconds: 5 }, pieces(2, 50));
    first.jobs.start();
    await until(async () => (await first.jobs.get(callerWith(), id)).done > 4);
    await first.jobs.close();
    const second = await part(place, [counting], slow);
    second.jobs.start();
    expect(await ended(second, id)).toMatchObject({ state: 'done', done: 100 });
    await expectOnce(second.store, id, 100);
  });

  /** Guarantees that rows that were altered are not worked on, nor the end of a job told by them. */
  test('altered rows', async () => {
    let runs = 0;
    const kind = kindOf(async () => {
      runs += 1;
      return 1;
    });
    const place = await open();
    const one = await part(place, [kind]);
    const altered = await one.enqueue('test.any', null, [null]);
    const input = await one.enqueue('test.any', null, [null]);
    const ending = await one.enqueue('test.any', null, [null]);
    const chunk = (jobId: string) => one.store.db.updateTable('job_chunks').where('job_id', '=', jobId);
    await chunk(altered.id).set({ piece: '"other"' }).execute();
    await one.store.db.updateTable('jobs').set({ input: '1' }).where('id', '=', input.id).execute();
    await chunk(ending.id).set({ state: 'done', result: '"forged"' }).execute();
    one.jobs.start();
    const unusable = () => one.logged.filter(({ event }) => event === 'jobs.chunk-unusable').length;
    await until(() => unusable() >= 2);
    expect(runs).toBe(0);
    for (const { id } of [altered, ending])
      expect((await one.jobs.get(callerWith(), id)).state).not.toBe('done');
    await expect(one.jobs.get(callerWith(), input.id)).rejects.toMatchObject({ code: 'internal' });
  });

  /** Guarantees that a job of a kind that this process does not know is left to others. */
  test('unknown kinds', async () => {
    const place = await open();
    const older = await part(place, [counting]);
    const newer = await part(place, [kindOf(async () => 1)]);
    const { id } = await newer.enqueue('test.any', null, [null]);
    older.jobs.start();
    const known = await older.enqueue('test.count', {}, pieces(1, 1));
    await ended(older, known.id);
    expect((await older.jobs.get(callerWith(), id)).state).toBe('queued');
    newer.jobs.start();
    await ended(newer, id);
  });
});

describe('limits of a job', () => {
  overEachDatabase((open) => {
    /** Guarantees that inputs, pieces, cursors and results beyond their limits are refused, and so are jobs beyond theirs. */
    test('are held', async () => {
      const kind = defineKind({
        kind: 'test.limits',
        input: z.string().max(100_000),
        piece: z.null(),
        ...{ scopes: [], attempts: 1 },
        async run({ input }, { commit }) {
          if (input === 'cursor') await commit({ cursor: 'x'.repeat(1_025), done: 1 }, async () => undefined);
          return 'x'.repeat(20_000);
        },
      });
      const one = await part(await open(), [kind]);
      const refused = (input: unknown, count: number) =>
        expect(one.enqueue('test.limits', input as string, Array(count).fill(null))).rejects.toThrow();
      await refused('x'.repeat(16_400), 1);
      await refused(5, 1);
      await refused('x', 0);
      await refused('x', 10_001);
      const jobs = await Promise.all(
        ['cursor', 'result'].map((input) => one.enqueue('test.limits', input, [null])),
      );
      one.jobs.start();
      for (const { id } of jobs) expect(await ended(one, id)).toMatchObject({ state: 'failed' });
      expect((await marks(one.store)).length).toBe(0);
    });
  });
});
