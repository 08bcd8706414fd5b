import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import type { ChangeFeed, ChangesRead } from '../../src/store/changes.ts';
import { createRevision, type Revision } from '../../src/store/revision.ts';

const nothing: ChangesRead = { changes: [], lost: false };
let numbers = 0;
const one = (...subjects: string[]): ChangesRead => ({
  changes: [{ number: ++numbers, subjects }],
  lost: false,
});
const opened: Revision[] = [];
afterEach(async () => {
  for (const revision of opened.splice(0)) await revision.close();
});

function open({
  read = async () => nothing,
  maxStaleMilliseconds = 500,
  checkSchema,
}: Partial<Settings> = {}) {
  let now = 0;
  let announce: () => void = () => undefined;
  const feed: ChangeFeed = {
    // Never by itself, unless a test wants it.
    pollMilliseconds: 1_000_000,
    read,
    onAnnounced(listener) {
      announce = listener;
    },
    close: async () => undefined,
  };
  const clock = { now: () => now, monotonic: () => now };
  const revision = createRevision({
    ...{ feed, clock, maxStaleMilliseconds },
    ...(checkSchema && { checkSchema }),
  });
  opened.push(revision);
  const forgotten: (readonly string[] | 'everything')[] = [];
  revision.onTouched((subjects) => void forgotten.push(subjects));
  return {
    revision,
    forgotten,
    announce: () => announce(),
    pass: (milliseconds: number) => (now += milliseconds),
  };
}

interface Settings {
  readonly read: () => Promise<ChangesRead>;
  readonly maxStaleMilliseconds: number;
  readonly checkSchema: () => Promise<void>;
}

/** Guarantees that freshness counts from before the last successful read, on the clock that never goes back. */
test('is fresh for as long as is allowed', async () => {
  let fails = false;
  const { revision, pass } = open({
    read: async () => {
      pass(100);
      if (fails) throw new Error('not readable');
      return nothing;
    },
  });
  pass(500);
  expect(revision.isFresh()).toBe(true);
  pass(1);
  expect(revision.isFresh()).toBe(false);
  await revision.sync();
  pass(400);
  expect(revision.isFresh()).toBe(true);
  fails = true;
  await expect(revision.sync()).rejects.toThrow('not readable');
  expect(revision.isFresh()).toBe(false);
});

/** Guarantees that a mark tells whether a subject was touched since, by this process or another, and no others. */
test('marks tell what was touched since', async () => {
  const reads: ChangesRead[] = [one('far')];
  const { revision, forgotten } = open({ read: async () => reads.shift() ?? nothing });
  const before = revision.mark;
  revision.touch(['near']);
  const between = revision.mark;
  await revision.sync();
  expect(revision.untouchedSince(before, ['near'])).toBe(false);
  expect(revision.untouchedSince(between, ['near'])).toBe(true);
  expect(revision.untouchedSince(between, ['far'])).toBe(false);
  expect(revision.untouchedSince(between, ['other', 'far'])).toBe(false);
  expect(revision.untouchedSince(before, ['other'])).toBe(true);
  expect(forgotten).toEqual([['near'], ['far']]);
});

/** Guarantees that where changes were lost everything is forgotten, and every earlier decision made again. */
test('forgets everything where changes were lost', async () => {
  const { revision, forgotten } = open({ read: async () => ({ changes: [], lost: true }) });
  const before = revision.mark;
  await revision.sync();
  expect(forgotten).toEqual(['everything']);
  expect(revision.untouchedSince(before, ['any'])).toBe(false);
  expect(revision.untouchedSince(revision.mark, ['any'])).toBe(true);
});

/** Guarantees that nothing is decided after a migration, nor before the first look, until this code is known to be new enough for it; and that a look that failed is made again. */
test('asks whether the code is new enough', async () => {
  const reads: (ChangesRead | undefined)[] = [nothing, nothing, one('schema'), nothing];
  const asked: boolean[] = [false, true, false, true];
  const { revision } = open({
    read: async () => reads.shift() ?? nothing,
    checkSchema: async () => {
      if (!asked.shift()) throw new Error('not known');
    },
  });
  expect(revision.isFresh()).toBe(false);
  await expect(revision.sync()).rejects.toThrow('not known');
  expect(revision.isFresh()).toBe(false);
  await revision.sync();
  expect(revision.isFresh()).toBe(true);
  await expect(revision.sync()).rejects.toThrow('not known');
  expect(revision.isFresh()).toBe(false);
  await revision.sync();
  expect(revision.isFresh()).toBe(true);
  await revision.sync();
  expect(asked).toEqual([]);
});

/** Guarantees that however many subjects are touched, memory is bounded and no decision passes for untouched. */
test('bounds what it remembers', () => {
  const { revision } = open();
  const before = revision.mark;
  revision.touch(['first']);
  for (let group = 0; group < 101; group += 1) {
    revision.touch(Array.from({ length: 1_000 }, (_, index) => `${group}/${index}`));
  }
  expect(revision.untouchedSince(before, ['first'])).toBe(false);
  expect(revision.untouchedSince(revision.mark, ['first'])).toBe(true);
});

/** Guarantees that a sync rests on a read begun after it was asked for, and that one read serves all who wait. */
test('a read under way is too early', async () => {
  const begun: (() => void)[] = [];
  const { revision } = open({
    read: () =>
      new Promise((resolve) => {
        begun.push(() => resolve(nothing));
      }),
  });
  const done: string[] = [];
  const first = revision.sync().then(() => done.push('first'));
  const others = [revision.sync(), revision.sync()].map((sync) => sync.then(() => done.push('other')));
  expect(begun).toHaveLength(1);
  begun[0]?.();
  await first;
  await delay(0);
  expect(done).toEqual(['first']);
  expect(begun).toHaveLength(2);
  begun[1]?.();
  await Promise.all(others);
  expect(done).toEqual(['first', 'other', 'other']);
});

/** Guarantees that a database that does not answer is not waited for beyond the staleness allowed. */
test('does not wait for ever', async () => {
  let answer: () => void = () => undefined;
  const read = () =>
    new Promise<ChangesRead>((resolve) => {
      answer = () => resolve(nothing);
    });
  const { revision } = open({ read, maxStaleMilliseconds: 50 });
  await expect(revision.sync()).rejects.toMatchObject({ code: 'store/unavailable' });
  answer();
  const next = revision.sync();
  await delay(0);
  answer();
  await next;
});

/** Guarantees that an announcement is followed by a read at once. */
test('reads what is announced', async () => {
  const reads: ChangesRead[] = [one('told')];
  const { forgotten, announce } = open({ read: async () => reads.shift() ?? nothing });
  announce();
  await delay(0);
  expect(forgotten).toEqual([['told']]);
});

/** Guarantees that a change of this process is forgotten once: when it is made, or by the feed if that was first. */
test('hears of its own changes once', async () => {
  const reads = [one('first'), one('second'), one('third')];
  const [first = 0, second = 0] = reads.map(({ changes }) => changes[0]?.number);
  const { revision, forgotten } = open({ read: async () => reads.shift() ?? nothing });
  revision.touch(['first'], first);
  const between = revision.mark;
  await revision.sync();
  expect(revision.untouchedSince(between, ['first'])).toBe(true);
  await revision.sync();
  revision.touch(['second'], second);
  // Whether this one is there nobody knows: it is heard of again.
  revision.touch(['third']);
  await revision.sync();
  expect(forgotten).toEqual([['first'], ['second'], ['third'], ['third']]);
});
