import { createHmac, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkValue } from '../../src/crypto/check-value.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { type Env, pipe, run } from './support.ts';

let service: TestService;
let env: Env;
beforeAll(async () => {
  service = await startTestService();
  env = { STATHERA_URL: service.url, STATHERA_TOKEN_FILE: join(service.dataDir, 'bootstrap-token') };
});
afterAll(() => service.dispose());

const hexCheck = (key: Uint8Array) => Buffer.from(checkValue(key)).toString('hex');

/** Guarantees that a key of a file or a pipe becomes a version, under each wrapping, and is that very key. */
test('imports a file and a pipe', { timeout: 120_000 }, async () => {
  const [first, second] = [randomBytes(32), randomBytes(32)];
  const file = join(service.dataDir, 'a.key');
  await writeFile(file, first, { mode: 0o600 });
  const made = await run(
    env,
    'keys',
    'create',
    'legacy',
    '--algorithm',
    'hmac-sha-256',
    '--origin',
    'external',
  );
  expect(made.stdout).toMatch(/^made +elsewhere, and imported$/m);
  const imported = await run(env, 'keys', 'import', 'legacy', file, '--check-value', hexCheck(first));
  expect([imported.code, imported.stderr]).toEqual([0, '']);
  expect(imported.stdout).toBe(`version 1 of legacy is imported; its check value is ${hexCheck(first)}\n`);
  const wrapping = ['--wrapping', 'rsa-aes-key-wrap-sha-256', '--expires-at', '2099-01-01T00:00:00Z'];
  const piped = await pipe(env, second, 'keys', 'import', 'legacy', '-', ...wrapping, '--json');
  expect([piped.code, piped.stderr]).toEqual([0, '']);
  const answer = JSON.parse(piped.stdout.toString()) as object;
  expect(answer).toMatchObject({ currentVersion: 2, checkValue: hexCheck(second) });
  const { body } = await service.call('POST', '/v1/keys/legacy/mac', { message: 'eA==' });
  expect(body['mac']).toBe(createHmac('sha256', second).update('x').digest('base64'));
  const versions = await run(env, '--json', 'keys', 'versions', 'legacy');
  expect(versions.json()).toMatchObject({
    items: [
      { version: 2, origin: 'rsa-aes-key-wrap-sha-256', expiresAt: '2099-01-01T00:00:00.000Z' },
      { version: 1, origin: 'hpke-x-wing' },
    ],
  });
});

/** Guarantees that nothing is sent of a key that is not the one meant, and that each refusal says what is wrong. */
test('refuses what is not meant', { timeout: 120_000 }, async () => {
  await run(env, 'keys', 'create', 'other', '--origin', 'external');
  const file = join(service.dataDir, 'b.key');
  const key = randomBytes(32);
  await writeFile(file, key, { mode: 0o600 });
  await writeFile(`${file}.short`, key.subarray(1));
  await writeFile(`${file}.long`, randomBytes(4000));
  const cases: [string[], number, RegExp][] = [
    [
      ['other', file, '--check-value', '0000000000'],
      1,
      new RegExp(`the check value of this key is ${hexCheck(key)}`),
    ],
    [['other', `${file}.short`], 1, /other takes keys of 32 bytes: this one has 31/],
    [['other', `${file}.long`], 1, /has 4000 bytes/],
    [['other', `${file}.none`], 1, /cannot be read/],
    [['none', file], 1, /key\/not-found/],
    [['other', file, '--check-value', 'xyz'], 2, /5 bytes in hexadecimal/],
    [['other', file, '--wrapping', 'rot13'], 2, /Allowed choices/],
  ];
  for (const [args, code, message] of cases) {
    const ended = await run(env, 'keys', 'import', ...args);
    expect([args, ended.code, ended.stdout]).toEqual([args, code, '']);
    expect(ended.stderr).toMatch(message);
  }
  const { body } = await service.call('GET', '/v1/keys/other');
  expect(body['currentVersion']).toBe(0);
});
