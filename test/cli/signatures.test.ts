import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestService, type TestService } from '../support/service.ts';
import { pipe, run } from './support.ts';

let service: TestService;
let env: Readonly<Record<string, string>>;
const place = (name: string) => join(service.dataDir, name);
const largeBytes = 2 * 1024 * 1024;

beforeAll(async () => {
  service = await startTestService();
  env = { STATHERA_URL: service.url, STATHERA_TOKEN_FILE: place('bootstrap-token') };
  for (const algorithm of ['ml-dsa-65', 'ecdsa-p384', 'ed25519', 'ml-dsa-65-ed25519'])
    await service.call('POST', '/v1/keys', { name: algorithm, algorithm });
  writeFileSync(place('small'), 'a small file');
  writeFileSync(place('large'), randomBytes(largeBytes));
});
afterAll(() => service.dispose());

/** Guarantees that what is signed verifies, small as a message and large by its hash, and a changed file does not. */
test.each(['ml-dsa-65', 'ecdsa-p384', 'ml-dsa-65-ed25519'])('%s', { timeout: 120_000 }, async (key) => {
  const inContext = key.startsWith('ml-dsa') ? ['--context', 'a release'] : [];
  for (const name of ['small', 'large']) {
    const output = place(`${name}-${key}.sig`);
    const made = await run(env, 'sign', '--key', key, place(name), '-o', output, ...inContext);
    expect([made.code, made.stderr]).toEqual([0, '']);
    const verifying = ['verify', '--key', key, '--signature', output, ...inContext];
    const held = await run(env, '--json', ...verifying, place(name));
    expect(held.json()).toMatchObject({ valid: true, keyVersion: 1 });
    const content = readFileSync(place(name));
    content[0] = (content[0] ?? 0) ^ 1;
    writeFileSync(place('changed'), content);
    const refused = await run(env, ...verifying, place('changed'));
    expect([refused.code, refused.stdout]).toEqual([1, '']);
    expect(refused.stderr).toContain('signature/invalid');
  }
});

/** Guarantees that Debian's openssl verifies a large file that was signed by its hash, with the key as PEM. */
test('openssl verifies', { timeout: 60_000 }, async () => {
  const output = place('openssl.sig');
  await run(env, 'sign', '--key', 'ecdsa-p384', place('large'), '-o', output);
  const shown = await run(env, 'keys', 'public-key', 'ecdsa-p384', '--pem');
  const { body } = await service.call('GET', '/v1/keys/ecdsa-p384/public-key');
  expect([shown.code, shown.stdout]).toEqual([0, body['pem']]);
  writeFileSync(place('key.pem'), shown.stdout);
  const options = ['dgst', '-sha384', '-verify', place('key.pem'), '-signature', output, place('large')];
  expect(execFileSync('openssl', options, { encoding: 'utf8' })).toContain('Verified OK');
});

/** Guarantees pipes, the default name, an older version, and that nothing is written over without being told. */
test('pipes, names and versions', { timeout: 120_000 }, async () => {
  const content = readFileSync(place('small'));
  const piped = await pipe(env, content, 'sign', '--key', 'ed25519');
  expect([piped.code, piped.stdout.length]).toEqual([0, 64]);
  writeFileSync(place('small.sig'), piped.stdout);
  expect((await run(env, 'verify', '--key', 'ed25519', place('small'))).code).toBe(0);
  const again = await run(env, 'sign', '--key', 'ed25519', place('small'));
  expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('--force')]);
  expect((await run(env, 'sign', '--force', '--key', 'ed25519', place('small'))).code).toBe(0);
  await service.call('POST', '/v1/keys/ed25519/rotate', {});
  expect((await run(env, 'verify', '--key', 'ed25519', place('small'))).code).toBe(1);
  const older = ['verify', '--key', 'ed25519', '--key-version', '1', '-s', place('small.sig')];
  expect((await pipe(env, content, ...older)).code).toBe(0);
  const unnamed = await pipe(env, content, 'verify', '--key', 'ed25519');
  expect([unnamed.code, unnamed.stderr]).toEqual([2, expect.stringContaining('--signature')]);
});

/** Guarantees that a file that the algorithm cannot hash elsewhere is refused, and a key that does not sign. */
test('what cannot be signed', { timeout: 60_000 }, async () => {
  const large = await run(env, 'sign', '--key', 'ed25519', place('large'), '-o', place('never'));
  expect([large.code, large.stderr]).toEqual([1, expect.stringContaining('720 KiB')]);
  await service.call('POST', '/v1/keys', { name: 'agreeing', algorithm: 'x25519' });
  const agreeing = await run(env, 'sign', '--key', 'agreeing', place('small'), '-o', place('never'));
  expect([agreeing.code, agreeing.stderr]).toEqual([1, expect.stringContaining('not for signatures')]);
});
