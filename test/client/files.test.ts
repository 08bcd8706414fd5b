import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
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
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import {
  type Client,
  createClient,
  createLocalEncryption,
  decryptFile,
  decryptFileStream,
  encryptFile,
  FileExists,
  type LocalEncryption,
  rewrapFile,
} from '../../src/client/node/index.ts';
import { collect } from '../crypto/payload/support.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { failure } from './support.ts';

let service: TestService;
let client: Client;
let local: LocalEncryption;
let folder: string;
let at: (name: string) => string;
beforeAll(async () => {
  service = await startTestService();
  client = createClient({ url: service.url, credentials: service.token });
  await client.createKey({ name: 'files' });
  local = createLocalEncryption({ client, key: 'files' });
});
afterAll(() => service.dispose());
beforeEach(() => {
  const made = mkdtempSync(join(tmpdir(), 'stathera-files-'));
  folder = made;
  at = (name) => join(made, name);
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
});

const context = { report: '2026' };

function write(name: string, bytes: Uint8Array): string {
  writeFileSync(at(name), bytes);
  return at(name);
}

/** Guarantees that files of every length come back the same, by file and by pipe, with progress to the end. */
test.each([0, 1, 65_536, 65_537, 3_000_000])('a file of %i bytes', async (length) => {
  const plaintext = randomBytes(length);
  const from = write('plain', plaintext);
  const told: (number | undefined)[] = [];
  const onProgress = (done: number, total: number | undefined) => told.push(done, total);
  await encryptFile(local, { from, to: at('sealed'), context, onProgress });
  if (length > 0) expect(told.slice(-2)).toEqual([length, length]);
  await decryptFile(local, { from: at('sealed'), to: at('opened'), context });
  expect(readFileSync(at('opened')).equals(plaintext)).toBe(true);
  expect(statSync(at('opened')).mode & 0o777).toBe(0o600);
  const piped = await collect(decryptFileStream(local, { from: at('sealed'), context }));
  expect(piped.equals(plaintext)).toBe(true);
  expect(await failure(decryptFile(local, { from: at('sealed'), to: at('wrong') }))).toMatchObject({
    code: 'envelope/decryption-failed',
  });
  expect(readdirSync(folder).toSorted()).toEqual(['opened', 'plain', 'sealed']);
});

/** Guarantees that any name a file can have will do. */
test('names with spaces, newlines and more', async () => {
  for (const name of ['a b', 'line\nbreak', '-o', 'ünï', '$(x)', 'n'.repeat(255)]) {
    const from = write('plain', Buffer.from(name));
    await encryptFile(local, { from, to: at(name) });
    await decryptFile(local, { from: at(name), to: at('opened'), overwrite: true });
    expect(readFileSync(at('opened'), 'utf8')).toBe(name);
  }
});

/** Guarantees that no file is written over unless that was asked for, and nothing but a file in any case. */
test('a file that is there stays', async () => {
  const from = write('plain', randomBytes(10));
  write('there', Buffer.from('mine'));
  await expect(encryptFile(local, { from, to: at('there') })).rejects.toThrow(FileExists);
  await expect(decryptFile(local, { from, to: at('there') })).rejects.toThrow(FileExists);
  expect(readFileSync(at('there'), 'utf8')).toBe('mine');
  await encryptFile(local, { from, to: at('there'), overwrite: true });
  await encryptFile(local, { from: at('there'), to: at('there'), overwrite: true });
  expect(statSync(at('there')).size).toBeGreaterThan(400);
  mkdirSync(at('folder'));
  await expect(encryptFile(local, { from, to: at('folder'), overwrite: true })).rejects.toThrow(FileExists);
});

