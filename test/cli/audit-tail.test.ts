import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { type AuditRecord, makeKey, makeToken } from '../access/support.ts';
import { freshDataDir, removeDirectory } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { type Env, run, start } from './support.ts';

function envOf({ url, dataDir }: TestService): Env {
  return { STATHERA_URL: url, STATHERA_TOKEN_FILE: join(dataDir, 'bootstrap-token') };
}

const recordsOf = (stdout: string) =>
  stdout.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as AuditRecord]));
const namesOf = (records: readonly AuditRecord[]) => records.map(({ target }) => target?.name);

/** Guarantees that the newest records are shown oldest first, as many as wanted and of those only what is wanted. */
test('shows the newest', { timeout: 60_000 }, async () => {
  const service = await startTestService();
  onTestFinished(() => service.dispose());
  const env = envOf(service);
  for (const name of ['a', 'b', 'c', 'd']) await makeKey(service, name);
  await service.call('GET', '/v1/keys/a');
  const three = recordsOf((await run(env, '--json', 'audit', 'tail', '-n', '3')).stdout);
  expect(namesOf(three)).toEqual(['c', 'd', 'a']);
  const made = await run(env, 'audit', 'tail', '--json', '--action', 'keys.create', '-n', '2');
  expect(namesOf(recordsOf(made.stdout))).toEqual(['c', 'd']);
  const people = await run(env, 'audit', 'tail', '--target', 'b');
  expect(people.stdout).toMatch(
    /^\S+Z {2}allowed {2}keys\.create +b(?:@1)? {2}by bootstrap {2}from 127\.0\.0\.1\n$/,
  );
  expect((await run(env, 'audit', 'tail', '--outcome', 'failed')).stdout).toBe('');
  expect((await run(env, 'audit', 'tail', '--outcome', 'maybe')).code).toBe(2);
  const blind = await makeToken(service, { scopes: ['keys:encrypt'] });
  await expect(
    service.call('GET', '/v1/audit/records', undefined, { token: blind.secret }),
  ).resolves.toMatchObject({
    status: 403,
  });
  const refused = await run(env, 'audit', 'tail', '--outcome', 'refused');
  expect(refused.stdout).toMatch(/^\S+ {2}refused {2}audit\.read .*access\/denied\n$/);
});

/** Guarantees that what comes is shown in order, once, and that nothing is missed while the service was away. */
test('follows, also after the service was away', { timeout: 120_000 }, async () => {
  const dataDir = await freshDataDir();
  onTestFinished(() => removeDirectory(dataDir));
  const first = await startTestService({ dataDir });
  onTestFinished(() => first.kill());
  const child = start(
    envOf(first),
    ...['--json', 'audit', 'tail', '--follow', '--interval', '1', '-n', '1', '--action', 'keys.create'],
  );
  onTestFinished(() => void child.kill('SIGKILL'));
  const errors = text(child.stderr);
  const shown: AuditRecord[] = [];
  createInterface(child.stdout).on('line', (line) => shown.push(JSON.parse(line) as AuditRecord));
  const see = async (...names: string[]) => {
    await expect.poll(() => namesOf(shown), { timeout: 40_000, interval: 100 }).toEqual(names);
  };
  await makeKey(first, 'a');
  await see('a');
  for (const name of ['b', 'c', 'd']) await makeKey(first, name);
  await see('a', 'b', 'c', 'd');
  await makeKey(first, 'e');
  await first.kill();
  const port = new URL(first.url).port;
  const second = await startTestService({ dataDir, env: { STATHERA_LISTEN: `127.0.0.1:${port}` } });
  onTestFinished(() => second.kill());
  await makeKey(second, 'f');
  await see('a', 'b', 'c', 'd', 'e', 'f');
  child.kill('SIGINT');
  expect(await once(child, 'close')).toEqual([130, null]);
  const said = (await errors).split('\n').filter((line) => line !== '');
  // The service may have been back before it was asked again.
  expect([[], ['no service answers', 'the service answers again']]).toContainEqual(
    said.map((line) => /no service answers|the service answers again/.exec(line)?.[0]),
  );
});
