import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { makeKey } from '../access/support.ts';
import { childEnvironment, mainFile } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { type Env, pipe, run, shell } from './support.ts';

let service: TestService;
let env: Env;
let folder: string;
let at: (name: string) => string;
beforeAll(async () => {
  service = await startTestService();
  env = { STATHERA_URL: service.url, STATHERA_TOKEN_FILE: join(service.dataDir, 'bootstrap-token') };
  await makeKey(service, 'files');
});
afterAll(() => service.dispose());
beforeEach(() => {
  const made = mkdtempSync(join(tmpdir(), 'stathera-cli-'));
  folder = made;
  at = (name) => join(made, name);
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
});

function write(name: string, bytes: Uint8Array | string): string {
  writeFileSync(at(name), bytes);
  return at(name);
}

const encrypt = (...args: string[]) => run(env, 'encrypt', '--key', 'files', ...args);
const decrypt = (...args: string[]) => run(env, 'decrypt', ...args);

/** Guarantees that files come back the same under the names a user expects, and only with their context. */
test('a file there and back', { timeout: 60_000 }, async () => {
  const bytes = randomBytes(200_000);
  const plain = write('a name\nof two lines', bytes);
  const bound = ['--context', 'table=users', '-c', 'row=a=b', '--associated-data', 'place ü'];
  expect(await encrypt(plain, ...bound)).toMatchObject({ code: 0, stdout: '', stderr: '' });
  const sealed = `${plain}.stathera`;
  rmSync(plain);
  const wrong = await decrypt(sealed, '--context', 'table=users');
  expect([wrong.code, wrong.stdout, readdirSync(folder).length]).toEqual([1, '', 1]);
  expect(wrong.stderr).toMatch(
    /^stathera: envelope\/decryption-failed: .*--context and --associated-data.*\n$/,
  );
  const opened = await run(env, '--json', 'decrypt', sealed, ...bound);
  expect(opened.json()).toMatchObject({
    operation: 'decrypt',
    output: plain,
    bytesRead: statSync(sealed).size,
  });
  expect(readFileSync(plain).equals(bytes)).toBe(true);
  expect(statSync(plain).mode & 0o777).toBe(0o600);
});

/** Guarantees that pipes carry what files do, of any length, also where a reader is told only when all is verified. */
test.each([0, 5, 3_000_000])('a pipe of %i bytes', { timeout: 60_000 }, async (length) => {
  const bytes = randomBytes(length);
  const sealed = await pipe(env, bytes, 'encrypt', '-k', 'files');
  expect([sealed.code, sealed.stderr]).toEqual([0, '']);
  for (const args of [['-'], ['--unsafe-pipe'], [write('sealed', sealed.stdout), '-o', '-']]) {
    const opened = await pipe(env, sealed.stdout, 'decrypt', ...args);
    expect([args, opened.code, opened.stderr, opened.stdout.equals(bytes)]).toEqual([args, 0, '', true]);
  }
  const named = await pipe(env, sealed.stdout, '--json', 'decrypt', '-o', at('opened'));
  expect(JSON.parse(named.stdout.toString())).toMatchObject({ input: 'stdin', output: at('opened') });
  expect(readFileSync(at('opened')).equals(bytes)).toBe(true);
});

/** Guarantees that a pipe cut off gives out nothing, unless that was given up, and fails in both cases. */
test('a pipe cut off', { timeout: 60_000 }, async () => {
  const sealed = (await pipe(env, randomBytes(300_000), 'encrypt', '-k', 'files')).stdout.subarray(
    0,
    250_000,
  );
  const safe = await pipe(env, sealed, 'decrypt');
  expect([safe.code, safe.stdout.length]).toEqual([1, 0]);
  const unsafe = await pipe(env, sealed, 'decrypt', '--unsafe-pipe');
  expect(unsafe.code).toBe(1);
  expect(unsafe.stdout.length).toBeGreaterThan(0);
  expect(unsafe.stderr).toMatch(/^stathera: envelope\/decryption-failed/);
});

/** Guarantees that nothing is written over unasked, and that each mistake is one line with the next step. */
test('says what to do next', { timeout: 60_000 }, async () => {
  const plain = write('plain', 'x');
  const there = write('there', 'mine');
  mkdirSync(at('folder'));
  const cases: [string[], number, RegExp][] = [
    [['encrypt', '-k', 'files', plain, '-o', there], 1, /there is already there: write over it with --force/],
    [['encrypt', '-k', 'absent', plain], 1, /key\/not-found.*stathera keys list/],
    [['encrypt', '-k', 'files', at('absent')], 1, /absent: there is no such file.*\(ENOENT\)/],
    [['encrypt', '-k', 'files', plain, '-o', at('no/such/folder')], 1, /no\/such: there is no such file/],
    [['encrypt', '-k', 'files', at('folder')], 1, /folder is a directory: name a file/],
    [['decrypt', plain], 2, /does not end with \.stathera: say with -o/],
    [['decrypt', plain, '-o', at('out')], 1, /envelope\/decryption-failed.*Is it whole/],
    [['decrypt', plain, '-o', at('out'), '--unsafe-pipe'], 2, /--unsafe-pipe is for output to stdout/],
    [['encrypt', plain], 2, /required option '-k, --key <key>'/],
    [['encrypt', '-k', 'files', plain, '-c', 'x'], 2, /must be NAME=VALUE/],
    [['encrypt', '-k', 'files', plain, '-c', 'x=1', '-c', 'x=2'], 2, /gives x twice/],
    [['rewrap', plain, '--to-context', 'a=b', '--clear-context'], 2, /exclude each other/],
  ];
  for (const [args, expected, words] of cases) {
    const { code, stdout, stderr } = await run(env, ...args);
    expect([args, code, stdout]).toEqual([args, expected, '']);
    expect(stderr).toMatch(words);
    if (expected === 1) expect(stderr).toMatch(/^stathera: [^\n]*\n$/);
  }
  const asJson = await run(env, '--json', 'encrypt', '-k', 'absent', plain);
  expect([asJson.code, asJson.stdout]).toEqual([1, '']);
  expect(JSON.parse(asJson.stderr)).toMatchObject({ error: { code: 'key/not-found' } });
  expect(readFileSync(there, 'utf8')).toBe('mine');
  expect((await encrypt(plain, '-o', there, '--force')).code).toBe(0);
  expect(readdirSync(folder).toSorted()).toEqual(['folder', 'plain', 'there']);
});

