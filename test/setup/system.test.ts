import type * as nodeFs from 'node:fs';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

// A machine without SoftHSM: its paths are hidden until the stand-in of apt-get has been there.
const machine = vi.hoisted(() => ({ installedMark: '' }));
vi.mock('node:fs', async (importOriginal) => {
  const fs = await importOriginal<typeof nodeFs>();
  const exists = (path: string) =>
    path.endsWith('libsofthsm2.so') ? fs.existsSync(machine.installedMark) : fs.existsSync(path);
  return { ...fs, existsSync: exists };
});

interface System {
  findModule(): string | undefined;
  ensureSystemPackages(options: { forBuilding: boolean }): Promise<void>;
}
const { findModule, ensureSystemPackages } = (await import(
  join(dirname(dirname(import.meta.dirname)), 'softhsm/system.js')
)) as System;

let programs: string;
beforeEach(() => {
  programs = mkdtempSync(join(tmpdir(), 'stathera-system-'));
  machine.installedMark = join(programs, 'installed');
  vi.stubEnv('STATHERA_PKCS11_MODULE', undefined);
  vi.stubEnv('PATH', programs);
  vi.spyOn(process, 'platform', 'get').mockReturnValue('linux');
  vi.spyOn(process.stderr, 'write').mockReturnValue(true);
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  rmSync(programs, { recursive: true, force: true });
});

function program(name: string, shellScript = ''): void {
  writeFileSync(join(programs, name), `#!/bin/sh\nPATH=/usr/bin:/bin\ncd ${programs}\n${shellScript}`);
  chmodSync(join(programs, name), 0o755);
}

/** Guarantees that a user who may not install packages is told the command to run, for all that is missing. */
test('without root it says what to run', async () => {
  program('apt-get');
  vi.spyOn(process, 'getuid').mockReturnValue(1_000);
  await expect(ensureSystemPackages({ forBuilding: true })).rejects.toMatchObject({
    message: 'g++, make, python3, softhsm2 is missing, and installing it needs root',
    whatNext: 'run: sudo apt-get update && sudo apt-get install -y g++ make python3 softhsm2',
  });
});

/** Guarantees that a system without a known package manager is told what to install. */
test('without apt-get it says what is needed', async () => {
  await expect(ensureSystemPackages({ forBuilding: false })).rejects.toMatchObject({
    message: 'softhsm2 is missing',
    whatNext: expect.stringContaining('STATHERA_PKCS11_MODULE'),
  });
});

/** Guarantees that macOS without Homebrew is told where to get it. */
test('without brew it says what to install', async () => {
  vi.spyOn(process, 'platform', 'get').mockReturnValue('darwin');
  await expect(ensureSystemPackages({ forBuilding: false })).rejects.toMatchObject({
    whatNext: expect.stringContaining('brew install softhsm'),
  });
});

/** Guarantees that root gets what is missing, no questions asked, and again with fresh lists when the old fail. */
test('as root it installs, twice if need be', async () => {
  program('g++');
  program('make');
  program('python3');
  program(
    'apt-get',
    `echo "$DEBIAN_FRONTEND $*" >> calls
     case "$*" in update) touch fresh ;; *) test -e fresh && touch installed ;; esac`,
  );
  vi.spyOn(process, 'getuid').mockReturnValue(0);
  await ensureSystemPackages({ forBuilding: true });
  expect(findModule()).toBe('/usr/lib/softhsm/libsofthsm2.so');
  const calls = readFileSync(join(programs, 'calls'), 'utf8').trim().split('\n');
  expect(calls.at(-2)).toBe('noninteractive update');
  expect(calls.at(-1)).toMatch(/^noninteractive install -y --no-install-recommends .* softhsm2$/);
});

/** Guarantees that a failing apt-get is reported with the command to run by hand. */
test('as root it reports a failing install', async () => {
  program('apt-get', 'exit 100\n');
  vi.spyOn(process, 'getuid').mockReturnValue(0);
  await expect(ensureSystemPackages({ forBuilding: false })).rejects.toMatchObject({
    whatNext: expect.stringContaining('apt-get install -y softhsm2'),
  });
});

/** Guarantees that a module named by the operator is used as it is, and nothing is installed for it. */
test('a named module needs no SoftHSM', async () => {
  const module = join(programs, 'vendor.so');
  writeFileSync(module, '');
  vi.stubEnv('STATHERA_PKCS11_MODULE', module);
  await ensureSystemPackages({ forBuilding: false });
  expect(findModule()).toBe(module);
});
