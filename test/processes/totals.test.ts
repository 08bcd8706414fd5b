import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { FamilySamples } from '../../src/core/metrics-text.ts';
import { createTotals } from '../../src/processes/totals.ts';

const counter = (value: number, labels = ''): FamilySamples => ({
  ...{ name: 'a_total', help: 'A', type: 'counter' },
  series: [{ labels, values: [value] }],
});
const gauge = (value: number, labels = ''): FamilySamples => ({
  ...{ name: 'b', help: 'B', type: 'gauge' },
  series: [{ labels, values: [value] }],
});
const histogram = (buckets: readonly number[], values: readonly number[]): FamilySamples => ({
  ...{ name: 'c_seconds', help: 'C', type: 'histogram', buckets },
  series: [{ labels: 'op="x"', values }],
});

/** Guarantees that counters and histograms are added up by their labels, and gauges shown one by one. */
test('adds up what can be added up', () => {
  const totals = createTotals<object>();
  const [one, two] = [{}, {}];
  totals.update(one, [counter(2), gauge(5), histogram([1], [1, 0, 0.5])]);
  totals.update(two, [counter(3), gauge(7, 'of="x"'), histogram([1], [0, 2, 9])]);
  expect(
    totals.families(
      new Map([
        [1, one],
        [2, two],
      ]),
    ),
  ).toEqual([
    counter(5),
    histogram([1], [1, 2, 9.5]),
    {
      ...gauge(0),
      series: [
        { labels: 'process="1"', values: [5] },
        { labels: 'process="2",of="x"', values: [7] },
      ],
    },
  ]);
});

/** Guarantees that a sum never goes down, whoever ends, is replaced, or stays silent. */
test('never counts backwards', () => {
  const step = fc.record({
    who: fc.nat(3),
    more: fc.nat(10),
    what: fc.constantFrom('say', 'end', 'nothing'),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const totals = createTotals<{ count: number }>();
      const members = Array.from({ length: 4 }, () => ({ count: 0 }));
      let said = 0;
      let before = 0;
      for (const { who, more, what } of steps) {
        const member = members[who] ?? { count: 0 };
        if (what === 'say') {
          member.count += more;
          said += more;
          totals.update(member, [counter(member.count)]);
        }
        if (what === 'end') {
          totals.retire(member);
          members[who] = { count: 0 };
        }
        const now = totals.families(new Map())[0]?.series[0]?.values[0] ?? 0;
        expect(now).toBeGreaterThanOrEqual(before);
        expect(now).toBe(said);
        before = now;
      }
    }),
  );
});

/** Guarantees that a histogram of newer files, with other buckets, is left out rather than added to the wrong ones. */
test('adds nothing of another shape', () => {
  const totals = createTotals<object>();
  totals.update({}, [histogram([1], [1, 0, 0.5])]);
  totals.update({}, [histogram([1, 2], [1, 1, 1, 3])]);
  expect(totals.families(new Map())).toEqual([histogram([1], [1, 0, 0.5])]);
});
