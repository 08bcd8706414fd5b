import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Entry, settled, startLane } from './support.ts';

const overloaded = { code: 'service/overloaded', retryAfterSeconds: 1 };

function enterMany(count: number, enter: () => Entry): Entry[] {
  return Array.from({ length: count }, enter);
}

const inState = (entries: readonly Entry[], state: Entry['state']) =>
  entries.filter((entry) => entry.state === state).length;

/** Guarantees that slots and queue hold no more than they are for, and that who is refused is told when to come back. */
test('slots and queue are bounded', async () => {
  const { lane, enter, metrics } = startLane({ slots: 10, places: 20 });
  const flood = ['a', 'b', 'c', 'd'].flatMap((name) => enterMany(100, () => enter(name, name)));
  await settled();
  const { inside, waiting } = lane.status();
  expect([inside, waiting]).toEqual([10, 20]);
  expect(inState(flood, 'refused')).toBe(370);
  expect(flood.at(-1)?.error).toMatchObject(overloaded);
  expect(metrics.text()).toContain('refused_total{lane="data",reason="queue-full"} 370');
});

/** Guarantees that a lane without a queue refuses at once, and that one slot is enough to work with. */
test('no queue at all', async () => {
  const { enter, leave } = startLane({ slots: 1, places: 0 });
  const first = enter('a');
  expect(first.state).toBe('inside');
  expect(enter('b').error).toMatchObject(overloaded);
  leave(first);
  expect(enter('b').state).toBe('inside');
});

/** Guarantees that one caller alone cannot take every slot or place: another finds a slot free, and a place. */
test('nobody takes all', async () => {
  const { lane, enter } = startLane({ slots: 256, places: 1_024 });
  const flood = enterMany(10_000, () => enter('flood'));
  await settled();
  expect(inState(flood, 'inside')).toBeGreaterThan(180);
  expect(inState(flood, 'waiting')).toBeGreaterThan(750);
  expect(enter('of the same namespace').state).toBe('inside');
  expect(enter('stranger', 'another').state).toBe('inside');
  expect(lane.status().inside).toBeLessThan(220);
  expect(lane.status().waiting).toBeLessThan(820);
});

/** Guarantees that callers whose slots are all taken get every second one of those that come free, not one in thousands. */
test('a quiet caller does not stand behind a flood', async () => {
  const { enter, leave, order } = startLane({ slots: 8, places: 1_000 });
  const floods = ['f', 'g', 'h', 'i'].flatMap((name) => enterMany(100, () => enter(name)));
  const quiet = enterMany(3, () => enter('quiet'));
  await settled();
  order.length = 0;
  for (let round = 0; round < 20; round += 1) {
    const oldest = floods.find(({ state }) => state === 'inside');
    if (oldest) leave(oldest);
    await settled();
  }
  expect(inState(quiet, 'inside')).toBe(3);
  expect(order.lastIndexOf('quiet')).toBeLessThan(15);
  expect(order.indexOf('quiet')).toBeLessThan(5);
});

/** Guarantees that namespaces share before their callers do: ten callers of one get as much as one of another. */
test('namespaces share first', async () => {
  const { enter, leave, order } = startLane({ slots: 1, places: 400 });
  const first = enter('first');
  const many = Array.from({ length: 10 }, (_, index) =>
    enterMany(8, () => enter(`many-${index}`, 'many')),
  ).flat();
  const one = enterMany(40, () => enter('one', 'one'));
  leave(first);
  for (let round = 0; round < 60; round += 1) {
    await settled();
    const inside = [...many, ...one].find(({ state }) => state === 'inside');
    if (inside) leave(inside);
  }
  const served = order.slice(1, 61);
  expect(Math.abs(served.filter((name) => name === 'one').length - 30)).toBeLessThanOrEqual(1);
  const ofMany = Array.from(
    { length: 10 },
    (_, index) => served.filter((name) => name === `many-${index}`).length,
  );
  expect(ofMany.every((count) => count === 3 || count === 2)).toBe(true);
});

/** Guarantees that a caller of large requests gets fewer of them through than one of small ones. */
test('costs are shared, not requests', async () => {
  const { enter, leave, order } = startLane({ slots: 1, places: 400 });
  const first = enter('first');
  const entries = [
    ...enterMany(40, () => enter('large', 'n', 9)),
    ...enterMany(40, () => enter('small', 'n', 1)),
  ];
  leave(first);
  for (let round = 0; round < 30; round += 1) {
    await settled();
    const inside = entries.find(({ state }) => state === 'inside');
    if (inside) leave(inside);
  }
  expect(order.filter((name) => name === 'large').length).toBeLessThanOrEqual(4);
});

/** Guarantees that nobody waits longer than is set, and that a wait that ended so leaves nothing behind. */
test('waiting is bounded', async () => {
  const { lane, enter, leave, time, metrics } = startLane({ slots: 1 });
  const first = enter('a');
  const second = enter('b');
  time.pass(249);
  await settled();
  expect(second.state).toBe('waiting');
  time.pass(1);
  await settled();
  expect(second.error).toMatchObject(overloaded);
  expect([lane.status().waiting, time.running()]).toEqual([0, 0]);
  expect(metrics.text()).toContain('refused_total{lane="data",reason="waited"} 1');
  leave(first);
  expect(lane.status().inside).toBe(0);
});