/** Guarantees that a missing, unreadable or foreign input is said, and leaves nothing behind. */
test('bad input', async () => {
  await expect(encryptFile(local, { from: at('absent'), to: at('out') })).rejects.toThrow(/ENOENT/);
  await expect(encryptFile(local, { from: folder, to: at('out') })).rejects.toThrow(/EISDIR/);
  await expect(encryptFile(local, { from: at('x'), to: at('no/such/folder') })).rejects.toThrow(/ENOENT/);
  for (const bytes of [new Uint8Array(), randomBytes(10), randomBytes(1_000_000)]) {
    const from = write('foreign', bytes);
    expect(await failure(decryptFile(local, { from, to: at('out') }))).toMatchObject({
      code: 'envelope/decryption-failed',
    });
    expect(await failure(rewrapFile(local, { path: from }))).toMatchObject({
      code: 'envelope/decryption-failed',
    });
  }
  expect(readdirSync(folder)).toEqual(['foreign']);
});

/** Guarantees that a FIFO can be read: it comes once, and its length is not known. */
test('a FIFO', async ({ skip }) => {
  skip(spawnSync('mkfifo', [at('fifo')]).status !== 0, 'needs mkfifo');
  const plaintext = randomBytes(200_000);
  write('plain', plaintext);
  const feed = (name: string) => spawn('sh', ['-c', 'cat "$0" > "$1"', at(name), at('fifo')]);
  feed('plain');
  await encryptFile(local, { from: at('fifo'), to: at('sealed') });
  feed('sealed');
  await decryptFile(local, { from: at('fifo'), to: at('opened') });
  expect(readFileSync(at('opened')).equals(plaintext)).toBe(true);
  feed('sealed');
  expect((await collect(decryptFileStream(local, { from: at('fifo') }))).equals(plaintext)).toBe(true);
});

/** Guarantees that a full disk is said, and that nothing is left of what did not fit. */
test('a full disk', async ({ skip }) => {
  mkdirSync(at('small'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', at('small')]);
  skip(mounted.status !== 0, 'needs the right to mount a small file system');
  onTestFinished(() => void spawnSync('umount', ['-l', at('small')]));
  const from = write('plain', randomBytes(3_000_000));
  await expect(encryptFile(local, { from, to: at('small/sealed') })).rejects.toThrow(/ENOSPC/);
  await encryptFile(local, { from, to: at('sealed') });
  await expect(decryptFile(local, { from: at('sealed'), to: at('small/opened') })).rejects.toThrow(/ENOSPC/);
  expect(readdirSync(at('small'))).toEqual([]);
});

/** Guarantees that a process killed meanwhile leaves no file under the final name that is not whole. */
test.each(['encrypt', 'decrypt'])('killed while it has to %s', async (operation) => {
  const from = write('plain', randomBytes(20_000_000));
  await encryptFile(local, { from, to: at('sealed') });
  const input = operation === 'encrypt' ? from : at('sealed');
  let whole = 0;
  for (let round = 0; round < 8; round += 1) {
    const out = at(`out-${round}`);
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, 'child.ts'), operation, service.url, input, out],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, TOKEN: service.token },
      },
    );
    const ended = once(child, 'close');
    let told = 0;
    child.stdout.on('data', () => {
      told += 1;
      if (told > round * 2) child.kill('SIGKILL');
    });
    await ended;
    if (!existsSync(out)) continue;
    whole += 1;
    if (operation === 'decrypt') expect(readFileSync(out).equals(readFileSync(from))).toBe(true);
    else
      expect((await collect(decryptFileStream(local, { from: out }))).equals(readFileSync(from))).toBe(true);
  }
  expect(whole).toBeLessThan(8);
});

/** Guarantees that a rewrap changes the wrapped data key alone, and leaves nothing beside the file. */
test('rewraps in place', async () => {
  const plaintext = randomBytes(1_000_000);
  await encryptFile(local, { from: write('plain', plaintext), to: at('sealed'), context });
  const before = readFileSync(at('sealed'));
  await client.rotateKey({ key: 'files' });
  await rewrapFile(local, { path: at('sealed'), context, toContext: {} });
  const after = readFileSync(at('sealed'));
  expect(after.subarray(0, 6).equals(before.subarray(0, 6))).toBe(true);
  expect(after.subarray(150).equals(before.subarray(150))).toBe(true);
  expect(after.equals(before)).toBe(false);
  await decryptFile(local, { from: at('sealed'), to: at('opened') });
  expect(readFileSync(at('opened')).equals(plaintext)).toBe(true);
  expect(readdirSync(folder).toSorted()).toEqual(['opened', 'plain', 'sealed']);
});

