import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, onTestFinished, test, vi } from 'vitest';
import { checkDatabase } from '../../../src/cli/doctor/database.ts';
import { checkFiles } from '../../../src/cli/doctor/files.ts';
import { checkClock } from '../../../src/cli/doctor/machine.ts';
import { makeKey } from '../../access/support.ts';
import { startTestService } from '../../support/service.ts';
import {
  configOf,
  directoryOfTest,
  emptyDirectoryOfTest,
  examine,
  findingsOf,
  storeAdapters,
} from './support.ts';

const filesOf = (directory: string, env: Readonly<Record<string, string>> = {}) =>
  findingsOf(checkFiles(configOf(directory, env)));
const databaseOf = async (directory: string) =>
  findingsOf(await checkDatabase(configOf(directory), storeAdapters));

/** Guarantees that every file of the data directory is looked at: what others may read is named, with the command. */
test('finds files that others may read', async () => {
  const directory = await directoryOfTest();
  chmodSync(join(directory, 'hsm', 'pin'), 0o640);
  const one = filesOf(directory);
  expect(one.states['permissions']).toBe('warning');
  expect(one.text('permissions')).toContain(`chmod go= ${join(directory, 'hsm', 'pin')}`);
  const deep = join(directory, 'hsm', 'tokens', 'a', 'b');
  mkdirSync(deep, { recursive: true });
  for (const name of ['1', '2', '3', '4']) writeFileSync(join(deep, name), '', { mode: 0o604 });
  const many = filesOf(directory);
  expect(many.text('permissions')).toMatch(/ and \d+ more .*chmod -R go= /);
});

/** Guarantees that a directory others may enter, and a key of TLS that others may read, are found. */
test('finds what is open around the files', async () => {
  const directory = await directoryOfTest();
  chmodSync(directory, 0o711);
  expect(filesOf(directory).text('permissions')).toContain(`chmod go= ${directory}`);
  chmodSync(directory, 0o700);
  const key = join(await emptyDirectoryOfTest(), 'key.pem');
  writeFileSync(key, 'no key', { mode: 0o644 });
  chmodSync(key, 0o644);
  const { text } = filesOf(directory, { STATHERA_TLS_CERT_FILE: key, STATHERA_TLS_KEY_FILE: key });
  expect(text('permissions')).toContain(`chmod go= ${key}`);
});

/** Guarantees that files of another user, which the service could not write, are found before it fails on them. */
test('finds files of another user', async ({ skip }) => {
  skip(process.getuid?.() !== 0, 'needs root to give files away');
  const directory = await directoryOfTest();
  chownSync(join(directory, 'stathera.db'), 10_001, 10_001);
  const { states, text } = filesOf(directory);
  expect(states['permissions']).toBe('warning');
  expect(text('permissions')).toMatch(/stathera\.db → chown -R 0 /);
});

/** Guarantees that SoftHSM is not opened as another user than its own: its files would become that user's. */
test('does not log in as another user', async ({ skip }) => {
  skip(process.getuid?.() !== 0, 'needs root to give files away');
  const directory = await directoryOfTest();
  expect(spawnSync('chown', ['-R', '10001:10001', directory]).status).toBe(0);
  const { states, text } = await examine(directory);
  expect(states).toMatchObject({ permissions: 'ok', token: 'unchecked' });
  expect(states).not.toHaveProperty('mechanisms');
  expect(text('token')).toContain('10001');
});

/** Guarantees that the first token is told of until it is revoked and its file gone. */
test('remembers the bootstrap token', async () => {
  const service = await startTestService({ dataDir: await directoryOfTest() });
  const file = join(service.dataDir, 'bootstrap-token');
  try {
    expect((await databaseOf(service.dataDir)).text('bootstrap token')).toContain(
      `${file} holds every right`,
    );
    const { body } = await service.call('GET', '/v1/access/tokens');
    const [{ id } = { id: '' }] = body['items'] as { id: string }[];
    rmSync(file);
    expect((await databaseOf(service.dataDir)).text('bootstrap token')).toContain(`revoke ${id}`);
    writeFileSync(file, '', { mode: 0o600 });
    expect((await service.call('DELETE', `/v1/access/tokens/${id}`)).status).toBeLessThan(300);
    expect((await databaseOf(service.dataDir)).text('bootstrap token')).toContain('delete the file');
    rmSync(file);
    expect((await databaseOf(service.dataDir)).states['bootstrap token']).toBe('ok');
  } finally {
    await service.kill();
  }
});

/** Guarantees that keys made since the noted backup are counted, and that a noted one counts only from its beginning. */
test('counts keys that no backup has', async () => {
  const service = await startTestService({ dataDir: await directoryOfTest() });
  const marker = join(service.dataDir, 'last-backup');
  try {
    expect((await databaseOf(service.dataDir)).text('backups')).toContain('none is noted');
    await makeKey(service, 'early');
    writeFileSync(marker, '', { mode: 0o600 });
    expect((await databaseOf(service.dataDir)).states['backups']).toBe('ok');
    await makeKey(service, 'late');
    expect((await databaseOf(service.dataDir)).text('backups')).toMatch(/^1 versions of keys/);
    utimesSync(marker, 0, 0);
    expect((await databaseOf(service.dataDir)).text('backups')).toMatch(/^2 versions of keys/);
  } finally {
    await service.kill();
  }
});

/** Guarantees that a clock that was set back is found by what was written before, and one that nobody sets is told. */
test('holds the clock against what was written', async () => {
  const directory = await directoryOfTest();
  const programs = await emptyDirectoryOfTest();
  vi.stubEnv('PATH', `${programs}${delimiter}${process.env['PATH']}`);
  onTestFinished(() => void vi.unstubAllEnvs());
  const clockWith = async (answer: string) => {
    writeFileSync(join(programs, 'timedatectl'), `#!/bin/sh\necho ${answer}\n`, { mode: 0o755 });
    return findingsOf([await checkClock(configOf(directory), storeAdapters)]);
  };
  expect((await clockWith('yes')).text('clock')).toMatch(/; synchronized$/);
  expect((await clockWith('nothing known')).text('clock')).toContain('is not known here');
  const alone = await clockWith('no');
  expect(alone.states['clock']).toBe('warning');
  expect(alone.text('clock')).toContain('set-ntp');
  mkdirSync(join(directory, 'audit'), { recursive: true, mode: 0o700 });
  const segment = join(directory, 'audit', 'w1-of-tomorrow.ndjson');
  writeFileSync(segment, '', { mode: 0o600 });
  const tomorrow = Date.now() / 1000 + 24 * 60 * 60;
  utimesSync(segment, tomorrow, tomorrow);
  const back = await clockWith('yes');
  expect(back.states['clock']).toBe('failed');
  expect(back.text('clock')).toMatch(/2[34] hours later/);
  rmSync(segment);
  const database = new Database(join(directory, 'stathera.db'));
  database.prepare('update tokens set created_at = ?').run(tomorrow * 1000);
  database.close();
  expect((await clockWith('yes')).states['clock']).toBe('failed');
});
