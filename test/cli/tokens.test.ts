import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { expiry } from '../../src/cli/tokens.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { type Env, run } from './support.ts';

let service: TestService;
let env: Env;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'stathera-tokens-'));
  service = await startTestService();
  env = { STATHERA_URL: service.url, STATHERA_TOKEN_FILE: join(service.dataDir, 'bootstrap-token') };
});
afterAll(async () => {
  await service.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const secretForm = /^stk_[A-Za-z0-9_-]{64}\n$/;

/** Guarantees that a token's secret is in its file, for its owner alone, and nowhere else; and that it works until it is revoked. */
test('a token from its making to its end', { timeout: 60_000 }, async () => {
  const out = join(folder, 'checkout.token');
  const limits = ['-s', 'keys:encrypt', '--scope', 'keys:decrypt', '--key', 'pay*', '--expires', '90d'];
  const made = await run(env, '--json', 'tokens', 'create', 'checkout', ...limits, '--out', out);
  expect([made.code, made.stderr]).toEqual([0, '']);
  const token = made.json() as { id: string; expiresAt: string };
  expect(made.json()).toMatchObject({ name: 'checkout', file: out, keys: ['pay*'] });
  expect(Date.parse(token.expiresAt)).toBeGreaterThan(Date.now() + 89 * 86_400_000);
  expect(made.stdout).not.toContain('stk_');
  expect(readFileSync(out, 'utf8')).toMatch(secretForm);
  expect(statSync(out).mode & 0o777).toBe(0o600);
  const own = { ...env, STATHERA_TOKEN_FILE: out };
  expect((await run(own, 'keys', 'list')).code).toBe(0);
  const denied = await run(own, 'keys', 'rotate', 'payments');
  expect([denied.code, denied.stderr]).toEqual([
    1,
    expect.stringMatching(/access\/denied.*tokens create --scope/),
  ]);
  expect((await run(env, 'tokens', 'list')).stdout).toMatch(
    /^checkout +valid +\S+ +keys:encrypt,keys:decrypt +pay\* /m,
  );
  expect((await run(env, 'tokens', 'revoke', token.id)).stdout).toBe(`revoked ${token.id}\n`);
  const refused = await run(own, 'keys', 'list');
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/^stathera: access\/unauthenticated.*unknown, expired or revoked.*\n$/);
  expect(refused.stderr).toContain(out);
  expect((await run(env, 'tokens', 'list')).stdout).toMatch(/^checkout +revoked /m);
});

/** Guarantees that without a file the secret alone is on stdout, and that a file that is there is kept and no token made. */
test('where the secret goes', { timeout: 60_000 }, async () => {
  const piped = await run(env, 'tokens', 'create', 'piped', '-s', 'audit:read');
  expect([piped.code, piped.stderr]).toEqual([0, '']);
  expect(piped.stdout).toMatch(secretForm);
  const there = join(folder, 'there');
  writeFileSync(there, 'mine');
  const kept = await run(env, 'tokens', 'create', 'kept', '-s', 'audit:read', '--out', there);
  expect([kept.code, kept.stderr]).toEqual([
    1,
    expect.stringMatching(/^stathera: .*there.*already there.*\n$/),
  ]);
  expect(readFileSync(there, 'utf8')).toBe('mine');
  const wrong = await run(env, 'tokens', 'create', 'wrong', '-s', 'everything', '-o', join(folder, 'new'));
  expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringMatching(/request\/invalid[^]*\/scopes\/0/)]);
  expect(() => statSync(join(folder, 'new'))).toThrow('ENOENT');
  const names = (await run(env, '--json', 'tokens', 'list')).stdout;
  expect(names).toContain('"piped"');
  expect(names).not.toMatch(/"kept"|"wrong"/);
});

/** Guarantees what an expiry may be: days or hours from now, the end of a day, a moment; never one that is over. */
test('expiries', () => {
  const from = Date.now();
  expect(Date.parse(expiry('12h')) - from).toBeGreaterThanOrEqual(12 * 3_600_000);
  expect(Date.parse(expiry('12h')) - from).toBeLessThan(12 * 3_600_000 + 60_000);
  expect(expiry('2099-01-31')).toBe('2099-01-31T23:59:59.999Z');
  expect(expiry('2099-01-31T12:00:00+02:00')).toBe('2099-01-31T10:00:00.000Z');
  for (const wrong of [
    '',
    '0d',
    '90',
    '90 d',
    '-1d',
    'tomorrow',
    '2099-13-01',
    '2020-01-01',
    '2099-01-31T12',
  ])
    expect(() => expiry(wrong), wrong).toThrow(/must be like 90d|is over already/);
});

/** Guarantees that an expired token is told from no token, with what to do. */
test('an expired token', { timeout: 60_000 }, async () => {
  const soon = new Date(Date.now() + 1_500).toISOString();
  const out = join(folder, 'short.token');
  expect(
    (await run(env, 'tokens', 'create', 'short', '-s', 'keys:admin', '--expires', soon, '-o', out)).code,
  ).toBe(0);
  await expect
    .poll(() => run({ ...env, STATHERA_TOKEN_FILE: out }, 'keys', 'list'), { timeout: 30_000, interval: 500 })
    .toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/access\/unauthenticated.*short\.token is unknown, expired/),
    });
});

/** Guarantees that namespaces are made and listed, and that a token made for one sees nothing of another. */
test('namespaces', { timeout: 60_000 }, async () => {
  expect((await run(env, '--json', 'namespaces', 'create', 'shop')).json()).toMatchObject({ name: 'shop' });
  expect((await run(env, 'namespaces', 'list')).stdout).toMatch(/^shop +local +/m);
  const out = join(folder, 'shop.token');
  await run(env, 'tokens', 'create', 'admin', '--namespace', 'shop', '-s', 'keys:admin', '-o', out);
  const shop = { ...env, STATHERA_TOKEN_FILE: out };
  const key = await run(shop, 'keys', 'create', 'own', '--tag', 'a=b', '--tag', 'c=d=e', '--json');
  expect(key.json()).toMatchObject({ tags: { a: 'b', c: 'd=e' } });
  expect((await run(env, 'keys', 'show', 'own')).stderr).toMatch(/key\/not-found/);
  const twice = await run(env, 'namespaces', 'create', 'shop');
  expect([twice.code, twice.stderr]).toEqual([1, expect.stringMatching(/access\/namespace-exists/)]);
  const denied = await run(shop, 'namespaces', 'list');
  expect([denied.code, denied.stderr]).toEqual([1, expect.stringMatching(/access\/denied.*service:admin/)]);
});
