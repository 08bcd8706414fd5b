import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { show } from './show/show.ts';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';

/** Guarantees the demo of aggregates shows what it says, with fewer companies. */
test.runIf(nightly)('the demo', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'stathera-demo-'));
  const failed: string[] = [];
  try {
    await show(
      directory,
      { companies: 20, rows: 500 },
      {
        step: () => undefined,
        say: () => undefined,
        check: (text, holds) => void (holds || failed.push(text)),
      },
    );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  expect(failed).toEqual([]);
});
