import { expect, test } from 'vitest';
import { createProgress, formatBytes, formatSeconds, progressLine } from '../../src/cli/progress.ts';

/** Guarantees that sizes and times are written as people read them. */
test('sizes and times', () => {
  expect([0, 1, 1023, 1024, 1_572_864, 5 * 2 ** 40, 2 ** 60].map(formatBytes)).toEqual([
    ...['0 B', '1 B', '1023 B', '1.0 KiB', '1.5 MiB', '5.0 TiB', '1048576.0 TiB'],
  ]);
  expect([-1, 0, 0.1, 59.5, 60, 3599, 3600, 100_000].map(formatSeconds)).toEqual([
    ...['0:00', '0:00', '0:01', '1:00', '1:00', '59:59', '1:00:00', '27:46:40'],
  ]);
});

/** Guarantees that the line tells how much of how much, how fast and how long still, as far as that is known. */
test('the line', () => {
  const half = {
    label: 'report.pdf',
    unit: 'bytes',
    done: 2 ** 29,
    total: 2 ** 30,
    elapsedMs: 4000,
  } as const;
  expect(progressLine(half)).toBe(
    'report.pdf  [##########..........] 50 %  512.0 MiB  128.0 MiB/s  0:04 left',
  );
  expect(progressLine({ ...half, total: undefined })).toBe('report.pdf  512.0 MiB  128.0 MiB/s');
  expect(progressLine({ ...half, elapsedMs: 10 })).toBe('report.pdf  [##########..........] 50 %  512.0 MiB');
  // A file that grew meanwhile, and an empty one.
  expect(progressLine({ ...half, total: 2 ** 28 })).toContain('[####################] 100 %');
  expect(progressLine({ ...half, done: 0, total: 0 })).toBe(
    'report.pdf  0 B  0.0 B/s'.replace('0.0 B', '0 B'),
  );
  expect(progressLine({ ...half, unit: 'files', done: 3, total: 6 })).toContain('50 %  3 files  1 files/s');
  const named = progressLine({ ...half, label: 'a\u{1b}[2J\nname that is longer than it may be' });
  expect(named).toMatch(/^… that is longer than it may be|^….{23} {2}/);
  expect(named).not.toMatch(/\p{Cc}/u);
});

/** Guarantees that a terminal sees one line, at most ten times a second and no wider than it is; others see nothing. */
test('the terminal', () => {
  let now = 0;
  const written: string[] = [];
  const terminal = { isTTY: true, columns: 40, write: (text: string) => written.push(text) };
  const progress = createProgress('a', { terminal, now: () => now });
  for (; now < 1000; now += 10) progress.update(now, 1000);
  expect(written).toHaveLength(10);
  for (const text of written) {
    expect(text.startsWith('\r\u{1b}[K')).toBe(true);
    expect(text.length).toBeLessThanOrEqual(4 + 39);
  }
  progress.clear();
  progress.clear();
  expect(written.slice(10)).toEqual(['\r\u{1b}[K']);
  for (const quiet of [undefined, { ...terminal, isTTY: undefined }]) {
    const silent = createProgress('a', { terminal: quiet, now: () => now });
    silent.update(1, 2);
    silent.clear();
  }
  expect(written).toHaveLength(11);
});
