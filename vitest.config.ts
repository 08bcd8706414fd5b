import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';

// One seed a run, printed by test/setup/global.ts; give it back to repeat a run.
const seed = Number(process.env['STATHERA_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
if (!Number.isSafeInteger(seed)) throw new Error('STATHERA_TEST_SEED must be an integer');

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Native modules and the token live in the process: each test file gets its own.
    pool: 'forks',
    maxWorkers: Math.max(2, availableParallelism()),
    env: { STATHERA_TEST_SEED: String(seed) },
    provide: { seed },
    globalSetup: ['test/setup/global.ts'],
    setupFiles: ['test/setup/properties.ts'],
    testTimeout: nightly ? 600_000 : 120_000,
    hookTimeout: nightly ? 120_000 : 60_000,
    teardownTimeout: 10_000,
    allowOnly: false,
    passWithNoTests: false,
  },
});
