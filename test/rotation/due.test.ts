import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { newId } from '../../src/core/ids.ts';
import { datesAhead, dueAfterOther, firstDue, nextDue, whenToAct } from '../../src/rotation/due.ts';
import { checkPolicy, type RotationPolicy, weekdays } from '../../src/rotation/policy.ts';

const day = 86_400_000;
const at = (text: string) => Date.parse(text);
const iso = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());
const now = at('2026-03-01T12:00:00Z');
const limits = { minimumSeconds: 3_600, now };
const keyId = newId();

/** Of a policy: the dates of a year after `from`. */
function year(policy: RotationPolicy, from: number): (string | null)[] {
  const due = firstDue(policy, { keyId, now: from, since: from });
  return datesAhead(policy, { keyId, due, until: from + 366 * day, limit: 400 }).map(iso);
}

function refusals(policy: RotationPolicy, purpose: 'encrypt' | 'mac' = 'encrypt', minimumSeconds = 3_600) {
  try {
    checkPolicy(policy, { minimumSeconds, now, purpose });
    return [];
  } catch (error) {
    return (error as { errors: { pointer: string }[] }).errors.map(({ pointer }) => pointer);
  }
}

const zones = ['UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu'];
const instants = fc.integer({ min: at('2024-01-01T00:00:00Z'), max: at('2036-12-31T00:00:00Z') });
const windows = fc.record({
  timeZone: fc.constantFrom(...zones),
  opens: fc.array(
    fc.record(
      {
        days: fc.subarray([...weekdays], { minLength: 1 }),
        at: fc
          .tuple(fc.integer({ min: 0, max: 23 }), fc.integer({ min: 0, max: 59 }))
          .map((parts) => parts.map((part) => String(part).padStart(2, '0')).join(':')),
        minutes: fc.integer({ min: 1, max: 1_440 }),
      },
      { requiredKeys: ['at', 'minutes'] },
    ),
    { minLength: 1, maxLength: 4 },
  ),
});
const dates = fc.oneof(
  fc.record({ everyDays: fc.integer({ min: 1, max: 3_650 }) }),
  fc.record({ everySeconds: fc.integer({ min: 3_600, max: 31_536_000 }) }),
  fc.record({
    cron: fc.record({
      expression: fc
        .tuple(
          fc.integer({ min: 0, max: 59 }),
          fc.integer({ min: 0, max: 23 }),
          fc.integer({ min: 1, max: 28 }),
        )
        .map(([minute, hour, date]) => `${minute} ${hour} ${date} * *`),
      timeZone: fc.constantFrom(...zones),
    }),
  }),
);
const policies = fc
  .tuple(
    dates,
    fc.record({ jitterSeconds: fc.integer({ min: 0, max: 3_600 }), windows }, { requiredKeys: [] }),
  )
  .map(([date, rest]): RotationPolicy => ({ ...date, ...rest }));

/** Guarantees that every date lies ahead, is never acted on early, and is followed by a later one. */
test('dates move forward', () => {
  fc.assert(
    fc.property(policies, instants, fc.integer({ min: 0, max: 5 * 365 * day }), (policy, from, age) => {
      const first = firstDue(policy, { keyId, now: from, since: from - age });
      let { dueAt, actAt } = first;
      for (let count = 0; count < 5; count += 1) {
        if (dueAt === null || actAt === null) throw new Error('every policy here has dates');
        expect(dueAt).toBeGreaterThanOrEqual(from);
        expect(actAt).toBeGreaterThanOrEqual(dueAt);
        expect(whenToAct(policy, actAt)).toBe(actAt);
        const next = nextDue(policy, { keyId, dueAt, now: actAt });
        expect(next.dueAt).toBeGreaterThan(actAt);
        ({ dueAt, actAt } = next);
      }
    }),
  );
});

/** Guarantees that however long nothing ran, one rotation stands for all dates missed, and the grid of dates stays. */
test('what was missed is one rotation', () => {
  fc.assert(
    fc.property(policies, instants, fc.integer({ min: 0, max: 3_000 }), (policy, from, daysAway) => {
      const { dueAt } = firstDue(policy, { keyId, now: from, since: from });
      const back = (dueAt ?? 0) + daysAway * day;
      const next = nextDue(policy, { keyId, dueAt: dueAt ?? 0, now: back });
      expect(next.dueAt).toBeGreaterThan(back);
      const period = (policy.everyDays ?? 0) * day + (policy.everySeconds ?? 0) * 1_000;
      if (period > 0) {
        expect(((next.dueAt ?? 0) - (dueAt ?? 0)) % period).toBe(0);
        expect(next.dueAt).toBeLessThanOrEqual(back + period);
      } else expect(next).toEqual(dueAfterOther(policy, { keyId, now: back }));
    }),
  );
});