/** Guarantees that a file this user may not read is said before a key is used for it, with what to look at. */
test('an unreadable file', { timeout: 60_000 }, async ({ skip }) => {
  // root may read every file
  const user = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
  const runs = spawnSync(process.execPath, [mainFile, '--version'], user).status === 0;
  skip(!runs, 'needs a directory in which another user may run the command');
  chmodSync(write('secret', 'x'), 0);
  chmodSync(folder, 0o755);
  chmodSync(write('token', service.token), 0o644);
  const child = spawn(process.execPath, [mainFile, 'encrypt', '-k', 'files', at('secret'), '-o', '-'], {
    env: childEnvironment({ ...env, STATHERA_TOKEN_FILE: at('token') }),
    ...user,
  });
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  expect(stdout).toBe('');
  expect(stderr).toMatch(/^stathera: .*secret: this user may not: look at its rights.*EACCES.*\n$/);
});

/** Guarantees that a full disk is said once, and that nothing is left of what did not fit. */
test('a full disk', { timeout: 60_000 }, async ({ skip }) => {
  const plain = write('plain', randomBytes(3_000_000));
  if (existsSync('/dev/full')) {
    const ended = await shell(env, `stathera encrypt -k files '${plain}' -o - > /dev/full`);
    expect([ended.code, ended.stderr]).toEqual([
      1,
      expect.stringMatching(/^stathera: the disk is full.*\n$/),
    ]);
  }
  mkdirSync(at('small'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', at('small')]);
  skip(mounted.status !== 0, 'needs the right to mount a small file system');
  onTestFinished(() => void spawnSync('umount', ['-l', at('small')]));
  const ended = await encrypt(plain, '-o', at('small/sealed'));
  expect([ended.code, ended.stderr]).toEqual([1, expect.stringMatching(/^stathera: the disk is full.*\n$/)]);
  expect(readdirSync(at('small'))).toEqual([]);
});

/** Guarantees that files are moved to a new version by their headers, that one failure does not stop the others, and is counted. */
test('rewraps several files', { timeout: 60_000 }, async () => {
  const bytes = randomBytes(100_000);
  for (const name of ['a', 'b']) expect((await encrypt(write(name, bytes), '-c', 'x=1')).code).toBe(0);
  const before = readFileSync(at('b.stathera'));
  write('foreign', 'nothing');
  expect((await run(env, 'keys', 'rotate', 'files')).code).toBe(0);
  const files = [at('a.stathera'), at('foreign'), at('absent'), at('b.stathera')];
  const ended = await run(env, 'rewrap', ...files, '-c', 'x=1', '--clear-context');
  expect([ended.code, ended.stdout]).toEqual([1, '2 rewrapped, 2 failed\n']);
  expect(ended.stderr).toMatch(
    /^stathera: .*foreign: envelope\/decryption-failed.*\nstathera: .*absent: .*ENOENT.*\n$/,
  );
  expect(readFileSync(at('b.stathera')).equals(before)).toBe(false);
  expect((await decrypt(at('b.stathera'), '-o', at('opened'))).code).toBe(0);
  expect(readFileSync(at('opened')).equals(bytes)).toBe(true);
  await makeKey(service, 'archive');
  const moved = await run(
    env,
    '--json',
    'rewrap',
    at('a.stathera'),
    '--to-key',
    'archive',
    '--to-context',
    'y=2',
  );
  expect([moved.code, moved.json()]).toEqual([
    0,
    { rewrapped: [at('a.stathera')], failed: [], notTried: [] },
  ]);
  expect((await decrypt(at('a.stathera'), '-o', at('again'), '-c', 'y=2')).code).toBe(0);
  const away = await run({ ...env, STATHERA_URL: 'http://127.0.0.1:1' }, 'rewrap', ...files);
  expect([away.code, away.stdout]).toEqual([1, '0 rewrapped, 1 failed, 3 not tried\n']);
});

/** Guarantees that a file cut off by a crash of its maker leaves nothing under the plaintext's name. */
test('a file cut off', { timeout: 60_000 }, async () => {
  expect((await encrypt(write('plain', randomBytes(300_000)))).code).toBe(0);
  rmSync(at('plain'));
  truncateSync(at('plain.stathera'), 200_000);
  const ended = await decrypt(at('plain.stathera'));
  expect([ended.code, readdirSync(folder)]).toEqual([1, ['plain.stathera']]);
});
