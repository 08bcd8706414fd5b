import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Copy, makeCopy } from './copy.ts';

// The installer and `stathera init` are stand-ins here, which say when they run, stop half-way or fail;
// fresh.test.ts has the real ones.
let copy: Copy;
beforeEach(() => {
  copy = makeCopy();
  copy.program('npm', `${start}${finish}`);
  copy.write('src/main.ts', initialize);
});
afterEach(() => copy.remove());

const start = `echo "start $$" >> runs
rm -rf node_modules
mkdir -p node_modules/half-way
`;
const finish = `mkdir -p node_modules/pkcs11js/build/Release
touch node_modules/pkcs11js/build/Release/pkcs11.node
echo "end $$" >> runs
`;
const initialize = `import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
mkdirSync('data', { recursive: true });
appendFileSync('runs', 'init\\n');
writeFileSync('data/initialized', '');
`;

/** What ran, in order, without the process ids. */
const runs = () => copy.read('runs').replaceAll(/ \d+/g, '').trim().split('\n');

/** Whether the lock, which may be read while it is written, names the installer beside the set-up. */
function namesInstaller(lock: string): boolean {
  try {
    return (JSON.parse(lock) as unknown[]).length === 2;
  } catch {
    return false;
  }
}

async function until(condition: () => boolean): Promise<void> {
  const since = performance.now();
  while (!condition()) {
    if (performance.now() - since > 10_000) throw new Error('what was waited for did not happen');
    await sleep(20);
  }
}

/** Guarantees that a second set-up finds everything, runs nothing and takes less than a second. */
test('does nothing when all is there', async () => {
  expect(await copy.start().result).toMatchObject({ code: 0 });
  const again = await copy.start().result;
  expect(again).toMatchObject({ code: 0, stderr: '' });
  expect(again.milliseconds).toBeLessThan(1_000);
  expect(runs()).toEqual(['start', 'end', 'init']);
  expect(copy.has('.setup.lock')).toBe(false);
});

/** Guarantees that packages are installed again when the lockfile changed or the native module is gone, only then. */
test('reinstalls only when the lockfile changed', async () => {
  await copy.start().result;
  copy.write(
    'package.json',
    copy.read('package.json').replace('"description"', '"homepage": "", "description"'),
  );
  await copy.start().result;
  expect(runs()).toEqual(['start', 'end', 'init']);
  copy.write('package-lock.json', `${copy.read('package-lock.json')}\n`);
  expect(await copy.start().result).toMatchObject({ code: 0 });
  expect(runs()).toEqual(['start', 'end', 'init', 'start', 'end']);
  rmSync(join(copy.path, 'node_modules/pkcs11js/build'), { recursive: true });
  expect(await copy.start().result).toMatchObject({ code: 0 });
  expect(runs()).toEqual(['start', 'end', 'init', 'start', 'end', 'start', 'end']);
});

/** Guarantees that what a developer's own `npm install` did is kept, unless a package of it is missing. */
test.each([
  ['whole', ['init']],
  ['lacking a package', ['start', 'end', 'init']],
])('an install by hand that is %s', async (state, expected) => {
  const { packages } = JSON.parse(copy.read('package-lock.json')) as { packages: Record<string, object> };
  const { '': _, ...installed } = packages;
  copy.write('node_modules/.package-lock.json', JSON.stringify({ packages: installed }));
  for (const path of Object.keys(installed)) copy.write(`${path}/package.json`, '{}');
  copy.write('node_modules/pkcs11js/build/Release/pkcs11.node', '');
  if (state !== 'whole') rmSync(join(copy.path, 'node_modules/zod'), { recursive: true });
  expect(await copy.start().result).toMatchObject({ code: 0 });
  expect(runs()).toEqual(expected);
});

/** Guarantees that the Node that was installed comes first in scripts although npm made no link to it. */
test('links Node where npm does not', async ({ skip }) => {
  const name = `node-${process.platform}-${process.arch}`;
  skip(!copy.read('package-lock.json').includes(`"node_modules/${name}"`), `there is no ${name}`);
  const program = `node_modules/${name}/bin/node`;
  copy.program(
    'npm',
    `${start}${finish}mkdir -p "$(dirname ${program})"\nln -s ${process.execPath} ${program}\n`,
  );
  copy.write('src/main.ts', `${initialize}writeFileSync('ran-by', process.argv0);`);
  expect(await copy.start().result).toMatchObject({ code: 0 });
  expect(copy.read('ran-by')).toBe(join(copy.path, 'node_modules/.bin/node'));
});

/** Guarantees that what a killed set-up left, its lock included, does not stop the next one from finishing. */
test('finishes a set-up killed half-way', async () => {
  copy.program('npm', `${start}sleep 60\n`);
  const killed = copy.start();
  await until(() => copy.has('node_modules/half-way'));
  process.kill(-killed.process.pid!, 'SIGKILL');
  await killed.result;
  expect(copy.has('.setup.lock')).toBe(true);

  copy.program('npm', `${start}${finish}`);
  const next = await copy.start().result;
  expect(next).toMatchObject({ code: 0 });
  expect(next.stderr).toContain('taking over');
  expect(runs()).toEqual(['start', 'start', 'end', 'init']);
  expect(copy.has('.setup.lock')).toBe(false);
  expect(await copy.start().result).toMatchObject({ code: 0, stderr: '' });
});

