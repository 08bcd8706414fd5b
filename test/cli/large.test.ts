import { afterEach, expect, test } from 'vitest';
import { emptyDirectory, removeDirectory } from '../support/data.ts';
import { show } from './show.ts';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';
const bytes = nightly ? 10 * 2 ** 30 : 64 * 2 ** 20;
/** A process that held the file, or a part that grows with it, would need far more: node alone has 50 MiB. */
const mostMiB = 250;

let directory: string;
afterEach(() => removeDirectory(directory));

/** Guarantees that a large file comes back the same after a rotation and a rewrap of its header alone, in constant memory. */
test('a large file', { timeout: nightly ? 3_600_000 : 180_000 }, async () => {
  directory = await emptyDirectory();
  const { steps, before, after, changed } = await show(directory, bytes, () => undefined);
  expect(after).toBe(before);
  expect(changed).toEqual({ header: expect.any(Number) as number, payload: false });
  expect(changed.header).toBeGreaterThan(30);
  expect(steps.map(({ command }) => command)).toEqual([
    ...['keys create', 'encrypt', 'keys rotate', 'rewrap', 'decrypt'],
  ]);
  for (const { command, peakBytes = 0 } of steps)
    expect([command, peakBytes / 2 ** 20 < mostMiB]).toEqual([command, true]);
});
