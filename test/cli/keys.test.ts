import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeToken } from '../access/support.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { run } from './support.ts';

let service: TestService;
let env: Readonly<Record<string, string>>;
beforeAll(async () => {
  service = await startTestService();
  env = { STATHERA_URL: service.url, STATHERA_TOKEN_FILE: join(service.dataDir, 'bootstrap-token') };
});
afterAll(() => service.dispose());

async function tokenFile(name: string, text: string): Promise<Readonly<Record<string, string>>> {
  const file = join(service.dataDir, name);
  await writeFile(file, text, { mode: 0o600 });
  return { ...env, STATHERA_TOKEN_FILE: file };
}

/** Guarantees the life of a key on the command line, for people and for programs. */
test('creates, shows, rotates, disables and enables', { timeout: 60_000 }, async () => {
  const made = await run(env, 'keys', 'create', 'payments', '--description', 'of the shop');
  expect([made.code, made.stderr]).toEqual([0, '']);
  expect(made.stdout).toMatch(/^name +payments$/m);
  expect(made.stdout).toMatch(/^description +of the shop$/m);
  const small = await run(env, '--json', 'keys', 'create', 'small', '--algorithm', 'aes-128-gcm');
  expect(small.json()).toMatchObject({ name: 'small', algorithm: 'aes-128-gcm' });
  expect((await run(env, 'keys', 'rotate', 'payments', '--json')).json()).toMatchObject({
    currentVersion: 2,
    existing: expect.stringContaining('until they are rewrapped'),
  });
  expect((await run(env, '--json', 'keys', 'disable', 'payments')).json()).toMatchObject({
    state: 'disabled',
  });
  expect((await run(env, '--json', 'keys', 'show', 'payments')).json()).toMatchObject({ state: 'disabled' });
  expect((await run(env, '--json', 'keys', 'enable', 'payments')).json()).toMatchObject({ state: 'enabled' });
  const list = await run(env, 'keys', 'list');
  expect(list.stdout).toMatch(/^NAME +ALGORITHM +STATE +VERSION +LAST USED$/m);
  expect(list.stdout).toMatch(/^payments +aes-256-gcm +enabled +2 /m);
  expect((await run(env, '--json', 'keys', 'list')).json()).toMatchObject({
    items: [{ name: 'payments' }, { name: 'small' }],
  });
});

/** Guarantees that what does not work ends with 1, one line that says what to do next, and nothing on stdout. */
test('says what to do next', { timeout: 60_000 }, async () => {
  const limited = await makeToken(service, { scopes: ['keys:encrypt'] });
  const other = createServer((_, response) => response.end('{"hello":1}')).listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  const cases: [string, Readonly<Record<string, string>>, string[], RegExp][] = [
    [
      'no service',
      { ...env, STATHERA_URL: 'http://127.0.0.1:1' },
      ['list'],
      /no service answers at .*npm start/,
    ],
    ['no URL', { ...env, STATHERA_URL: 'nonsense' }, ['list'], /STATHERA_URL is no URL/],
    [
      'no secret URL',
      { ...env, STATHERA_URL: 'http://a:stk_b@127.0.0.1:1' },
      ['list'],
      /STATHERA_URL.* no user/,
    ],
    [
      'no TLS',
      { ...env, STATHERA_URL: 'http://kms.example' },
      ['list'],
      /in clear: use https:.*STATHERA_ALLOW_CLEARTEXT/,
    ],
    ['no such service', { ...env, STATHERA_URL: `http://127.0.0.1:${port}` }, ['list'], /STATHERA_URL/],
    [
      'no token file',
      { ...env, STATHERA_TOKEN_FILE: '/nowhere/token' },
      ['list'],
      /\(ENOENT\)\. Set STATHERA_TOKEN_FILE/,
    ],
    [
      'wrong token',
      await tokenFile('wrong', `stk_${'A'.repeat(64)}\n`),
      ['list'],
      /access\/unauthenticated.*unknown/,
    ],
    ['empty token', await tokenFile('empty', '\n'), ['list'], /holds no token/],
    ['no token at all', await tokenFile('prose', 'two words\nand more é\n'), ['list'], /holds no token/],
    [
      'narrow token',
      await tokenFile('narrow', limited.secret),
      ['create', 'x'],
      /access\/denied.*keys:admin/,
    ],
    ['unknown key', env, ['show', 'absent'], /key\/not-found/],
    ['unknown key', env, ['rotate', 'absent'], /key\/not-found/],
    ['no name', env, ['create', 'UPPER'], /request\/invalid[^]*\/name/],
    ['no algorithm', env, ['create', 'x', '--algorithm', 'des'], /request\/invalid[^]*aes-256-gcm/],
    ['a path', env, ['show', '../access/tokens'], /request\/invalid|key\/not-found/],
  ];
  for (const [what, environment, args, words] of cases) {
    const { code, stdout, stderr } = await run(environment, 'keys', ...args);
    expect([what, code, stdout]).toEqual([what, 1, '']);
    expect(stderr).toMatch(/^stathera: /);
    expect(stderr).toMatch(words);
    expect(stderr).not.toMatch(/stk_|at .*\.ts:|two words/);
  }
  other.close();
});

/** Guarantees that mistyped commands are explained and fail. */
test('explains what it takes', { timeout: 60_000 }, async () => {
  for (const args of [['kyes'], ['keys', 'shred', 'x'], ['keys', 'create'], ['serve', '--port', '1']]) {
    const { code, stdout, stderr } = await run(env, ...args);
    expect([args, code, stdout]).toEqual([args, 2, '']);
    expect(stderr).toMatch(/error: .*\n[^]*stathera --help/);
  }
  const help = await run(env, '--help');
  expect([help.code, help.stderr]).toEqual([0, '']);
  for (const command of ['serve', 'init', 'doctor', 'keys', 'audit'])
    expect(help.stdout).toContain(`  ${command}`);
  expect((await run(env, '--version')).stdout).toMatch(/^\d+\.\d+\.\d+/);
});
