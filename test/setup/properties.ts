import fc from 'fast-check';
import { inject } from 'vitest';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';

fc.configureGlobal({ seed: inject('seed'), ...(nightly && { numRuns: 2_000 }) });
