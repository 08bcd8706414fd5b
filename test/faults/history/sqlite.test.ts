import { expect, inject, onTestFinished, test } from 'vitest';
import { freshDataDir, removeDirectory, runMain } from '../../support/data.ts';
import { check } from './check.ts';
import { startNodes } from './nodes.ts';
import { processFaults, runHistory, strikeAtRandom } from './run.ts';
import { explained, told } from './told.ts';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';

/**
 * Guarantees, for three processes over one SQLite database that are killed and stopped at random under random requests:
 * what an acknowledged version sealed opens, no revoked token or disabled key is accepted beyond the bound, every answer
 * has exactly one record, no rotation ran twice; and that the log verifies.
 */
test('a history over SQLite', { timeout: nightly ? 1_200_000 : 240_000 }, async () => {
  const dataDir = await freshDataDir();
  onTestFinished(() => removeDirectory(dataDir));
  const nodes = await startNodes([0, 1, 2].map(() => ({ dataDir, env: {} })));
  onTestFinished(() => nodes.dispose());
  const history = await runHistory({
    nodes,
    disturb: (random) => strikeAtRandom(processFaults(nodes), nightly ? 600_000 : 15_000, random),
    seed: inject('seed'),
  });
  process.stdout.write(told(history));
  expect(explained(check(history, 100), history)).toEqual([]);
  expect(history.seen.filter(({ outcome }) => outcome === 'accepted').length).toBeGreaterThan(200);
  await nodes.dispose();
  const verified = await runMain(['audit', 'verify', '--with-token'], { STATHERA_DATA_DIR: dataDir });
  expect(verified.stdout).toMatch(/^ok$/m);
});
