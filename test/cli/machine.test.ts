import { readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { makeKey, recordsOnDisk, seal } from '../access/support.ts';
import { emptyDirectory, freshDataDir, removeDirectory } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { type Run, run } from './support.ts';

const services: TestService[] = [];
const directories: string[] = [];
afterEach(async () => {
  await Promise.all(services.splice(0).map((service) => service.kill()));
  await Promise.all(directories.splice(0).map(removeDirectory));
});

async function dataDirectory(make = freshDataDir): Promise<string> {
  const directory = await make();
  directories.push(directory);
  return directory;
}

async function start(dataDir: string): Promise<TestService> {
  const service = await startTestService({ dataDir });
  services.push(service);
  return service;
}

/** Guarantees that a set-up is told, is private to its owner, and is not done twice. */
test('init makes everything once', { timeout: 60_000 }, async () => {
  const directory = join(await dataDirectory(emptyDirectory), 'data');
  const env = { STATHERA_DATA_DIR: directory };
  const first = (await run(env, '--json', 'init')).json() as {
    dataDir: string;
    done: string[];
    bootstrapTokenFile: string;
  };
  expect(first.dataDir).toBe(directory);
  expect(first.done).toHaveLength(4);
  const token = await readFile(first.bootstrapTokenFile, 'utf8');
  expect(token).toMatch(/^stk_[A-Za-z0-9_-]{64}\n$/);
  const again = await run(env, '--json', 'init');
  expect([again.code, again.json()]).toMatchObject([0, { done: [] }]);
  expect(await readFile(first.bootstrapTokenFile, 'utf8')).toBe(token);
  for (const path of ['', 'bootstrap-token', 'stathera.db', 'hsm', 'hsm/pin']) {
    expect([path, (await stat(join(directory, path))).mode & 0o077]).toEqual([path, 0]);
  }
});

interface Report {
  readonly ok: boolean;
  readonly records: number;
  readonly unchecked: readonly string[];
  readonly problems: readonly { readonly file: string; readonly line?: number; readonly what: string }[];
  readonly heads: readonly { readonly writer: string; readonly sequence: number; readonly head: string }[];
}

const verify = (directory: string, ...args: string[]) =>
  run({ STATHERA_DATA_DIR: directory }, '--json', 'audit', 'verify', ...args);
const reportOf = (ended: Run) => ended.json() as Report;

function headOf({ heads }: Report): string {
  return heads.map(({ writer, sequence, head }) => `${writer}:${sequence}:${head}`).join();
}

/** Guarantees that the log is verified beside the service, without its token or with it, and held against earlier heads. */
test('audit verify holds the log against heads', { timeout: 60_000 }, async () => {
  const directory = await dataDirectory();
  const service = await start(directory);
  await makeKey(service, 'audited');
  const early = reportOf(await verify(directory));
  expect(early).toMatchObject({ ok: true, problems: [] });
  expect(early.unchecked.join()).toMatch(/MACs, which need the token/);
  for (let each = 0; each < 20; each += 1) await seal(service, 'audited');
  const beside = await verify(directory, '--with-token', '--expect', headOf(early));
  expect(beside.code).toBe(0);
  expect(reportOf(beside).unchecked.join()).not.toMatch(/need the token/);
  expect(reportOf(beside).records).toBe(early.records + 20);
  expect(await service.stop()).toBe(0);
  const final = reportOf(
    await verify(directory, '--expect', headOf(early), '--expect', headOf(reportOf(beside))),
  );
  expect(final.ok).toBe(true);
  expect(final.records).toBe((await recordsOnDisk(directory)).length);
  const [head] = final.heads;
  const wrong = [
    `${head?.writer}:${head?.sequence}:${'0'.repeat(64)}`,
    `${head?.writer}:${(head?.sequence ?? 0) + 1}:${head?.head}`,
    `other:1:${head?.head}`,
  ];
  for (const expected of wrong) {
    const refused = await verify(directory, '--expect', expected);
    expect([expected, refused.code, reportOf(refused).ok]).toEqual([expected, 1, false]);
  }
  const people = await run({ STATHERA_DATA_DIR: directory }, 'audit', 'verify');
  expect(people.stdout).toMatch(/^head w1:\d+:[0-9a-f]{64}\nok$/m);
  for (const bad of ['x', 'w1:1', `w1:1:${'g'.repeat(64)}`, `w1:-1:${'0'.repeat(64)}`]) {
    const refused = await verify(directory, '--expect', bad);
    expect([refused.code, refused.stdout]).toEqual([2, '']);
    expect(refused.stderr).toContain('must be WRITER:SEQUENCE:HASH');
  }
});

/** Guarantees that one changed byte of the log is found, and its file and line named. */
test('audit verify names what was altered', { timeout: 60_000 }, async () => {
  const directory = await dataDirectory();
  const service = await start(directory);
  await makeKey(service, 'audited');
  for (let each = 0; each < 5; each += 1) await seal(service, 'audited');
  expect(await service.stop()).toBe(0);
  const [name] = (await readdir(join(directory, 'audit'))).filter((each) => each.endsWith('.ndjson'));
  const file = join(directory, 'audit', name ?? '');
  const whole = await readFile(file);
  const lines = whole.toString().split('\n');
  const records = lines.flatMap((line, index) => (line.includes('"envelope.encrypt"') ? [index] : []));
  expect(records.length).toBeGreaterThan(3);
  const at = records[2] ?? 0;
  const changed = lines.with(at, (lines[at] ?? '').replace('"outcome":"allowed"', '"outcome":"allowee"'));
  await writeFile(file, changed.join('\n'));
  const found = await verify(directory);
  expect([found.code, reportOf(found).ok]).toEqual([1, false]);
  expect(reportOf(found).problems).toMatchObject([{ file: name, line: at + 1 }]);
  const people = await run({ STATHERA_DATA_DIR: directory }, 'audit', 'verify');
  expect(people.stdout).toContain(`PROBLEM ${name} line ${at + 1}: `);
  expect(people.stdout).toMatch(/^NOT OK$/m);
  // A change that is still a record is found by the chain.
  const forged = lines.with(at, (lines[at] ?? '').replace('"source":"127.0.0.1"', '"source":"127.0.0.2"'));
  await writeFile(file, forged.join('\n'));
  expect(reportOf(await verify(directory)).problems).toMatchObject([{ file: name }]);
  await writeFile(file, whole);
  expect((await verify(directory, '--with-token')).code).toBe(0);
  await rename(file, `${file}.away`);
  const gone = await verify(directory);
  expect([gone.code, reportOf(gone).ok]).toEqual([1, false]);
});

/** Guarantees that verifying where there is nothing fails and says what to do, and makes nothing. */
test('audit verify needs a database', async () => {
  const empty = await dataDirectory(emptyDirectory);
  const { code, stdout, stderr } = await run({ STATHERA_DATA_DIR: empty }, 'audit', 'verify');
  expect([code, stdout]).toEqual([1, '']);
  expect(stderr).toMatch(/^stathera: .*STATHERA_DATA_DIR/);
  expect(await readdir(empty)).toEqual([]);
});
