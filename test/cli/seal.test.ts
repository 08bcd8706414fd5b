import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { startTestService, type TestService } from '../support/service.ts';
import { type Env, pipe, run } from './support.ts';

let service: TestService;
let env: Env;
let folder: string;
let at: (name: string) => string;
beforeAll(async () => {
  service = await startTestService();
  env = { STATHERA_URL: service.url, STATHERA_TOKEN_FILE: join(service.dataDir, 'bootstrap-token') };
  for (const [name, algorithm] of [
    ['alice', 'x-wing'],
    ['archive', 'p256'],
    ['signed-only', 'p384'],
  ])
    await service.call('POST', '/v1/keys', { name, algorithm });
});
afterAll(() => service.dispose());
beforeEach(() => {
  const made = mkdtempSync(join(tmpdir(), 'stathera-seal-'));
  folder = made;
  at = (name) => join(made, name);
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
});

/** A sealing side knows no service: no URL, no token. */
const offline: Env = { STATHERA_URL: 'http://127.0.0.1:9', STATHERA_TOKEN_FILE: '/nowhere' };

async function publicKey(name: string): Promise<{ file: string; fingerprint: string }> {
  const shown = await run(env, 'keys', 'public-key', name);
  const file = at(`${name}.pub`);
  writeFileSync(file, shown.stdout);
  return { file, ...(shown.json() as { fingerprint: string }) };
}

/** Guarantees that a file sealed without a service to two keys opens with either, under the names a user expects. */
test('a file to two recipients', { timeout: 60_000 }, async () => {
  const bytes = randomBytes(200_000);
  const plain = at('report.pdf');
  writeFileSync(plain, bytes);
  const [alice, archive] = [await publicKey('alice'), await publicKey('archive')];
  const raw = JSON.parse(readFileSync(alice.file, 'utf8')) as { publicKey: string; algorithm: string };
  expect(raw.algorithm).toBe('x-wing');
  expect(createHash('sha256').update(Buffer.from(raw.publicKey, 'base64')).digest('hex')).toBe(
    alice.fingerprint,
  );
  const sealing = ['seal', '--to', alice.file, '-t', archive.file, plain, '--associated-data', 'ü'];
  const known = ['--fingerprint', archive.fingerprint, '--fingerprint', alice.fingerprint];
  expect(await run(offline, ...sealing, ...known)).toMatchObject({ code: 0, stdout: '', stderr: '' });
  rmSync(plain);
  const sealed = `${plain}.sealed`;
  for (const key of ['alice', 'archive']) {
    const opened = await run(env, '--json', 'unseal', sealed, '-k', key, '--associated-data', 'ü', '--force');
    expect(opened.json()).toMatchObject({
      ...{ operation: 'unseal', output: plain, bytesRead: statSync(sealed).size },
    });
    expect(readFileSync(plain).equals(bytes)).toBe(true);
    expect(statSync(plain).mode & 0o777).toBe(0o600);
  }
  const wrong = await run(env, 'unseal', sealed, '-o', at('wrong'));
  expect([wrong.code, wrong.stderr]).toEqual([
    1,
    expect.stringMatching(/^stathera: envelope\/decryption-failed/),
  ]);
  expect(readdirSync(folder).toSorted()).toEqual([
    'alice.pub',
    'archive.pub',
    'report.pdf',
    'report.pdf.sealed',
  ]);
});

/** Guarantees that pipes carry what files do, and that one cut off gives out nothing unless that was given up. */
test('pipes', { timeout: 60_000 }, async () => {
  const { file } = await publicKey('alice');
  const bytes = randomBytes(300_000);
  const sealed = await pipe(offline, bytes, 'seal', '-t', file);
  expect([sealed.code, sealed.stderr]).toEqual([0, '']);
  writeFileSync(at('sealed'), sealed.stdout);
  for (const args of [['-'], ['--unsafe-pipe'], [at('sealed'), '-o', '-']]) {
    const opened = await pipe(env, sealed.stdout, 'unseal', ...args);
    expect([args, opened.code, opened.stderr, opened.stdout.equals(bytes)]).toEqual([args, 0, '', true]);
  }
  const cut = sealed.stdout.subarray(0, 250_000);
  const safe = await pipe(env, cut, 'unseal');
  expect([safe.code, safe.stdout.length]).toEqual([1, 0]);
  const unsafe = await pipe(env, cut, 'unseal', '--unsafe-pipe');
  expect(unsafe.code).toBe(1);
  expect(unsafe.stdout.length).toBeGreaterThan(0);
});

