import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeKey } from '../access/support.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { type Env, run, shell } from './support.ts';

// script(1) gives a command a terminal; without -e it would not tell how it ended.
const canHaveTerminal = spawnSync('script', ['-qec', 'true', '/dev/null']).status === 0;

let service: TestService;
let env: Env;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'stathera-terminal-'));
  service = await startTestService();
  env = { STATHERA_URL: service.url, STATHERA_TOKEN_FILE: join(service.dataDir, 'bootstrap-token') };
  await makeKey(service, 'files');
});
afterAll(async () => {
  await service.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const onTerminal = (line: string) =>
  shell(
    env,
    `export -f stathera; cd '${folder}'; SHELL=/bin/bash script -qec '${line}' /dev/null < /dev/null`,
  );

/** Guarantees that a terminal gets no ciphertext and nothing else that is no text, but text as it is. */
test.runIf(canHaveTerminal)('what a terminal is shown', { timeout: 60_000 }, async () => {
  writeFileSync(join(folder, 'text'), 'grüße\n\tyours\n');
  writeFileSync(join(folder, 'binary'), randomBytes(1000));
  const refused = await onTerminal('stathera encrypt -k files text -o -');
  expect([refused.code, refused.stdout]).toEqual([
    2,
    expect.stringMatching(/^error: a terminal cannot show a ciphertext/),
  ]);
  for (const name of ['text', 'binary'])
    expect((await run(env, 'encrypt', '-k', 'files', join(folder, name))).code).toBe(0);
  const text = await onTerminal('stathera decrypt --quiet text.stathera -o -');
  expect([text.code, text.stdout]).toEqual([0, 'grüße\r\n\tyours\r\n']);
  const binary = await onTerminal('stathera decrypt --quiet binary.stathera -o -');
  expect([binary.code, binary.stdout]).toEqual([
    1,
    expect.stringMatching(/^stathera: what was decrypted is no text/),
  ]);
});

/** Guarantees that a terminal sees how far it is and what was done, unless quiet is wanted. */
test.runIf(canHaveTerminal)('progress', { timeout: 60_000 }, async () => {
  writeFileSync(join(folder, 'large'), randomBytes(5_000_000));
  const shown = await onTerminal('stathera encrypt -k files large');
  expect(shown.code).toBe(0);
  expect(shown.stdout).toContain('\r\u{1b}[Klarge  [');
  expect(shown.stdout).toMatch(/large {2}\[[#.]{20}\] \d+ % /);
  expect(shown.stdout).toMatch(
    /encrypted large to large\.stathera: 4\.8 MiB in \d+:\d\d, [\d.]+ .iB\/s\r\n$/,
  );
  const quiet = await onTerminal('stathera encrypt -k files -q --force large');
  expect([quiet.code, quiet.stdout]).toEqual([0, '']);
});
