import { expect, test } from 'vitest';
import { createRates } from '../../src/admission/rates.ts';
import { manualTime } from './support.ts';

const anna = { id: 'anna', namespaceId: 'bank' };
const bert = { id: 'bert', namespaceId: 'bank' };

/** Guarantees that nothing is counted, and no field sent, when nothing is limited. */
test('no limits', () => {
  expect(createRates({ callerRate: 0, namespaceRate: 0, clock: manualTime().clock })).toBeUndefined();
});

/** Guarantees that a caller gets its rate and what ten seconds saved up, no more, and that another is not touched. */
test('limits a caller', () => {
  const { clock, pass } = manualTime();
  const rates = createRates({ callerRate: 5, namespaceRate: 0, clock });
  const taken = Array.from({ length: 60 }, () => rates?.take(anna).exceeded);
  expect(taken.filter((exceeded) => exceeded === undefined)).toHaveLength(50);
  expect(taken.at(-1)).toBe('caller');
  expect(rates?.take(bert).exceeded).toBeUndefined();
  pass(1_000);
  const later = Array.from({ length: 10 }, () => rates?.take(anna).exceeded);
  expect(later.filter((exceeded) => exceeded === undefined)).toHaveLength(5);
  pass(3_600_000);
  const rested = Array.from({ length: 60 }, () => rates?.take(anna).exceeded);
  expect(rested.filter((exceeded) => exceeded === undefined)).toHaveLength(50);
});

/** Guarantees that the callers of a namespace share its rate, and that what is refused does not count. */
test('limits a namespace', () => {
  const { clock, pass } = manualTime();
  const rates = createRates({ callerRate: 100, namespaceRate: 1, clock });
  for (let index = 0; index < 10; index += 1) rates?.take(index % 2 === 0 ? anna : bert);
  expect(rates?.take(anna).exceeded).toBe('namespace');
  expect(rates?.take({ id: 'carl', namespaceId: 'other' }).exceeded).toBeUndefined();
  expect(rates?.take(bert).fields['RateLimit']).toBe('"caller";r=995;t=1, "namespace";r=0;t=1');
  pass(1_000);
  expect(rates?.take(bert).exceeded).toBeUndefined();
});

/** Guarantees the fields of draft-ietf-httpapi-ratelimit-headers-11, sections 3 and 4. */
test('tells what is left', () => {
  const rates = createRates({ callerRate: 5, namespaceRate: 20, clock: manualTime().clock });
  expect(rates?.take(anna).fields).toEqual({
    'RateLimit-Policy': '"caller";q=50;w=10, "namespace";q=200;w=10',
    RateLimit: '"caller";r=49;t=1, "namespace";r=199;t=1',
  });
});