/** Guarantees that an older version's public key can be had, and that what is sealed to it opens after a rotation. */
test('an older version', { timeout: 60_000 }, async () => {
  await service.call('POST', '/v1/keys', { name: 'turned', purpose: 'exchange' });
  const before = await publicKey('turned');
  await service.call('POST', '/v1/keys/turned/rotate', {});
  expect((await publicKey('turned')).fingerprint).not.toBe(before.fingerprint);
  const again = await run(env, 'keys', 'public-key', 'turned', '1');
  expect(again.json()).toMatchObject({ fingerprint: before.fingerprint, keyVersion: 1 });
  writeFileSync(at('old.pub'), again.stdout);
  const sealed = await pipe(offline, Buffer.from('to be kept'), 'seal', '-t', at('old.pub'));
  expect((await pipe(env, sealed.stdout, 'unseal')).stdout.toString()).toBe('to be kept');
});

/** Guarantees that each mistake is one line with the next step, and writes nothing. */
test('says what to do next', { timeout: 60_000 }, async () => {
  const [alice, p384] = [await publicKey('alice'), await publicKey('signed-only')];
  writeFileSync(at('plain'), 'x');
  writeFileSync(at('there'), 'mine');
  writeFileSync(at('long'), Buffer.alloc(20_000, ' '));
  const shown = JSON.parse(readFileSync(alice.file, 'utf8')) as object;
  writeFileSync(at('other.pub'), JSON.stringify({ ...shown, publicKey: 'AAAA' }));
  const seal = (...args: string[]) => ['seal', at('plain'), ...args];
  const cases: [string[], number, RegExp][] = [
    [seal(), 2, /required option '-t, --to <file>'/],
    [seal('-t', at('absent')), 1, /absent: there is no such file.*\(ENOENT\)/],
    [
      seal('-t', at('plain')),
      1,
      /plain holds no public key: `stathera keys public-key KEY > FILE` writes one/,
    ],
    [seal('-t', at('long')), 1, /long holds no public key/],
    [seal('-t', at('other.pub')), 1, /other\.pub: the public key is none of its algorithm/],
    [seal('-t', p384.file), 1, /signed-only\.pub: the key is of an algorithm/],
    [seal('-t', alice.file, '--fingerprint', '00'), 1, /alice\.pub: the public key has another fingerprint/],
    [seal('-t', alice.file, '-o', at('there')), 1, /there is already there: write over it with --force/],
    [
      seal(...Array.from({ length: 65 }, () => ['-t', alice.file]).flat()),
      2,
      /--to is for 64 public keys at most/,
    ],
    [['unseal', at('plain')], 2, /does not end with \.sealed: say with -o/],
    [['unseal', at('plain'), '-o', at('out')], 1, /envelope\/decryption-failed.*Is it whole/],
    [['unseal', at('plain'), '-o', at('out'), '--unsafe-pipe'], 2, /--unsafe-pipe is for output to stdout/],
    [['keys', 'public-key', 'absent'], 1, /key\/not-found/],
  ];
  for (const [args, expected, words] of cases) {
    const { code, stdout, stderr } = await run(env, ...args);
    expect([args, code, stdout]).toEqual([args, expected, '']);
    expect(stderr).toMatch(words);
  }
  expect(readdirSync(folder).toSorted()).toEqual(
    ['alice.pub', 'long', 'other.pub', 'plain', 'signed-only.pub', 'there'].toSorted(),
  );
});
