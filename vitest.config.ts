import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { compiledDirectory } from './test/support/data.ts';
import { whyNoPostgres } from './test/support/postgres.ts';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';

// One seed a run, printed by test/setup/global.ts; give it back to repeat a run.
const seed = Number(process.env['STATHERA_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
if (!Number.isSafeInteger(seed)) throw new Error('STATHERA_TEST_SEED must be an integer');

const env = {
  STATHERA_TEST_SEED: String(seed),
  // Hundreds of processes are started from the sources: without it each takes its types away and compiles them anew.
  NODE_COMPILE_CACHE: compiledDirectory(process.pid),
};

// What a client can tell of the service must not depend on the database: these files are run over both.
const overBoth = [
  'test/access/{lifetime,namespaces,recorded,tokens}.test.ts',
  'test/aggregate/contributions.test.ts',
  'test/cli/datasets.test.ts',
  'test/envelope/roundtrip.test.ts',
  'test/events/events.test.ts',
  'test/keys/keys.test.ts',
  'test/lifecycle/lifecycle.test.ts',
];
const why = whyNoPostgres();
if (why !== undefined) process.stdout.write(`left out over PostgreSQL: ${why}\n`);

export default defineConfig({
  test: {
    // Native modules and the token live in the process: each test file gets its own.
    pool: 'forks',
    maxWorkers: Math.max(2, availableParallelism()),
    env,
    provide: { seed },
    globalSetup: ['test/setup/global.ts'],
    setupFiles: ['test/setup/properties.ts'],
    testTimeout: nightly ? 600_000 : 120_000,
    hookTimeout: nightly ? 120_000 : 60_000,
    teardownTimeout: 10_000,
    allowOnly: false,
    passWithNoTests: false,
    projects: [
      { extends: true, test: { name: 'sqlite', include: ['test/**/*.test.ts'] } },
      ...(why === undefined
        ? [
            {
              extends: true as const,
              test: {
                name: 'postgres',
                include: overBoth,
                env: { ...env, STATHERA_TEST_DATABASE: 'postgres' },
                globalSetup: [],
                setupFiles: ['test/setup/properties.ts', 'test/setup/postgres.ts'],
              },
            },
          ]
        : []),
    ],
  },
});
