import { spawnSync } from 'node:child_process';
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { mountOf } from '../../../src/cli/doctor/mounts.ts';
import { directoryOfTest, emptyDirectoryOfTest, examine } from './support.ts';

/** Guarantees that a directory in memory, which ends with the machine, is refused, and little room told. */
test('finds a directory in memory', async ({ skip }) => {
  const mount = join(await emptyDirectoryOfTest(), 'in memory');
  spawnSync('mkdir', [mount]);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m,mode=700', 'tmpfs', mount]);
  skip(mounted.status !== 0, 'needs the right to mount a small file system');
  onTestFinished(() => void spawnSync('umount', ['-l', mount]));
  cpSync(await directoryOfTest(), mount, { recursive: true });
  const { code, states, text } = await examine(mount);
  expect([code, states['disk sync'], states['disk room']]).toEqual([1, 'failed', 'warning']);
  expect(text('disk sync')).toMatch(/\(tmpfs\): it is in memory/);
  expect(text('disk room')).toMatch(/^[78] MiB free/);
});

/** A library that stands in for a file system that lies, or one that is slow. */
async function compileSync(): Promise<string | undefined> {
  const library = join(await emptyDirectoryOfTest(), 'sync.so');
  const source = `
    #include <stdlib.h>
    #include <unistd.h>
    int fdatasync(int file) { (void)file; return getenv("SLOW") ? usleep(60000) : 0; }`;
  writeFileSync(`${library}.c`, source);
  const { status } = spawnSync('cc', ['-shared', '-fPIC', '-o', library, `${library}.c`]);
  return status === 0 ? library : undefined;
}

/** Guarantees that a disk which says that data are durable faster than any can make them so is not believed. */
test('does not believe a sync that costs nothing', async ({ skip }) => {
  const directory = await directoryOfTest();
  const library = await compileSync();
  skip(library === undefined || process.platform !== 'linux', 'needs a C compiler on Linux');
  skip(mountOf(directory)?.type === 'tmpfs', 'needs a disk');
  const env = { LD_PRELOAD: library ?? '' };
  const lying = await examine(directory, env);
  expect([lying.code, lying.states['disk sync']]).toEqual([0, 'warning']);
  expect(lying.text('disk sync')).toMatch(/faster than a disk can be → .*eatmydata/);
  const slow = await examine(directory, { ...env, SLOW: '1' });
  expect(slow.text('disk sync')).toMatch(/^6\d\.\d ms a sync .*every group of operations waits/);
});