/** Guarantees that who would wait too long is told at once, while others still get in, and that it passes. */
test('refuses what would come too late', async () => {
  const { lane, enter, leave, time, metrics } = startLane({ slots: 1, places: 1_000, waitMs: 250 });
  const entries = [enter('flood')];
  // Four come, and a slot comes free, every 20 ms: some twelve can wait.
  for (let round = 0; round < 100; round += 1) {
    entries.push(...enterMany(4, () => enter('flood')));
    time.pass(20);
    for (const inside of entries.filter(({ state }) => state === 'inside')) leave(inside);
    await settled();
  }
  expect(lane.status().waiting).toBeGreaterThan(8);
  expect(lane.status().waiting).toBeLessThan(20);
  expect(inState(entries, 'left')).toBeGreaterThan(90);
  expect(metrics.text()).toMatch(/reason="too-slow"\} [1-9]/);
  expect(enter('quiet', 'other').state).toBe('waiting');
});

/** Guarantees that a request that is not waited for any more gives its place up with the reason it was given. */
test('who goes away does not wait', async () => {
  const { lane, enter, time } = startLane({ slots: 1 });
  enter('a');
  const second = enter('b');
  second.abort(new Error('gone'));
  await settled();
  expect(second.error).toEqual(new Error('gone'));
  expect([lane.status().waiting, time.running()]).toEqual([0, 0]);
});

type Step =
  | { readonly do: 'enter'; readonly caller: number; readonly namespace: number; readonly cost: number }
  | { readonly do: 'leave' | 'abort'; readonly which: number }
  | { readonly do: 'pass'; readonly ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('enter' as const),
      caller: fc.nat(4),
      namespace: fc.nat(2),
      cost: fc.integer({ min: 1, max: 20 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constantFrom('leave' as const, 'abort' as const), which: fc.nat(200) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 200 }) }),
  },
);

/**
 * Guarantees over any order of coming, leaving (twice too), going away and waiting too long: never more inside or
 * waiting than there is room for, nobody waits alone while everything is free, and in the end no slot, no place and
 * no time limit is left over.
 */
test('no slot is lost', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 120 }),
      fc.integer({ min: 1, max: 6 }),
      fc.integer({ min: 0, max: 8 }),
      async (steps, slots, places) => {
        const { lane, enter, leave, time } = startLane({ slots, places, waitMs: 250 });
        const entries: Entry[] = [];
        for (const each of steps) {
          if (each.do === 'enter')
            entries.push(enter(`${each.namespace}-${each.caller}`, `${each.namespace}`, each.cost));
          else if (each.do === 'pass') time.pass(each.ms);
          else if (each.do === 'leave') entries[each.which]?.place?.leave();
          else entries[each.which]?.abort(new Error('gone'));
          await settled();
          const { inside, waiting } = lane.status();
          expect(inside).toBeLessThanOrEqual(slots);
          expect(waiting).toBeLessThanOrEqual(places);
          expect(inState(entries, 'waiting')).toBe(waiting);
          if (inside === 0) expect(waiting).toBe(0);
        }
        for (let round = 0; round <= entries.length; round += 1) {
          for (const entry of entries) if (entry.state === 'inside') leave(entry);
          await settled();
        }
        expect(lane.status()).toMatchObject({ inside: 0, waiting: 0 });
        expect(time.running()).toBe(0);
      },
    ),
    { numRuns: 200 },
  );
});

/** Guarantees that what is remembered of callers is bounded, and nobody who is inside is forgotten. */
test('remembers a bounded number of callers', async () => {
  const { lane, enter } = startLane({ slots: 100, places: 0 });
  const stays = enterMany(10, () => enter('stays', 'stays'));
  for (let index = 0; index < 5_000; index += 1) enter(`caller-${index}`, `n-${index}`).place?.leave();
  expect(lane.status().tracked).toBeLessThanOrEqual(1_100);
  for (let index = 0; index < 200; index += 1) enter('stays', 'stays');
  // Had it been forgotten, it would have begun anew, and have all but one of what was left.
  expect(lane.status().inside).toBeLessThanOrEqual(77);
  expect(inState(stays, 'inside')).toBe(10);
});

/** Guarantees that a request costs under 1 µs here while nobody waits: the best of many short rounds tells. */
test('is cheap', () => {
  const { lane } = startLane({ slots: 256 });
  const claimant = { id: 'a', namespaceId: 'n' };
  const applicant = { signal: new AbortController().signal };
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 200; round += 1) {
    const started = performance.now();
    for (let index = 0; index < 1_000; index += 1) {
      const place = lane.enter(claimant, 1, applicant);
      if (!(place instanceof Promise)) place.leave();
    }
    best = Math.min(best, performance.now() - started);
  }
  expect(best).toBeLessThan(1);
});
