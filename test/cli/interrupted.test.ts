import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { makeKey } from '../access/support.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { type Env, pipe, run, shell, start } from './support.ts';

let service: TestService;
let env: Env;
beforeAll(async () => {
  service = await startTestService();
  env = { STATHERA_URL: service.url, STATHERA_TOKEN_FILE: join(service.dataDir, 'bootstrap-token') };
  await makeKey(service, 'files');
});
afterAll(() => service.dispose());

function emptyFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'stathera-cli-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function until(what: () => boolean): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!what()) {
    if (Date.now() > deadline) throw new Error('it did not come to that');
    await delay(10);
  }
}

/** Waits until some of the output is there: the service has been asked, and the input gives no more. */
function begun(folder: string): Promise<void> {
  return until(() =>
    readdirSync(folder).some((name) => name.endsWith('.partial') && sizeOf(join(folder, name)) > 0),
  );
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** Guarantees that Ctrl-C in the middle, also while the input gives nothing, leaves no file, and ends as shells expect. */
test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s while it encrypts', { timeout: 60_000 }, async (signal, code) => {
  const folder = emptyFolder();
  const child = start(env, 'encrypt', '-k', 'files', '-o', join(folder, 'sealed'));
  child.stdin.write(randomBytes(3_000_000));
  const closed = once(child, 'close');
  await begun(folder);
  child.kill(signal);
  expect([await closed, await text(child.stderr)]).toEqual([[code, null], '']);
  expect(readdirSync(folder)).toEqual([]);
});

/** Guarantees that Ctrl-C ends a decryption without a file, and a FIFO as the input whose writer waits. */
test('Ctrl-C while it decrypts', { timeout: 60_000 }, async () => {
  const folder = emptyFolder();
  const sealed = await pipe(env, randomBytes(5_000_000), 'encrypt', '-k', 'files');
  const child = start(env, 'decrypt', '-o', join(folder, 'opened'));
  child.stdin.write(sealed.stdout.subarray(0, 4_000_000));
  await begun(folder);
  child.kill('SIGINT');
  expect(await once(child, 'close')).toEqual([130, null]);
  expect(readdirSync(folder)).toEqual([]);
  expect((await shell(env, `mkfifo '${folder}/fifo'`)).code).toBe(0);
  const writer = spawn('sh', ['-c', `exec > '${folder}/fifo'; head -c 3000000 /dev/zero; exec sleep 60`]);
  onTestFinished(() => void writer.kill('SIGKILL'));
  const waiting = start(env, 'encrypt', '-k', 'files', join(folder, 'fifo'));
  await begun(folder);
  waiting.kill('SIGINT');
  expect(await once(waiting, 'close')).toEqual([130, null]);
  expect(readdirSync(folder)).toEqual(['fifo']);
});

/** Guarantees that a reader that goes ends the command quietly, whichever it is. */
test('a reader that goes', { timeout: 60_000 }, async () => {
  const folder = emptyFolder();
  const plain = join(folder, 'plain');
  writeFileSync(plain, randomBytes(3_000_000));
  for (const command of [`encrypt -k files '${plain}' -o -`, 'keys list', '--help']) {
    const ended = await shell(env, `stathera ${command} | true; exit "\${PIPESTATUS[0]}"`);
    expect([command, ended.stderr]).toEqual([command, '']);
    expect([0, 141]).toContain(ended.code);
  }
  const large = await shell(
    env,
    `stathera encrypt -k files '${plain}' -o - | head -c 1 > /dev/null; exit "\${PIPESTATUS[0]}"`,
  );
  expect([large.code, large.stderr]).toEqual([141, '']);
  const records = '(for i in 1 2 3; do sleep 1; stathera keys list; done) > /dev/null &';
  const tail = 'stathera audit tail --follow --interval 1 | head -n 1 > /dev/null';
  const followed = await shell(env, `${records} ${tail}; exit "\${PIPESTATUS[0]}"`);
  expect([followed.code, followed.stderr]).toEqual([141, '']);
});

/** Guarantees that a service that goes away in the middle costs a file that is under way nothing. */
test('the service goes away', { timeout: 60_000 }, async () => {
  const folder = emptyFolder();
  const own = await startTestService();
  onTestFinished(() => own.dispose());
  await makeKey(own, 'files');
  const there = { STATHERA_URL: own.url, STATHERA_TOKEN_FILE: join(own.dataDir, 'bootstrap-token') };
  const child = start(there, 'encrypt', '-k', 'files', '-o', join(folder, 'sealed'));
  child.stdin.write(randomBytes(3_000_000));
  await begun(folder);
  await own.kill();
  const closed = once(child, 'close');
  child.stdin.end(randomBytes(100_000));
  expect([await closed, readdirSync(folder)]).toEqual([[0, null], ['sealed']]);
  const list = await run(there, 'keys', 'list');
  expect([list.code, list.stdout]).toEqual([1, '']);
  expect(list.stderr).toMatch(/^stathera: no service answers at http:.*npm start.*\n$/);
});
