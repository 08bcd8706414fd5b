import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitingJob } from '../access/support.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { run } from './support.ts';

const envOf = (service: TestService) => ({
  STATHERA_URL: service.url,
  STATHERA_TOKEN_FILE: join(service.dataDir, 'bootstrap-token'),
});

let working: TestService;
let waiting: TestService;
beforeAll(async () => {
  working = await startTestService();
  waiting = await startTestService({ env: { STATHERA_JOBS_CONCURRENCY: '0' } });
});
afterAll(async () => {
  await working.dispose();
  await waiting.dispose();
});

/** Guarantees that jobs are listed, shown and watched to their end: the housekeeping of a service is made and done by itself. */
test('lists, shows and watches', { timeout: 60_000 }, async () => {
  const env = envOf(working);
  const id = await waitingJob(working);
  const watched = await run(env, 'jobs', 'watch', id);
  expect([watched.code, watched.stderr]).toEqual([0, '']);
  expect(watched.stdout).toMatch(/^state +done$/m);
  expect(watched.stdout).toMatch(/^kind +jobs\.housekeeping$/m);
  expect((await run(env, '--json', 'jobs', 'show', id)).json()).toMatchObject({
    ...{
      id,
      state: 'done',
      result: { idempotencyRows: 0, jobs: 0 },
      chunks: { total: 1, done: 1, failed: 0 },
    },
  });
  const list = await run(env, 'jobs', 'list', '--service', '--state', 'done');
  expect(list.stdout).toMatch(/^ID +KIND +STATE +DONE +LEFT +CREATED$/m);
  expect(list.stdout).toContain(id);
  expect((await run(env, '--json', 'jobs', 'list')).json()).toEqual({ items: [] });
  const refused = await run(env, 'jobs', 'cancel', id);
  expect([refused.code, refused.stdout]).toEqual([1, '']);
});

/** Guarantees that a job is cancelled, that to watch one that was ends with 1, and that unknown ones are told of. */
test('cancels', { timeout: 60_000 }, async () => {
  const env = envOf(waiting);
  const id = await waitingJob(waiting);
  expect((await run(env, '--json', 'jobs', 'cancel', id)).json()).toMatchObject({ state: 'cancelled' });
  const watched = await run(env, 'jobs', 'watch', id);
  expect(watched.code).toBe(1);
  expect(watched.stdout).toMatch(/^state +cancelled$/m);
  expect((await run(env, 'jobs', 'show', 'none')).code).toBe(1);
});
