import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createDeadlines, lookEveryMs } from '../../src/core/deadlines.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
afterEach(() => void vi.useRealTimers());

/** Guarantees that a limit passes once, at most one look late, also beside longer ones and one begun in its callback. */
test('passes in time', () => {
  const deadlines = createDeadlines();
  const passed: [string, number][] = [];
  const note = (name: string) => passed.push([name, performance.now() - began]);
  const began = performance.now();
  deadlines.start(1_000, () => note('long'));
  deadlines.start(100, () => {
    note('short');
    deadlines.start(300, () => note('later'));
  });
  vi.advanceTimersByTime(5_000);
  expect(passed.map(([name]) => name)).toEqual(['short', 'later', 'long']);
  const due = [100, 400, 1_000];
  for (const [index, [, at]] of passed.entries()) {
    expect(at).toBeGreaterThanOrEqual(due[index] ?? 0);
    expect(at).toBeLessThanOrEqual((due[index] ?? 0) + 2 * lookEveryMs);
  }
});

/** Guarantees that a limit that was ended never passes, and that no timer runs while there is none. */
test('what is ended does not pass', () => {
  const deadlines = createDeadlines();
  const onPassed = vi.fn<() => void>();
  const deadline = deadlines.start(100, onPassed);
  deadlines.end(deadline);
  deadlines.end(deadline);
  vi.advanceTimersByTime(1_000);
  expect(onPassed).not.toHaveBeenCalled();
  expect(vi.getTimerCount()).toBe(0);
});

/** Guarantees that a limit ended by another one, that passes at the same look, does not pass, and that the rest do. */
test('what another ends does not pass', () => {
  const deadlines = createDeadlines();
  const passed: string[] = [];
  deadlines.start(100, () => {
    passed.push('first');
    deadlines.end(second);
  });
  const second = deadlines.start(100, () => passed.push('second'));
  deadlines.start(100, () => passed.push('third'));
  vi.advanceTimersByTime(1_000);
  expect(passed).toEqual(['first', 'third']);
});
