import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, inject, onTestFinished, test } from 'vitest';
import { emptyDirectory, removeDirectory, runMain } from '../../support/data.ts';
import { startPostgres, type TestPostgres, whyNoPostgres } from '../../support/postgres.ts';
import { startTestProxy, type TestProxy } from '../../support/proxy.ts';
import { check } from './check.ts';
import { startNodes } from './nodes.ts';
import { type Fault, processFaults, runHistory, strikeAtRandom } from './run.ts';
import { explained, told } from './told.ts';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';
const why = whyNoPostgres();

function databaseFaults(server: TestPostgres, proxy: TestProxy): Fault[] {
  return [
    {
      name: 'PostgreSQL is killed',
      async strike(random) {
        await server.kill();
        await delay(random() * 1_000);
        await server.start();
      },
    },
    { name: 'connections are cut', strike: async () => proxy.cut() },
    {
      name: 'the network swallows everything',
      async strike(random) {
        proxy.swallow();
        await delay(500 + random() * 2_000);
        proxy.pass();
      },
    },
    {
      name: 'the network is slow',
      async strike(random) {
        proxy.slow(20 + random() * 100);
        await delay(1_000 + random() * 1_000);
        proxy.slow(0);
      },
    },
  ];
}

describe.skipIf(why !== undefined)(`over PostgreSQL${why === undefined ? '' : ` (${why})`}`, () => {
  /**
   * Guarantees what sqlite.test.ts does for three processes over one PostgreSQL, which dies, and whose network cuts,
   * swallows and slows down, besides what happens to the processes.
   */
  test('a history over PostgreSQL', { timeout: nightly ? 1_200_000 : 300_000 }, async () => {
    const server = await startPostgres();
    onTestFinished(() => server.remove());
    const proxy = await startTestProxy(server.port);
    onTestFinished(() => proxy.close());
    const dataDir = await emptyDirectory();
    onTestFinished(() => removeDirectory(dataDir));
    const url = (await server.createDatabase()).replace(`:${server.port}/`, `:${proxy.port}/`);
    const env = { STATHERA_DATABASE_URL: url, STATHERA_DATA_DIR: dataDir };
    await runMain(['init'], env);
    const nodes = await startNodes([0, 1, 2].map(() => ({ dataDir, env })));
    onTestFinished(() => nodes.dispose());
    const history = await runHistory({
      nodes,
      disturb: (random) =>
        strikeAtRandom(
          [...processFaults(nodes), ...databaseFaults(server, proxy)],
          nightly ? 600_000 : 25_000,
          random,
        ),
      seed: inject('seed'),
    });
    process.stdout.write(told(history));
    expect(explained(check(history, 500), history)).toEqual([]);
    expect(history.seen.filter(({ outcome }) => outcome === 'accepted').length).toBeGreaterThan(200);
    await nodes.dispose();
    const verified = await runMain(['audit', 'verify', '--with-token'], env);
    expect(verified.stdout).toMatch(/^ok$/m);
  });
});