describe('clocks that are changed', () => {
  const daily = (expression: string, timeZone = 'Europe/Berlin'): RotationPolicy => ({
    cron: { expression, timeZone },
  });

  /** Guarantees that a date in the hour that spring leaves out is served at its end, once, and the next day as ever. */
  test('spring', () => {
    const days = year(daily('30 2 * * *'), at('2026-03-28T00:00:00Z')).slice(0, 3);
    expect(days).toEqual([
      '2026-03-28T01:30:00.000Z',
      '2026-03-29T01:00:00.000Z',
      '2026-03-30T00:30:00.000Z',
    ]);
  });

  /** Guarantees that a date in the hour that autumn has twice is served once. */
  test('autumn', () => {
    const days = year(daily('30 2 * * *'), at('2026-10-24T00:00:00Z')).slice(0, 3);
    expect(days).toEqual([
      '2026-10-24T00:30:00.000Z',
      '2026-10-25T00:30:00.000Z',
      '2026-10-26T01:30:00.000Z',
    ]);
  });

  /** Guarantees that a period of days is one of 24 hours each, whatever clocks are set to. */
  test('periods', () => {
    const first = firstDue({ everyDays: 1 }, { keyId, now, since: now });
    expect(nextDue({ everyDays: 1 }, { keyId, now, dueAt: first.dueAt ?? 0 }).dueAt).toBe(now + 2 * day);
  });

  /** Guarantees that each zone has a date for each day of a year, none twice, at most 25 hours apart. */
  test.each(zones)('a year of days in %s', (timeZone) => {
    for (const expression of ['0 2 * * *', '30 1 * * *', '15 0 * * *']) {
      const days = year(daily(expression, timeZone), at('2026-01-01T00:00:00Z')).map((text) =>
        at(text ?? ''),
      );
      expect(days.length).toBeGreaterThanOrEqual(365);
      for (const [index, date] of days.entries()) {
        if (index === 0) continue;
        const hours = (date - (days[index - 1] ?? 0)) / 3_600_000;
        expect(hours).toBeGreaterThanOrEqual(22.5);
        expect(hours).toBeLessThanOrEqual(25);
      }
    }
  });

  /** Guarantees that 29 February comes in leap years alone, over a century that leaves one out. */
  test('leap years', () => {
    const policy = daily('0 0 29 2 *', 'UTC');
    expect(refusals(policy)).toEqual([]);
    const from = at('2096-03-01T00:00:00Z');
    expect(iso(firstDue(policy, { keyId, now: from, since: from }).dueAt)).toBe('2104-02-29T00:00:00.000Z');
  });

  /** Guarantees that a window is as long as it says on the day on which an hour is left out or comes twice. */
  test('windows', () => {
    const policy = {
      everyDays: 1,
      windows: { timeZone: 'Europe/Berlin', opens: [{ at: '01:30', minutes: 120 }] },
    };
    // It opens at 00:30Z; by the wall two hours later it would be 04:30 in spring.
    expect(iso(whenToAct(policy, at('2026-03-29T02:29:00Z')))).toBe('2026-03-29T02:29:00.000Z');
    expect(iso(whenToAct(policy, at('2026-03-29T02:30:00Z')))).toBe('2026-03-29T23:30:00.000Z');
    expect(iso(whenToAct(policy, at('2026-10-25T01:29:00Z')))).toBe('2026-10-25T01:29:00.000Z');
    expect(iso(whenToAct(policy, at('2026-10-25T01:30:00Z')))).toBe('2026-10-26T00:30:00.000Z');
  });
});

/** Guarantees that jitter is the same for the same key always, within its bounds, and spreads keys over all of it. */
test('jitter', () => {
  const policy = { everyDays: 90, jitterSeconds: 86_400 };
  const offsets = Array.from({ length: 400 }, () => {
    const id = newId();
    const due = () => (firstDue(policy, { keyId: id, now, since: now }).dueAt ?? 0) - now - 90 * day;
    expect(due()).toBe(due());
    return due();
  });
  for (const offset of offsets) expect(offset >= 0 && offset < day).toBe(true);
  // Of 400 keys each twelfth of a day has some: by chance one is empty once in 10^14.
  const twelfths = new Set(offsets.map((offset) => Math.floor((offset * 12) / day)));
  expect(twelfths.size).toBe(12);
});

/** Guarantees that a policy for old keys makes them due now, spread by the jitter, and one for young keys later. */
test('the age of the version counts', () => {
  const policy = { everyDays: 90, jitterSeconds: 3_600 };
  const jitter = (firstDue(policy, { keyId, now, since: now }).dueAt ?? 0) - now - 90 * day;
  expect(firstDue(policy, { keyId, now, since: now - 1_000 * day }).dueAt).toBe(now + jitter);
  expect(firstDue(policy, { keyId, now, since: now - 89 * day }).dueAt).toBe(now + day + jitter);
});

