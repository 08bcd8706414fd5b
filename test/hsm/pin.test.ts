import {
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { openPkcs11Hsm } from '../../src/hsm/pkcs11/adapter.ts';
import { describeToken, provisionToken } from '../../src/hsm/pkcs11/token.ts';
import { temporarySettings } from '../support/token.ts';

const { folder, settings, remove } = temporarySettings();
const latch = `${settings.pinFile}.refused`;
let pin: string;
let logins = 0;
const log = (_: string, event: string): void => {
  if (event === 'hsm.login') logins += 1;
};
beforeAll(async () => {
  await provisionToken(settings);
  pin = readFileSync(settings.pinFile, 'utf8');
});
beforeEach(() => {
  writeFileSync(settings.pinFile, pin);
  rmSync(latch, { force: true });
  logins = 0;
});
afterAll(remove);

const open = () => openPkcs11Hsm(settings, { log });
const refused = {
  code: 'hsm/unavailable',
  detail: expect.stringContaining('will not be tried again') as string,
};

/** Guarantees that a wrong PIN is tried once, ever, however often the service starts, until its file changes. */
test('a refused PIN gets one try', async () => {
  writeFileSync(settings.pinFile, '1234\n');
  for (let start = 0; start < 4; start++) await expect(open()).rejects.toMatchObject(refused);
  expect(logins).toBe(1);
  await expect(describeToken(settings)).rejects.toMatchObject(refused);
  await expect(provisionToken(settings)).rejects.toMatchObject(refused);
  expect(existsSync(latch)).toBe(true);
  writeFileSync(settings.pinFile, '12345\n');
  await expect(open()).rejects.toMatchObject(refused);
  await expect(open()).rejects.toMatchObject(refused);
  expect(logins).toBe(2);
  writeFileSync(settings.pinFile, pin);
  const hsm = await open();
  expect(existsSync(latch)).toBe(false);
  await hsm.close();
  expect(logins).toBe(3);
});

/** Guarantees that a latched refusal asks nothing of the token: it is the same with no token and no module. */
test('a latched PIN does not touch the token', async () => {
  writeFileSync(settings.pinFile, '1234\n');
  await expect(open()).rejects.toMatchObject(refused);
  const gone = { ...settings, module: '/nowhere/libmissing.so', tokenLabel: 'none' };
  await expect(openPkcs11Hsm(gone, { log })).rejects.toMatchObject(refused);
  await expect(describeToken(gone)).rejects.toMatchObject(refused);
  expect(logins).toBe(1);
});

/** Guarantees that a rewritten file of the same length counts as changed: its modification time differs. */
test('touching the PIN file clears the latch', async () => {
  writeFileSync(settings.pinFile, '1234\n');
  await expect(open()).rejects.toMatchObject(refused);
  utimesSync(settings.pinFile, 1, 1);
  await expect(open()).rejects.toMatchObject(refused);
  expect(logins).toBe(2);
});

/** Guarantees that a latch that cannot be read refuses: rather no start than a spent try. */
test('an unreadable latch refuses', async () => {
  writeFileSync(latch, 'not json');
  await expect(open()).rejects.toMatchObject(refused);
  expect(logins).toBe(0);
});

/** Guarantees that no error or latch file repeats the PIN or the path of its file. */
test('the PIN is told to nobody', async () => {
  writeFileSync(settings.pinFile, 'this-is-the-wrong-pin\n');
  const error: unknown = await open().catch((reason: unknown) => reason);
  expect(JSON.stringify(error) + String(error)).not.toMatch(/this-is-the-wrong-pin|stathera-token-/);
  expect(readFileSync(latch, 'utf8')).not.toContain('this-is-the-wrong-pin');
});

/** Guarantees clear words, without paths, for each thing that can be missing. */
test.each([
  ['module', { module: '/nowhere/libmissing.so' }, 'STATHERA_PKCS11_MODULE'],
  ['label', { tokenLabel: 'another' }, 'STATHERA_PKCS11_TOKEN_LABEL'],
  ['PIN file', { pinFile: join(folder, 'no-pin') }, 'STATHERA_PKCS11_PIN_FILE'],
])('a missing %s is named', async (_, change, words) => {
  const error: unknown = await openPkcs11Hsm({ ...settings, ...change }, { log }).catch(
    (reason: unknown) => reason,
  );
  expect(error).toMatchObject({ code: 'hsm/unavailable', detail: expect.stringContaining(words) as string });
  expect(String(error)).not.toMatch(/nowhere|stathera-token-/);
});

/** Guarantees that a token without a root is refused, and by what to do about it. */
test('a missing root is named', async () => {
  const [tokenFolder] = readdirSync(join(folder, 'hsm', 'tokens'));
  if (tokenFolder === undefined) throw new Error('no token');
  const path = join(folder, 'hsm', 'tokens', tokenFolder);
  const objects = readdirSync(path).filter((name) => name.endsWith('.object') && name !== 'token.object');
  for (const name of objects) renameSync(join(path, name), join(folder, name));
  await expect(open()).rejects.toMatchObject({ detail: expect.stringContaining('no root key') as string });
  for (const name of objects) renameSync(join(folder, name), join(path, name));
  await (await open()).close();
});
