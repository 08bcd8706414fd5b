import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestService, type TestService } from '../support/service.ts';
import { run } from './support.ts';

let service: TestService;
let env: Readonly<Record<string, string>>;
beforeAll(async () => {
  service = await startTestService();
  env = { STATHERA_URL: service.url, STATHERA_TOKEN_FILE: join(service.dataDir, 'bootstrap-token') };
  await service.call('POST', '/v1/keys', { name: 'payments' });
  await service.call('POST', '/v1/keys', { name: 'ledger' });
});
afterAll(() => service.dispose());

const rotation = (...args: string[]) => run(env, 'rotation', ...args);
/** The first date that the command prints lies so many days ahead, but for the time the test takes. */
const daysAhead = (stdout: string) =>
  Math.round((Date.parse(/\d{4}-\d\d-\d\dT\S+Z/.exec(stdout)?.[0] ?? '') - Date.now()) / 86_400_000);

/** Guarantees that a policy is set, shown, paused, resumed and taken back, and that a dry run sets nothing. */
test('policies', { timeout: 60_000 }, async () => {
  const dry = await rotation('set', 'payments', '--every-days', '200', '--dry-run');
  expect([dry.code, daysAhead(dry.stdout)]).toEqual([0, 200]);
  expect((await rotation('status', 'payments')).stdout).toMatch(/^why +Every 90 days\.$/m);
  const set = await rotation('set', 'payments', '--every-days', '20', '--after-megabytes', '5');
  expect([set.code, daysAhead(set.stdout)]).toEqual([0, 20]);
  expect(set.stdout).toMatch(/^policy +\{"everyDays":20,"after":\{"bytes":5000000\}\}$/m);
  expect((await rotation('pause', 'payments')).stdout).toMatch(/^paused +yes$/m);
  const status = await rotation('status');
  expect(status.stdout).toMatch(/^paused +1$/m);
  expect(status.stdout).toMatch(/^ {2}payments +It is paused/m);
  expect((await rotation('resume', 'payments')).stdout).toMatch(/^paused +no$/m);
  expect((await rotation('set', 'payments', '--default')).stdout).toMatch(/^of +the namespace$/m);
});

/** Guarantees that the calendar counts the rotations of each day, and names the next of them. */
test('the calendar', { timeout: 60_000 }, async () => {
  await rotation('set', 'ledger', '--every-days', '3');
  const plan = await rotation('plan', '--days', '7');
  const [head, ...weeks] = plan.stdout.split('\n');
  expect(head).toMatch(/^week of +Mo +Tu +We +Th +Fr +Sa +Su$/);
  const cells = weeks.slice(0, weeks.indexOf('')).flatMap((week) => week.split(/ +/).slice(1));
  // Today and seven days more, two with a rotation.
  expect(cells.filter((cell) => cell !== '').toSorted()).toEqual([
    '1',
    '1',
    ...Array.from({ length: 6 }, () => '·'),
  ]);
  expect(daysAhead(plan.stdout)).toBe(3);
  expect(plan.stdout).toMatch(/^\S+Z +ledger +Every 3 days\.$/m);
  expect((await run(env, '--json', 'rotation', 'plan', '--days', '7')).json()).toMatchObject({
    items: [{ name: 'ledger', dates: [expect.any(String), expect.any(String)] }],
  });
});

/** Guarantees that keys are rotated by hand as `keys rotate` does, with their place in the history. */
test('run and history', { timeout: 60_000 }, async () => {
  expect((await rotation('run', 'payments', 'ledger')).stdout).toBe(
    'payments is at version 2\nledger is at version 2\n',
  );
  const { stdout } = await rotation('history', 'payments');
  expect(stdout).toMatch(/^ROTATED +FROM +TO +CAUSE +BY +DUE$/m);
  expect(stdout).toMatch(/^\S+ +1 +2 +manual +\S+ +-$/m);
});

/** Guarantees that what cannot be is refused with what to do instead. */
test('refusals', { timeout: 60_000 }, async () => {
  const cron = await rotation('set', 'payments', '--cron', '* * * * *');
  expect([cron.code, cron.stderr]).toEqual([
    1,
    expect.stringContaining('more often than every 3600 seconds'),
  ]);
  const never = await rotation('plan', 'payments', '--cron', '0 0 30 2 *');
  expect([never.code, never.stderr]).toEqual([1, expect.stringContaining('never')]);
  expect((await rotation('set', 'payments')).code).toBe(2);
  expect((await rotation('set', 'payments', '--default', '--every-days', '3')).code).toBe(2);
});
