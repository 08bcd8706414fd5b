import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import { type Chunks, createChunks, type HeldChunk, nothingMore } from '../../src/jobs/chunks.ts';
import { prepareJob } from '../../src/jobs/new-job.ts';
import { createObserver } from '../../src/jobs/observer.ts';
import type { Store } from '../../src/store/store.ts';
import { counting, deadly, pieces } from './kinds.ts';
import {
  type Child,
  callerWith,
  handClock,
  leaveMark,
  marks,
  namespaceId,
  openJobs,
  overEachDatabase,
  type Place,
  rows,
  startChild,
  until,
} from './support.ts';

/** Makes jobs and looks at them; works on none. */
async function desk(place: Place) {
  const store = await place.connect();
  const kinds = [counting, deadly];
  const opened = await openJobs({ store, directory: place.directory, writer: 'desk', kinds });
  onTestFinished(() => opened.close());
  const state = async (id: string) => (await opened.jobs.get(callerWith(), id)).state;
  return { store, ...opened, state };
}

let writers = 0;

async function worker(place: Place): Promise<Child> {
  const child = startChild('work', place.url, place.directory, `c${++writers}`);
  await until(() => child.said.includes('working'));
  return child;
}

async function marksOf(store: Store, jobId: string): Promise<string[]> {
  return (await marks(store)).filter((label) => label.startsWith(jobId)).toSorted();
}

/** Each number's mark, once. */
function each(jobId: string, count: number): string[] {
  return Array.from({ length: count }, (_, at) => `${jobId}:${at}`).toSorted();
}

overEachDatabase((open) => {
  /** Guarantees that processes that race for chunks and are killed at any moment leave each effect done once, and the job done. */
  test('kill -9', async () => {
    const place = await open();
    const { store, enqueue, jobs } = await desk(place);
    const children = await Promise.all([worker(place), worker(place), worker(place)]);
    const { id } = await enqueue('test.count', { pauseMilliseconds: 10 }, pieces(12, 20));
    const done = async () => (await jobs.get(callerWith(), id)).done;
    for (const [at, child] of children.entries()) {
      await until(async () => (await done()) > 20 + at * 40);
      await child.kill();
    }
    await worker(place);
    await until(async () => (await jobs.get(callerWith(), id)).state === 'done');
    expect(await jobs.get(callerWith(), id)).toMatchObject({ done: 240, result: 240 });
    expect(await marksOf(store, id)).toEqual(each(id, 240));
  });

  /** Guarantees that a process stopped for longer than its lease, whose chunks others took, adds nothing when it goes on. */
  test('SIGSTOP for longer than the lease', async () => {
    const place = await open();
    const { store, enqueue, jobs, state } = await desk(place);
    const stopped = await worker(place);
    const { id } = await enqueue('test.count', { pauseMilliseconds: 20 }, pieces(2, 30));
    await until(async () => (await jobs.get(callerWith(), id)).done > 5);
    stopped.signal('SIGSTOP');
    await worker(place);
    await until(async () => (await state(id)) === 'done');
    stopped.signal('SIGCONT');
    // It works again, and on nothing of the old.
    const next = await enqueue('test.count', {}, pieces(8, 1));
    await until(async () => (await state(next.id)) === 'done');
    expect(await marksOf(store, id)).toEqual(each(id, 60));
    expect(await marksOf(store, next.id)).toEqual(each(next.id, 8));
  });

  /** Guarantees that a chunk that ends each process that touches it is given up, and seen as failed. */
  test('a deadly chunk', async () => {
    const place = await open();
    const { enqueue, state, jobs } = await desk(place);
    const { id } = await enqueue('test.deadly', null, [null]);
    let deaths = 0;
    while (['queued', 'running'].includes(await state(id))) {
      const child = startChild('work', place.url, place.directory, `c${++writers}`);
      let dead = false;
      child.process.once('exit', () => {
        dead = true;
      });
      await until(async () => dead || (await state(id)) === 'failed');
      if (dead) deaths += 1;
      else await child.kill();
    }
    expect(deaths).toBe(3);
    expect(await jobs.get(callerWith(), id)).toMatchObject({ state: 'failed', chunks: { failed: 1 } });
  });

  /** Guarantees, over random histories of processes that claim, work, stop, forget and are overtaken, under stepping clocks, that each step takes effect once. */
  test('random histories', async () => {
    const place = await open();
    const store = await place.connect();
    const step = fc.record({
      who: fc.nat(2),
      what: fc.constantFrom('claim', 'claim', 'step', 'step', 'step', 'renew', 'forget'),
      passed: fc.constantFrom(0, 0, 600, 1_100),
      wallStep: fc.constantFrom(0, 0, 86_400_000, -86_400_000),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 30, maxLength: 80, size: 'max' }), async (history) => {
        const jobId = await newJob(store);
        const actors = [newActor(store), newActor(store), newActor(store)] as const;
        for (const { who, what, passed, wallStep } of history) {
          for (const { clock } of actors) clock.pass(passed);
          const actor = actors[who] as Actor;
          actor.clock.step(wallStep);
          await act(store, actor, what);
        }
        // Whoever is left brings it to its end.
        const last = newActor(store);
        while ((await claimable(last.chunks)).length > 0) {
          last.clock.pass(1_000);
          for (const what of ['claim', ...Array(stepsEach + 1).fill('step')]) await act(store, last, what);
        }
        expect(await marksOf(store, jobId)).toEqual(each(jobId, chunksEach * stepsEach));
        await store.db.deleteFrom('job_chunks').execute();
        await store.db.deleteFrom('jobs').execute();
      }),
      { numRuns: 15 },
    );
  });
});

