import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { agesDataset, makeContributors } from '../aggregate/asking.ts';
import { runMain } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';

let service: TestService;
let dataset: string;
beforeAll(async () => {
  service = await startTestService();
  dataset = await agesDataset(service, await makeContributors(service, 5));
});
afterAll(() => service.dispose());

function stathera(...args: readonly string[]) {
  const env = {
    STATHERA_URL: service.url,
    STATHERA_TOKEN_FILE: join(service.dataDir, 'bootstrap-token'),
  };
  return runMain(['datasets', ...args], env, { allowFailure: true });
}

/** Guarantees a question from the command line: what it would cost, its answer with error bars, what is left, and the same again. */
test('a question', async () => {
  const query = [
    ...['query', dataset, '--statistic', 'mean', '--column', 'age', '--epoch', '1', '--by', 'department'],
    ...['--where', 'department=sales', '--where', 'department=legal', '--epsilon', '50'],
  ];
  const dry = await stathera(...query, '--dry-run');
  expect([dry.code, dry.stderr]).toEqual([0, '']);
  expect(dry.stdout).toMatch(/contributors +5\n/);
  expect(dry.stdout).toMatch(/noise of the sum +discrete-laplace, 95 % within ± \d/);
  expect(dry.stdout).toContain('afterwards: 50 of ε = 100 (δ = 0) spent on 1 answers; one more may cost 50');

  const answered = await stathera(...query);
  expect(answered.code, answered.stderr).toBe(0);
  const [, state] = /^state +(\S+)$/m.exec(answered.stdout) ?? [];
  expect(state).toBe('answered');
  // The truth is 24.5 and 25.4; noise of more than 2 is rarer than one in 10^10.
  const [, sales] = /^sales +(\S+) +\S+ +\S+$/m.exec(answered.stdout) ?? [];
  const [, legal] = /^legal +(\S+) +\S+ +\S+$/m.exec(answered.stdout) ?? [];
  expect(Math.abs(Number(sales) - 24.5)).toBeLessThan(2);
  expect(Math.abs(Number(legal) - 25.4)).toBeLessThan(2);

  const [, id = ''] = /^id +(\S+)$/m.exec(answered.stdout) ?? [];
  expect((await stathera('answer', dataset, id)).stdout).toBe(answered.stdout);
  const listed = JSON.parse((await stathera('--json', 'queries', dataset)).stdout) as {
    items: { id: string }[];
  };
  expect(listed.items.map((item) => item.id)).toEqual([id]);
  expect((await stathera('budget', dataset)).stdout).toMatch(/^50 of ε = 100/);
});

/** Guarantees what is refused is said in one line, with a code of its own for a call that was written wrongly. */
test('refusals', async () => {
  const count = ['query', dataset, '--statistic', 'count', '--epoch', '1'];
  const open = await stathera('query', dataset, '--statistic', 'count', '--epoch', '2', '--epsilon', '1');
  expect([open.code, open.stdout]).toEqual([1, '']);
  expect(open.stderr).toMatch(/^stathera: dataset\/epoch-open: The epoch still takes contributions/);
  for (const wrong of [
    [...count],
    [...count, '--epsilon', 'many'],
    [...count, '--epsilon', '1', '--epoch', '0'],
    ['query', dataset, '--statistic', 'median', '--epoch', '1', '--epsilon', '1'],
  ]) {
    expect((await stathera(...wrong)).code).toBe(2);
  }
  for (const wrong of [
    ['--where', 'department'],
    ['--weights', 'department'],
    ['--weights', 'department:sales=x'],
  ]) {
    const { code, stderr } = await stathera(...count, '--epsilon', '1', ...wrong);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^error: option .* must be GROUP/);
  }
});
