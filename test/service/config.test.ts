import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { ConfigError, readConfig } from '../../src/config.ts';
import { runMain } from '../support/data.ts';

const marker = 'value-of-theirs';
/** A module by name: the tests of settings need none that exists. */
const module = { STATHERA_PKCS11_MODULE: '/nowhere/module.so' };

function refusal(env: Readonly<Record<string, string>>): string {
  try {
    readConfig({ ...module, ...env });
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return String(error);
  }
  return 'taken';
}

/** Guarantees that a setting that cannot be used is named, and its value is not repeated. */
test.for([
  ['STATHERA_LISTEN', marker],
  ['STATHERA_LISTEN', `${marker}:65536`],
  ['STATHERA_LISTEN', `::1:${marker}`],
  ['STATHERA_LISTEN', `http://${marker}:80`],
  ['STATHERA_DATABASE_URL', marker],
  ['STATHERA_DATABASE_URL', `mysql://user:${marker}@host/db`],
  ['STATHERA_DATABASE_URL', `postgres://:${marker}@host/db`],
  ['STATHERA_DATABASE_URL', `postgres://user:${marker}@host/`],
  ['STATHERA_DATABASE_URL', `postgres://user:${marker}@host/db/more`],
  ['STATHERA_DATABASE_URL', `postgres://user:${marker}@host/db?sslmode=require`],
  ['STATHERA_DATABASE_URL', `postgres://user:${marker}@host/db?password=${marker}`],
  ['STATHERA_DATABASE_URL', `postgres://user:${marker}@host:port/db`],
  ['STATHERA_DATABASE_URL', `postgres://user:%zz${marker}@host/db`],
  ['STATHERA_DATABASE_URL', `postgres://user:${marker}@host/db?sslmode=disable`],
  ['STATHERA_DATABASE_URL', `postgres://user:${marker}@127.0.0.1.example/db?sslmode=disable`],
  ['STATHERA_DATABASE_CONNECTIONS', '1'],
  ['STATHERA_DATABASE_CONNECTIONS', '201'],
  ['STATHERA_DATABASE_ALLOW_CLEARTEXT', 'yes'],
  ['STATHERA_PKCS11_TOKEN_LABEL', marker.repeat(3)],
  ['STATHERA_PKCS11_WRAP_MECHANISM', marker],
  ['STATHERA_PKCS11_SECOND_TOKEN_LABEL', marker.repeat(3)],
  ['STATHERA_PKCS11_SECOND_TOKEN_LABEL', 'stathera'],
  ['STATHERA_PKCS11_SECOND_PIN_FILE', marker],
  ['STATHERA_PKCS11_SECOND_MODULE', marker],
  ['STATHERA_HSM_HANDLES', marker],
  ['STATHERA_HSM_HANDLES', '15'],
  ['STATHERA_HSM_HANDLES', '100001'],
  ['STATHERA_HSM_HANDLES', '1e3'],
  ['STATHERA_HSM_HANDLES', ' 100'],
  ['STATHERA_HSM_QUEUE', '63'],
  ['STATHERA_ALLOW_CLEARTEXT', 'yes'],
  ['STATHERA_LOG_LEVEL', marker],
  ['STATHERA_REGION', `EU ${marker}`],
  ['STATHERA_MAX_CONNECTIONS', '-1'],
  ['STATHERA_MAX_CONCURRENT', '0'],
  ['STATHERA_SHUTDOWN_SECONDS', '601'],
  ['STATHERA_TLS_CERT_FILE', marker],
  ['STATHERA_TLS_KEY_FILE', marker],
  ['STATHERA_UNKNOWN', marker],
  ['STATHERA_PIN', marker],
] as const)('%s=%s', ([name, value]) => {
  const words = refusal({ [name]: value });
  expect(words).toContain(name);
  if (value.length > 7) expect(words).not.toContain(marker);
});

/** Guarantees that all wrong settings are named at once, and that empty ones count as absent. */
test('names every wrong setting', () => {
  const words = refusal({
    STATHERA_LISTEN: 'x',
    STATHERA_REGION: 'X',
    STATHERA_NEW: '1',
    STATHERA_HSM_QUEUE: '0',
  });
  for (const name of ['STATHERA_LISTEN', 'STATHERA_REGION', 'STATHERA_NEW', 'STATHERA_HSM_QUEUE']) {
    expect(words).toContain(name);
  }
  expect(refusal({ STATHERA_LISTEN: '', STATHERA_REGION: '' })).toBe('taken');
  expect(refusal({ STATHERA_URL: 'x', STATHERA_TOKEN_FILE: 'x', STATHERA_TEST_SEED: 'x', OTHER: 'x' })).toBe(
    'taken',
  );
});