const chunksEach = 2;
const stepsEach = 4;

async function newJob(store: Store): Promise<string> {
  const job = await prepareJob(
    { rows, clock: handClock() },
    counting,
    { kind: counting.kind, input: {}, pieces: pieces(chunksEach, stepsEach) },
    { namespaceId, createdBy: 'tester' },
  );
  await store.transaction((tx) => job.insert(tx));
  return job.row.id;
}

interface Actor {
  readonly clock: ReturnType<typeof handClock>;
  readonly chunks: Chunks;
  readonly observer: ReturnType<typeof createObserver>;
  held: HeldChunk | undefined;
}

function newActor(store: Store): Actor {
  const clock = handClock();
  return { clock, chunks: createChunks({ store, rows }), observer: createObserver(clock), held: undefined };
}

async function claimable(chunks: Chunks) {
  const kinds = [counting.kind];
  return [...(await chunks.free(namespaceId, kinds, 10)), ...(await chunks.watched(namespaceId, kinds, 10))];
}

/** As the runner and an attempt do it, one move at a time. */
async function act(store: Store, actor: Actor, what: string): Promise<void> {
  const { chunks, clock, observer } = actor;
  if (what === 'forget') actor.held = undefined;
  if (what === 'claim' && !actor.held) {
    const askedAt = clock.monotonic();
    for (const row of await claimable(chunks)) {
      const version = `${row.fence}.${row.beat}.${row.revision}`;
      const quiet = observer.quietMilliseconds(`${row.job_id}/${row.ordinal}`, version, askedAt);
      if (quiet < row.quiet_milliseconds) continue;
      actor.held = await chunks.claim(row, 1_000);
      if (actor.held) return;
    }
  }
  const { held } = actor;
  if (!held || (what !== 'step' && what !== 'renew')) return;
  try {
    if (what === 'renew') await chunks.renew(held);
    else if (held.row.done === stepsEach) {
      await (await chunks.change(held, { state: 'done' }, nothingMore)).write(store.db);
      actor.held = undefined;
    } else {
      const { done, job_id: jobId, ordinal } = held.row;
      const next = await chunks.change(held, { done: done + 1 });
      await store.transaction(async (tx) => {
        await next.write(tx);
        await leaveMark(tx, `${jobId}:${ordinal * stepsEach + done}`);
      });
      held.row = next.row;
    }
  } catch (error) {
    expect(error).toMatchObject({ code: 'lease/lost' });
    actor.held = undefined;
  }
}