/** Guarantees that a file moves to a key whose wrapped data keys have another length, and back. */
test('rewraps to a key of another algorithm', async () => {
  await client.createKey({ name: 'longer', algorithm: 'xchacha20-poly1305' });
  const plaintext = randomBytes(200_000);
  await encryptFile(local, { from: write('plain', plaintext), to: at('sealed'), context });
  chmodSync(at('sealed'), 0o640);
  const before = statSync(at('sealed')).size;
  for (const [toKey, longer] of [
    ['longer', 12],
    ['files', 0],
  ] as const) {
    // As a rewrap leaves it that was killed.
    writeFileSync(at('sealed.stathera-header'), readFileSync(at('sealed')).subarray(0, 214 + 12 - longer));
    await rewrapFile(local, { path: at('sealed'), context, toKey });
    expect(statSync(at('sealed'))).toMatchObject({ size: before + longer, mode: 0o100640 });
    const opened = await collect(decryptFileStream(local, { from: at('sealed'), context }));
    expect(opened.equals(plaintext)).toBe(true);
    expect(readdirSync(folder).filter((name) => name !== 'plain' && name !== 'sealed')).toHaveLength(0);
  }
});

/** Guarantees that a rewrap cut off at any point costs nothing: the old header is beside the file until the new is safe. */
test.each(['old', 'torn', 'new'])('a rewrap cut off with the %s header in place', async (state) => {
  const plaintext = randomBytes(100_000);
  await encryptFile(local, { from: write('plain', plaintext), to: at('sealed') });
  const old = readFileSync(at('sealed'));
  await rewrapFile(local, { path: at('sealed') });
  const rewrapped = readFileSync(at('sealed'));
  const torn = Buffer.concat([rewrapped.subarray(0, 80), old.subarray(80)]);
  writeFileSync(at('sealed'), { old, torn, new: rewrapped }[state] ?? '');
  writeFileSync(at('sealed.stathera-header'), old.subarray(0, 214));
  const opened = async () => collect(decryptFileStream(local, { from: at('sealed') }));
  expect((await opened()).equals(plaintext)).toBe(true);
  await rewrapFile(local, { path: at('sealed') });
  expect(existsSync(at('sealed.stathera-header'))).toBe(false);
  expect((await opened()).equals(plaintext)).toBe(true);
});

/** Guarantees that the header left beside a file that is another one by now does that file no harm. */
test('a header of another file', async () => {
  await encryptFile(local, { from: write('plain', randomBytes(1_000)), to: at('sealed') });
  writeFileSync(at('sealed.stathera-header'), readFileSync(at('sealed')).subarray(0, 214));
  const plaintext = randomBytes(70_000);
  await encryptFile(local, { from: write('plain', plaintext), to: at('sealed'), overwrite: true });
  const opened = async () => collect(decryptFileStream(local, { from: at('sealed') }));
  expect((await opened()).equals(plaintext)).toBe(true);
  await rewrapFile(local, { path: at('sealed') });
  expect((await opened()).equals(plaintext)).toBe(true);
  writeFileSync(at('sealed.stathera-header'), 'nothing');
  expect((await opened()).equals(plaintext)).toBe(true);
});

/** Guarantees that a file cut off gives out nothing, and leaves no file. */
test('a file cut off', async () => {
  await encryptFile(local, { from: write('plain', randomBytes(300_000)), to: at('sealed') });
  truncateSync(at('sealed'), 214 + 2 * 65_552);
  let given = 0;
  const reading = (async () => {
    for await (const piece of decryptFileStream(local, { from: at('sealed') })) given += piece.length;
  })();
  expect(await failure(reading)).toMatchObject({ code: 'envelope/decryption-failed' });
  expect(given).toBe(0);
  expect(await failure(decryptFile(local, { from: at('sealed'), to: at('out') }))).toMatchObject({
    code: 'envelope/decryption-failed',
  });
  expect(readdirSync(folder).toSorted()).toEqual(['plain', 'sealed']);
});