/** Guarantees that a second token has files of its own, and the module of the first unless another is set. */
test('a second token', () => {
  const second = { STATHERA_DATA_DIR: '/data', STATHERA_PKCS11_SECOND_TOKEN_LABEL: 'b' };
  expect(readConfig({ ...module }).secondHsm).toBe(undefined);
  expect(readConfig({ ...module, ...second }).secondHsm).toMatchObject({
    ...{ tokenLabel: 'b', module: '/nowhere/module.so', pinFile: '/data/hsm-second/pin' },
  });
  const own = { STATHERA_PKCS11_SECOND_MODULE: '/x/libsofthsm2.so', STATHERA_PKCS11_SECOND_PIN_FILE: '/pin' };
  expect(readConfig({ ...module, ...second, ...own })).toMatchObject({
    hsm: { module: '/nowhere/module.so', pinFile: '/data/hsm/pin' },
    secondHsm: {
      ...{ module: '/x/libsofthsm2.so', pinFile: '/pin', softhsmConf: '/data/hsm-second/softhsm2.conf' },
    },
  });
});

/** Guarantees the addresses a listener may have. */
test.for([
  ['127.0.0.1:0', { host: '127.0.0.1', port: 0 }],
  ['[::1]:8300', { host: '::1', port: 8300 }],
  ['localhost:65535', { host: 'localhost', port: 65_535 }],
] as const)('listens on %s', ([text, expected]) => {
  expect(readConfig({ ...module, STATHERA_LISTEN: text }).listen).toEqual(expected);
});

/** Guarantees what a database's URL means: TLS that checks the certificate for every host but this machine, and no password in what is printed. */
test.for([
  ['sqlite:/x/y.db', { kind: 'sqlite', file: '/x/y.db' }],
  [
    'postgres://u:p%40ss@db.example/d',
    { kind: 'postgres', host: 'db.example', port: 5432, user: 'u', database: 'd', tls: {} },
  ],
  ['postgresql://u@[2001:db8::1]:6000/d', { host: '2001:db8::1', port: 6000, tls: {} }],
  ['postgres://u@127.0.0.1/d', { host: '127.0.0.1', connections: 10 }],
  ['postgres://u@[::1]/d?sslmode=verify-full', { host: '::1', tls: {} }],
  ['postgres://u@%2Frun%2Fpostgresql/d', { host: '/run/postgresql' }],
] as const)('a database at %s', ([text, expected]) => {
  const { database } = readConfig({ ...module, STATHERA_DATABASE_URL: text });
  expect(database).toMatchObject(expected);
  expect('tls' in database).toBe('tls' in expected);
  expect(JSON.stringify(database)).not.toMatch(/p@ss|p%40ss/);
  if (text.includes('p%40ss')) expect(database).toHaveProperty('password', expect.any(Function));
});

/** Guarantees that a database is reached in clear over a network only where it is said that it may be. */
test('a database in clear', () => {
  const clear = { ...module, STATHERA_DATABASE_URL: 'postgres://u@10.0.0.1/d?sslmode=disable' };
  expect(refusal(clear)).toContain('STATHERA_DATABASE_ALLOW_CLEARTEXT=1');
  const { database } = readConfig({ ...clear, STATHERA_DATABASE_ALLOW_CLEARTEXT: '1' });
  expect(database).not.toHaveProperty('tls');
});

/** Guarantees that there is one password, from a file that is read when it is needed. */
test('a database’s password from a file', () => {
  const directory = mkdtempSync(join(tmpdir(), 'stathera-config-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const file = join(directory, 'password');
  const env = { ...module, STATHERA_DATABASE_PASSWORD_FILE: file };
  expect(refusal({ ...env, STATHERA_DATABASE_URL: 'postgres://u:p@localhost/d' })).toContain('one password');
  const { database } = readConfig({ ...env, STATHERA_DATABASE_URL: 'postgres://u@localhost/d' });
  const password = (database as { password?: () => string }).password;
  expect(password).toThrow('STATHERA_DATABASE_PASSWORD_FILE: the file cannot be read');
  writeFileSync(file, `${marker}\n`);
  expect(password?.()).toBe(marker);
});

/** Guarantees that unless it is set, several processes serve, as many as cores within bounds. */
test('how many processes serve', () => {
  const { processes } = readConfig(module);
  expect(processes).toBe(Math.min(16, Math.max(2, availableParallelism())));
  expect(readConfig({ ...module, STATHERA_PROCESSES: '1' }).processes).toBe(1);
  expect(readConfig({ ...module, STATHERA_PROCESSES: '5' }).processes).toBe(5);
});

/** Guarantees that every command stops at a wrong setting, before it does anything. */
test('commands stop at wrong settings', { timeout: 60_000 }, async () => {
  for (const args of [['serve'], ['init'], ['doctor'], ['audit', 'verify']]) {
    const env = { STATHERA_LOG_LEVEL: marker, STATHERA_DATA_DIR: '/nowhere/at/all' };
    const { code, stdout, stderr } = await runMain(args, env, { allowFailure: true });
    expect([args, code, stdout]).toEqual([args, 1, '']);
    expect(stderr).toMatch(/^stathera: STATHERA_LOG_LEVEL: /);
    expect(stderr).not.toContain(marker);
  }
});