/** Guarantees that an installer outliving its killed set-up is waited for, not run into. */
test('waits for an orphaned installer', async () => {
  copy.program('npm', `trap '' PIPE\n${start}sleep 1\n${finish}`);
  const killed = copy.start();
  await until(() => copy.has('.setup.lock') && namesInstaller(copy.read('.setup.lock')));
  killed.process.kill('SIGKILL');
  const next = await copy.start().result;
  expect(next).toMatchObject({ code: 0 });
  expect(runs()).toEqual(['start', 'end', 'start', 'end', 'init']);
});

/** Guarantees that a set-up killed between its steps is finished without repeating what is done. */
test('finishes with the token when the packages are there', async () => {
  copy.write('src/main.ts', 'process.kill(process.ppid, "SIGKILL");');
  const killed = await copy.start().result;
  expect(killed.code).toBeNull();
  copy.write('src/main.ts', initialize);
  expect(await copy.start().result).toMatchObject({ code: 0 });
  expect(runs()).toEqual(['start', 'end', 'init']);
});

/** Guarantees that set-ups started together do the work once and all succeed. */
test('several at once do the work once', async () => {
  copy.program('npm', `${start}sleep 0.5\n${finish}`);
  const results = await Promise.all([copy.start().result, copy.start().result, copy.start().result]);
  expect(results.map(({ code }) => code)).toEqual([0, 0, 0]);
  expect(runs()).toEqual(['start', 'end', 'init']);
  expect(copy.has('.setup.lock')).toBe(false);
});

/** Guarantees that a lock whose writer was killed while writing it is taken over. */
test('takes over an empty lock', async () => {
  copy.write('.setup.lock', '');
  expect(await copy.start().result).toMatchObject({ code: 0 });
});

/** Guarantees that a lock naming a process id in use by another program now is taken over. */
test('takes over a lock with a reused process id', async () => {
  copy.write('.setup.lock', JSON.stringify([{ pid: process.pid, birth: '1' }]));
  expect(await copy.start().result).toMatchObject({ code: 0 });
});

/** Guarantees that a failing install shows npm's words and what to do, ends with 1, and is tried again. */
test('says what to do when npm fails', async () => {
  copy.program('npm', 'echo "npm error network unreachable" >&2\nexit 7\n');
  const failed = await copy.start().result;
  expect(failed.code).toBe(1);
  expect(failed.stderr).toContain('npm error network unreachable');
  expect(failed.stderr).toMatch(/failed with exit code 7/);
  expect(failed.stderr).toContain('what to do next:');
  expect(copy.has('.setup.lock')).toBe(false);
  copy.program('npm', `${start}${finish}`);
  expect(await copy.start().result).toMatchObject({ code: 0 });
});

/** Guarantees that an install whose scripts were skipped is not taken for a whole one. */
test('notices that pkcs11js was not built', async () => {
  copy.program('npm', start);
  const failed = await copy.start().result;
  expect(failed.code).toBe(1);
  expect(failed.stderr).toContain('did not build pkcs11js');
});

/** Guarantees that a PKCS#11 module that is not there is named, before anything is installed. */
test('names a missing module', async () => {
  const failed = await copy.start({ STATHERA_PKCS11_MODULE: join(copy.path, 'no-such-module.so') }).result;
  expect(failed.code).toBe(1);
  expect(failed.stderr).toContain('no-such-module.so');
  expect(failed.stderr).toContain('what to do next:');
  expect(copy.has('runs')).toBe(false);
});

/** Guarantees that an old Node, or a Node that npm cannot replace on this system, is told how to get Node 24. */
test.each([
  ['16.20.2', 'linux', 'install Node 24'],
  ['20.20.2', 'darwin', 'brew install node@24'],
  ['22.1.0', 'sunos', 'nodejs.org'],
])('Node %s on %s is told: %s', async (version, platform, advice) => {
  copy.write(
    'pretend.cjs',
    `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } });
     Object.defineProperty(process, 'platform', { value: '${platform}' });`,
  );
  const failed = await copy.start({}, ['--require', './pretend.cjs']).result;
  expect(failed.code).toBe(1);
  expect(failed.stderr).toContain(version);
  expect(failed.stderr).toContain(advice);
  expect(copy.has('runs')).toBe(false);
});

/** Guarantees that the data directory is the one that STATHERA_DATA_DIR names. */
test('looks for the token in the configured directory', async () => {
  await copy.start().result;
  const elsewhere = join(copy.path, 'elsewhere');
  await copy.start({ STATHERA_DATA_DIR: elsewhere }).result;
  expect(runs()).toEqual(['start', 'end', 'init', 'init']);
});
