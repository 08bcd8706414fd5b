import { execFile, spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const run = promisify(execFile);
const root = dirname(import.meta.dirname);
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };

let project: string;
let env: NodeJS.ProcessEnv;

// An empty project that installs what `npm pack` gives. Only the build of pkcs11js is copied, not repeated.
beforeAll(async () => {
  project = mkdtempSync(join(tmpdir(), 'stathera-package-'));
  env = {
    // What npm needs to reach its registry here (certificates, proxies, configuration) is not known to a test.
    ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('STATHERA_'))),
    PATH: `${dirname(process.execPath)}:${process.env['PATH']}`,
    STATHERA_DATA_DIR: join(project, 'data'),
    STATHERA_LISTEN: '127.0.0.1:0',
  };
  await run('npm', ['pack', '--silent', '--pack-destination', project], { cwd: root, env });
  writeFileSync(join(project, 'package.json'), '{ "private": true }\n');
  const tarball = `./stathera-kms-${version}.tgz`;
  const options = ['--ignore-scripts', '--omit=optional', '--prefer-offline', '--no-audit', '--no-fund'];
  await run('npm', ['install', ...options, tarball], { cwd: project, env });
  const built = 'node_modules/pkcs11js/build';
  cpSync(join(root, built), join(project, built), { recursive: true });
}, 300_000);
afterAll(() => rmSync(project, { recursive: true, force: true }));

const stathera = () => join(project, 'node_modules/.bin/stathera');

/** Guarantees that the package holds what runs and its papers, not sources, tests or tools. */
test('holds only what is needed', () => {
  const packed = readdirSync(join(project, 'node_modules/stathera-kms')).toSorted();
  expect(packed.filter((name) => name !== 'README.md')).toEqual([
    'CHANGELOG.md',
    'LICENSE',
    'dist',
    'package.json',
  ]);
});

/** Guarantees that the installed command runs, with the version of the package. */
test('the command tells its version', async () => {
  const { stdout } = await run(stathera(), ['--version'], { cwd: project, env });
  expect(stdout.trim()).toBe(version);
});

/** Guarantees that the package works without the sources: it makes a token, serves on it and ends when told. */
test('the command initializes and serves', { timeout: 60_000 }, async () => {
  await run(stathera(), ['init'], { cwd: project, env });
  const service = spawn(stathera(), ['serve'], { cwd: project, env, stdio: ['ignore', 'pipe', 'ignore'] });
  try {
    let output = '';
    const url = await new Promise<string>((resolve, reject) => {
      service.once('close', () => reject(new Error(`ended before it listened: ${output}`)));
      service.stdout.on('data', (chunk: Buffer) => {
        output += chunk.toString();
        const match = /listening on (http:\S+)/.exec(output);
        if (match?.[1]) resolve(match[1]);
      });
    });
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    const ended = new Promise((resolve) => service.once('close', resolve));
    service.kill('SIGTERM');
    expect(await ended).toBe(0);
  } finally {
    service.kill('SIGKILL');
  }
});
