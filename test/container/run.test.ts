import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fencedBlocks, readDocument } from '../docs/markdown.ts';
import { commandsOfImage } from './dockerfile.ts';
import { imageUser, inRoot, makeDirectory, makeRoot, makeVolume, obstacle } from './root.ts';

const missing = obstacle();
if (missing !== undefined) process.stdout.write(`skipped: the image's files, run: ${missing}\n`);
const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';

const { entrypoint, command, health } = commandsOfImage();
let directory: string;
let root: string;
let port: number;

beforeAll(async () => {
  if (missing !== undefined) return;
  directory = makeDirectory();
  root = makeRoot(directory);
  port = await freePort();
}, 900_000);
afterAll(() => {
  if (directory) rmSync(directory, { recursive: true, force: true });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Starts a command of the image; as in a container it has only the variables that it is given. */
function start(volume: string, args: readonly string[]) {
  const [program, programArgs] = inRoot(root, volume, args);
  const child = spawn(program, programArgs, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      STATHERA_LISTEN: `0.0.0.0:${port}`,
      STATHERA_ALLOW_CLEARTEXT: '1',
    },
  });
  const output = { text: '' };
  child.stdout.on('data', (chunk: Buffer) => (output.text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output.text += chunk.toString()));
  const ended = once(child, 'close').then(([code]) => code as number | null);
  /** The process that is the first one inside. */
  const inner = () =>
    Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim().split(' ')[0]);
  return { output, ended, inner, kill: () => child.kill('SIGKILL') };
}

async function runOnce(volume: string, args: readonly string[]) {
  const { output, ended } = start(volume, args);
  return { code: await ended, text: output.text };
}

/** Every file of a directory with what tells that it was written. Links are not followed: some lead out of it. */
function stateOf(path: string): string[] {
  return readdirSync(path, { withFileTypes: true }).flatMap((entry) => {
    const file = join(path, entry.name);
    const { size, mtimeMs, ino } = lstatSync(file, { throwIfNoEntry: false }) ?? {};
    const state = `${file} ${size} ${mtimeMs} ${ino}`;
    return entry.isDirectory() ? [state, ...stateOf(file)] : [state];
  });
}

/** Runs the calls of the page as a reader pastes them. */
async function pasteCalls(volume: string): Promise<string> {
  const [functions] = fencedBlocks(readDocument('README.md')).filter(({ language }) => language === 'sh');
  const [calls] = fencedBlocks(readDocument('docs/container.md')).filter(({ language }) => language === 'sh');
  const script = `set -eu\n${functions?.code}\n${calls?.code}`;
  const shell = spawn('bash', ['-c', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      PATH: `${dirname(process.execPath)}:${process.env['PATH']}`,
      STATHERA_URL: `http://127.0.0.1:${port}`,
      STATHERA_TOKEN_FILE: join(volume, 'bootstrap-token'),
    },
  });
  let text = '';
  shell.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const [code] = (await once(shell, 'close')) as [number | null];
  expect([code, text]).toMatchObject([0, expect.anything()]);
  return text;
}

async function untilHealthy(volume: string, ended: Promise<unknown>): Promise<void> {
  let over = false;
  void ended.then(() => (over = true));
  for (let tries = 0; tries < 200 && !over; tries += 1) {
    if ((await runOnce(volume, health)).code === 0) return;
  }
  throw new Error('the image did not become healthy');
}

/**
 * Guarantees that the image's files work read-only, for a user without rights and without a shell: a first start, the
 * page's calls, the health check, an end in order; and that nothing is written but in the volume.
 */
test.skipIf(missing !== undefined)(
  'the image serves from read-only files',
  { timeout: 120_000 },
  async () => {
    const volume = makeVolume(directory);
    const before = stateOf(root);
    expect((await runOnce(volume, health)).code).toBe(1);
    expect(await runOnce(volume, [...entrypoint, ...command])).toMatchObject({
      code: 1,
      text: expect.stringContaining('run `stathera init`'),
    });
    expect(await runOnce(volume, [...entrypoint, 'init'])).toMatchObject({ code: 0 });
    expect(await runOnce(volume, [...entrypoint, 'init'])).toMatchObject({
      code: 0,
      text: expect.stringContaining('nothing to do'),
    });
    const service = start(volume, [...entrypoint, ...command]);
    try {
      await untilHealthy(volume, service.ended);
      expect(await pasteCalls(volume)).toContain('"plaintext":"aGVsbG8="');
      const pid = service.inner();
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      expect(status).toMatch(new RegExp(`^Uid:(\t${imageUser}){4}$`, 'm'));
      expect(status).toMatch(/^Groups:\s*$/m);
      expect(status).toMatch(/^CapPrm:\t0+$/m);
      expect(status).toMatch(/^NoNewPrivs:\t1$/m);
      expect(readdirSync(`/proc/${pid}/root/tmp`)).toEqual([]);
      process.kill(pid, 'SIGTERM');
      expect(await service.ended, service.output.text).toBe(0);
    } finally {
      service.kill();
    }
    expect(stateOf(root)).toEqual(before);
    expect((await runOnce(volume, [...entrypoint, 'audit', 'verify'])).text).toMatch(/^ok$/m);
  },
);

/** Guarantees that the files are really read-only there: otherwise the test above could not fail. */
test.skipIf(missing !== undefined)('the image cannot be written', async () => {
  const volume = makeVolume(directory);
  const attempt = (path: string) => ['node', '-e', `fs.writeFileSync('${path}', '')`];
  for (const path of ['/app/x', '/x', '/dev/x', '/usr/local/bin/node']) {
    const { code, text } = await runOnce(volume, attempt(path));
    expect([path, code, text]).toEqual([path, 1, expect.stringMatching(/EROFS|EACCES/)]);
  }
  expect(await runOnce(volume, attempt('/var/lib/stathera/x'))).toMatchObject({ code: 0 });
});

/** Guarantees that the image has no way to install npm packages. */
test.skipIf(missing !== undefined || !nightly)('the image has no npm', () => {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' });
  expect(names.filter((name) => /(?:^|\/)(?:npm|npx|yarn|corepack)$/.test(name))).toEqual([]);
});
