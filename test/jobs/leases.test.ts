import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { createLeases, keepAlive, leaseLost } from '../../src/jobs/leases.ts';
import { handClock, leaveMark, marks, overEachDatabase, startChild, until } from './support.ts';

const year = 365 * 24 * 3_600_000;
const lost = { code: 'lease/lost' };

overEachDatabase((open) => {
  /** Two processes' leases over one database, each with a clock of its own. */
  async function two() {
    const place = await open();
    const [clock, otherClock] = [handClock(), handClock()];
    const store = await place.connect();
    const leases = createLeases({ store, clock });
    const others = createLeases({ store: await place.connect(), clock: otherClock });
    return { place, store, clock, otherClock, leases, others };
  }

  /** Guarantees that one has a lease at a time, that a release lets the next have it at once, and that fences grow by one. */
  test('one holder at a time', async () => {
    const { leases, others } = await two();
    const first = await leases.claim('work');
    expect(first).toEqual({ name: 'work', fence: 1 });
    expect(await others.claim('work')).toBeUndefined();
    expect(await leases.claim('work')).toBeUndefined();
    expect(await others.claim('other work')).toMatchObject({ fence: 1 });
    if (first) await leases.release(first);
    expect(await others.claim('work')).toEqual({ name: 'work', fence: 2 });
    if (first) await expect(leases.renew(first)).rejects.toMatchObject(lost);
  });

  /** Guarantees that of many who claim at once exactly one gets it. */
  test('a race has one winner', async () => {
    const { leases, others } = await two();
    for (let round = 1; round <= 10; round += 1) {
      const claims = Array.from({ length: 12 }, (_, at) => (at % 2 ? leases : others).claim('raced', 1_000));
      const won = (await Promise.all(claims)).filter((lease) => lease !== undefined);
      expect(won).toHaveLength(1);
      expect(won[0]?.fence).toBe(round);
      for (const lease of won) for (const each of [leases, others]) await each.release(lease);
    }
  });

  /** Guarantees that a lease is over when it was seen unrenewed for its length, not before, and that a renewal begins it anew. */
  test('expiry', async () => {
    const { leases, others, otherClock } = await two();
    const lease = await leases.claim('work', 1_000);
    expect(await others.claim('work')).toBeUndefined();
    otherClock.pass(999);
    expect(await others.claim('work')).toBeUndefined();
    if (lease) await leases.renew(lease);
    otherClock.pass(1_000);
    expect(await others.claim('work')).toBeUndefined();
    otherClock.pass(999);
    expect(await others.claim('work')).toBeUndefined();
    otherClock.pass(1);
    expect(await others.claim('work')).toEqual({ name: 'work', fence: 2 });
  });

  /** Guarantees that wall clocks that step, back or forth, neither end a lease nor make it last. */
  test('clock steps', async () => {
    const { leases, others, clock, otherClock } = await two();
    await leases.claim('work', 1_000);
    expect(await others.claim('work')).toBeUndefined();
    for (const step of [year, -2 * year]) {
      clock.step(step);
      otherClock.step(step);
      expect(await others.claim('work')).toBeUndefined();
    }
    otherClock.pass(1_000);
    expect(await others.claim('work')).toMatchObject({ fence: 2 });
  });

  /** Guarantees that an effect of a holder whom somebody replaced is refused with its whole transaction, whoever comes first. */
  test('the fence', async () => {
    const { store, leases, others, otherClock } = await two();
    const lease = await leases.claim('work', 1_000);
    if (!lease) throw new Error('no lease');
    const effect = (label: string, through = leases, held = lease) =>
      store.transaction(async (tx) => {
        await leaveMark(tx, label);
        await through.fenced(tx, held);
      });
    await effect('held');
    await others.claim('work');
    otherClock.pass(1_000);
    const next = await others.claim('work');
    if (!next) throw new Error('not taken over');
    await expect(effect('late')).rejects.toMatchObject(lost);
    await effect('next', others, next);
    await others.release(next);
    await expect(effect('released', others, next)).rejects.toMatchObject(lost);
    expect(await marks(store)).toEqual(['held', 'next']);
  });

  /** Guarantees, over random histories of processes that claim, stop, go on and act, that effects come in the order of their fences, one holder a fence. */
  test('random histories', async () => {
    const step = fc.record({
      who: fc.nat(2),
      what: fc.constantFrom('claim', 'claim', 'claim', 'renew', 'act', 'act', 'act', 'release'),
      passed: fc.constantFrom(0, 0, 600, 1_100),
      wallStep: fc.constantFrom(0, 0, year, -year),
    });
    const place = await open();
    const store = await place.connect();
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 40, maxLength: 100, size: 'max' }), async (history) => {
        run += 1;
        const name = `history ${run}`;
        const clocks = [handClock(), handClock(), handClock()] as const;
        const processes = clocks.map((clock) => ({ clock, leases: createLeases({ store, clock }) }));
        const held: Awaited<ReturnType<(typeof processes)[0]['leases']['claim']>>[] = [];
        const effects: { who: number; fence: number }[] = [];
        for (const { who, what, passed, wallStep } of history) {
          for (const { clock } of processes) clock.pass(passed);
          const { clock, leases } = processes[who] as (typeof processes)[0];
          clock.step(wallStep);
          const lease = held[who];
          if (what === 'claim') held[who] = (await leases.claim(name, 1_000)) ?? lease;
          if (!lease || what === 'claim') continue;
          if (what === 'release') await leases.release(lease);
          else if (what === 'renew') await leases.renew(lease).catch(ignoreLost);
          else {
            const acted = store.transaction((tx) => leases.fenced(tx, lease)).then(() => true, ignoreLost);
            if (await acted) effects.push({ who, fence: lease.fence });
          }
        }
        const fences = effects.map(({ fence }) => fence);
        expect(fences).toEqual(fences.toSorted((a, b) => a - b));
        for (const { who, fence } of effects)
          expect(effects.find((effect) => effect.fence === fence)?.who).toBe(who);
      }),
      { numRuns: 30 },
    );
  });

  /** Guarantees that a holder who is stopped for longer than the lease and goes on afterwards changes nothing more. */
  test('SIGSTOP for longer than the lease', async () => {
    const place = await open();
    const store = await place.connect();
    const first = startChild('hold', place.url);
    await until(() => first.said.includes('held 1'));
    first.send('before');
    await until(() => first.said.includes('done'));
    first.signal('SIGSTOP');
    first.send('late');
    const second = startChild('hold', place.url);
    await until(() => second.said.includes('held 2'));
    second.send('second');
    await until(() => second.said.includes('done'));
    first.signal('SIGCONT');
    await until(() => first.said.includes('lease/lost'));
    expect(await marks(store)).toEqual(['before', 'second']);
  });

  /** Guarantees that of real processes that race, and are killed, each fence is one process's, and none is left out for good. */
  test('racing and killed processes', async () => {
    const place = await open();
    const store = await place.connect();
    const children = Array.from({ length: 3 }, () => startChild('race', place.url));
    for (const [at, child] of children.entries()) {
      const before = (await marks(store)).length;
      await until(async () => (await marks(store)).length > before + 20);
      if (at < 2) await child.kill();
    }
    for (const child of children) await child.kill();
    const made = await marks(store);
    expect(new Set(made).size).toBe(made.length);
    const told = children.flatMap(({ said }) => said);
    expect(new Set(told).size).toBe(told.length);
    for (const fence of told) expect(made).toContain(fence);
  });

  /** Guarantees that work under a lease is not begun by a second, that the lease is free afterwards, also after an error. */
  test('work under a lease', async () => {
    const { leases, others } = await two();
    const answer = await leases.during('work', async (lease, signal) => {
      expect(await others.during('work', async () => 'second')).toBeUndefined();
      expect(signal.aborted).toBe(false);
      return lease.fence;
    });
    expect(answer).toEqual({ answer: 1 });
    const failed = others.during('work', async () => {
      throw new Error('broken');
    });
    await expect(failed).rejects.toThrow('broken');
    expect(await leases.claim('work')).toMatchObject({ fence: 3 });
  });
});