/** Guarantees that what would never come, too often or not at all is refused, each at its place. */
test.each<[string, RotationPolicy, string[]]>([
  ['nothing', {}, ['/policy']],
  ['only jitter', { jitterSeconds: 60 }, ['/policy', '/policy']],
  ['two dates', { everyDays: 1, everySeconds: 86_400 }, ['/policy']],
  ['too short', { everySeconds: 3_599 }, ['/policy/everySeconds']],
  ['jitter beyond the period', { everyDays: 1, jitterSeconds: 86_401 }, ['/policy/jitterSeconds']],
  ['each second', { cron: { expression: '* * * * * *', timeZone: 'UTC' } }, ['/policy/cron/expression']],
  ['each minute', { cron: { expression: '* * * * *', timeZone: 'UTC' } }, ['/policy/cron/expression']],
  ['twice an hour', { cron: { expression: '0,30 12 1 * *', timeZone: 'UTC' } }, ['/policy/cron/expression']],
  ['30 February', { cron: { expression: '0 0 30 2 *', timeZone: 'UTC' } }, ['/policy/cron/expression']],
  ['31 April', { cron: { expression: '0 0 31 4 *', timeZone: 'UTC' } }, ['/policy/cron/expression']],
  ['minute 99', { cron: { expression: '99 0 * * *', timeZone: 'UTC' } }, ['/policy/cron/expression']],
  ['words', { cron: { expression: 'every day at ten', timeZone: 'UTC' } }, ['/policy/cron/expression']],
  ['a nickname', { cron: { expression: '@daily', timeZone: 'UTC' } }, ['/policy/cron/expression']],
  ['a date', { cron: { expression: '2030-01-01T00:00:00', timeZone: 'UTC' } }, ['/policy/cron/expression']],
  ['a year', { cron: { expression: '0 0 0 1 1 * 2030', timeZone: 'UTC' } }, ['/policy/cron/expression']],
  ['no zone', { cron: { expression: '0 0 1 * *', timeZone: 'Mars/Base' } }, ['/policy/cron/timeZone']],
  ['an offset', { cron: { expression: '0 0 1 * *', timeZone: '+02:00' } }, ['/policy/cron/timeZone']],
  ['no window', { everyDays: 1, windows: { timeZone: 'UTC', opens: [] } }, ['/policy/windows/opens']],
  [
    'a window on no day',
    { everyDays: 1, windows: { timeZone: 'UTC', opens: [{ days: [], at: '00:00', minutes: 1 }] } },
    ['/policy/windows/opens/0/days'],
  ],
])('refuses %s', (_, policy, pointers) => {
  expect(refusals(policy)).toEqual(pointers);
});

/** Guarantees that counts of encryptions are refused where nothing encrypts, and that a lower minimum allows seconds. */
test('what depends on the key and on the settings', () => {
  expect(refusals({ after: { encryptions: 1_000 } }, 'mac')).toEqual(['/policy/after']);
  expect(refusals({ after: { encryptions: 1_000 } })).toEqual([]);
  expect(refusals({ everySeconds: 2 }, 'encrypt', 1)).toEqual([]);
  expect(refusals({ cron: { expression: '* * * * * *', timeZone: 'UTC' } }, 'encrypt', 1)).toEqual([]);
  expect(refusals({ everyDays: 1 }, 'encrypt', 86_401)).toEqual(['/policy/everyDays']);
  // A day of 23 hours is a day.
  const daily = { cron: { expression: '0 4 * * *', timeZone: 'Europe/Berlin' } };
  expect(refusals(daily, 'encrypt', 86_400)).toEqual([]);
});

/** Guarantees that no expression, however it is written, is kept while it has no date or throws. */
test('cron nonsense', () => {
  const field = fc.oneof(
    fc.constantFrom(
      '*',
      '?',
      '*/2',
      '1-5',
      '0',
      'MON',
      'L',
      '5L',
      'FRI#2',
      '1W',
      '-',
      '',
      '60',
      '1-',
      '/5',
      '*/0',
    ),
    fc.string({ maxLength: 4 }),
  );
  const expressions = fc.array(field, { minLength: 1, maxLength: 7 }).map((parts) => parts.join(' '));
  fc.assert(
    fc.property(expressions, fc.constantFrom(...zones), (expression, timeZone) => {
      const policy = { cron: { expression, timeZone } };
      if (refusals(policy).length > 0) return;
      const { dueAt } = firstDue(policy, { keyId, now, since: now });
      expect(dueAt).toBeGreaterThan(now);
      expect(nextDue(policy, { keyId, now, dueAt: dueAt ?? 0 }).dueAt).toBeGreaterThanOrEqual(
        (dueAt ?? 0) + limits.minimumSeconds * 1_000,
      );
    }),
  );
});
