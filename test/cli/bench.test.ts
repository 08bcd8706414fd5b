import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeKey } from '../access/support.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { type Env, run } from './support.ts';

let service: TestService;
let env: Env;
beforeAll(async () => {
  service = await startTestService();
  env = { STATHERA_URL: service.url, STATHERA_TOKEN_FILE: join(service.dataDir, 'bootstrap-token') };
  await makeKey(service, 'bench');
});
afterAll(() => service.dispose());

const short = ['--connections', '3', '--seconds', '1', '--bytes', '32'];

/** Guarantees that the service's rate and latencies are measured, and that it is said what that costs. */
test.each(['encrypt', 'decrypt'])('measures %s', { timeout: 60_000 }, async (operation) => {
  const ended = await run(env, '--json', 'bench', '-k', 'bench', '--operation', operation, ...short);
  expect([ended.code, ended.stderr]).toEqual([0, '']);
  const measured = ended.json() as { operations: number; rate: number; p50Ms: number; p99Ms: number };
  expect(measured).toMatchObject({ operation, bytes: 32, connections: 3, errors: {} });
  expect(measured.operations).toBeGreaterThan(10);
  expect(measured.p50Ms).toBeGreaterThan(0);
  expect(measured.p99Ms).toBeGreaterThanOrEqual(measured.p50Ms);
});

/** Guarantees that people are told what it costs, and that what does not work is said instead of measured. */
test('says what it costs', { timeout: 60_000 }, async () => {
  const ended = await run(env, 'bench', '-k', 'bench', ...short);
  expect([ended.code, ended.stderr]).toEqual([
    0,
    'stathera: every operation is a use of bench and an audit record\n',
  ]);
  expect(ended.stdout).toMatch(/^rate +[\d.]+\/s\nlatency +p50 .*\nerrors +none\n$/m);
  const absent = await run(env, '--json', 'bench', '-k', 'absent', ...short);
  expect([absent.code, absent.stdout]).toEqual([1, '']);
  expect(absent.stderr).toMatch(/key\/not-found/);
  expect((await run(env, 'bench', '-k', 'bench', '--seconds', '0')).code).toBe(2);
});