/** @returns false for a lost lease */
function ignoreLost(error: unknown): false {
  expect(error).toMatchObject(lost);
  return false;
}

describe('keeping a lease', () => {
  const aborted = (signal: AbortSignal) =>
    new Promise<unknown>((resolve) => signal.addEventListener('abort', () => resolve(signal.reason)));

  /** Guarantees that work is told when its lease was lost, and when it could not be renewed for as long as it lasts. */
  test('says when it is lost', async () => {
    const claimedAt = systemClock.monotonic();
    const keeper = (renew: () => Promise<void>) =>
      keepAlive({ clock: systemClock, milliseconds: 100, claimedAt, renew });
    const gone = keeper(async () => {
      throw leaseLost();
    });
    const unreachable = keeper(async () => {
      throw new Error('no database');
    });
    const hanging = keeper(() => new Promise(() => undefined));
    for (const { signal } of [gone, unreachable, hanging]) expect(await aborted(signal)).toMatchObject(lost);
  });

  /** Guarantees that a lease that is renewed lasts for longer than its length. */
  test('renews', async () => {
    let renewals = 0;
    const keeper = keepAlive({
      ...{ clock: systemClock, milliseconds: 10_000, claimedAt: systemClock.monotonic() - 5_000 },
      renew: async () => {
        renewals += 1;
      },
    });
    await until(() => renewals === 1);
    expect(keeper.signal.aborted).toBe(false);
    keeper.end();
  });
});
