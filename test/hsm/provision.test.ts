import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openPkcs11Hsm } from '../../src/hsm/pkcs11/adapter.ts';
import type { Pkcs11Settings } from '../../src/hsm/pkcs11/settings.ts';
import { describeToken, provisionToken } from '../../src/hsm/pkcs11/token.ts';
import { makeKey, temporarySettings } from '../support/token.ts';

let settings: Pkcs11Settings;
let folder: string;
let remove: () => void;
beforeEach(() => {
  ({ settings, folder, remove } = temporarySettings());
});
afterEach(() => remove());

const hsmFolder = (): string => join(folder, 'hsm');
const tokenFolders = (): string[] => readdirSync(join(hsmFolder(), 'tokens'));

/** Opens the token, makes and uses a key, and closes. */
async function use(): Promise<string> {
  const hsm = await openPkcs11Hsm(settings);
  const key = await makeKey(hsm, 'aes-256');
  const message = { nonce: new Uint8Array(12), aad: new Uint8Array(0), data: new Uint8Array(3) };
  expect(await hsm.encrypt(key, message)).toHaveLength(19);
  await hsm.close();
  return hsm.rootId;
}

/** Guarantees that the set-up makes everything once, with safe modes and no SO PIN left, and works in this process. */
test('the set-up is idempotent', async () => {
  const first = await provisionToken(settings);
  expect(first.created).toBe(true);
  expect(await provisionToken(settings)).toEqual({ rootId: first.rootId, created: false });
  expect(await use()).toBe(first.rootId);
  expect(await provisionToken(settings)).toEqual({ rootId: first.rootId, created: false });
  expect(await use()).toBe(first.rootId);
  expect(readdirSync(hsmFolder()).toSorted()).toEqual(['pin', 'pin.lock', 'softhsm2.conf', 'tokens']);
  expect(tokenFolders()).toHaveLength(1);
  expect(statSync(settings.pinFile).mode & 0o777).toBe(0o600);
  expect(statSync(hsmFolder()).mode & 0o777).toBe(0o700);
  expect(readFileSync(settings.pinFile, 'utf8')).toMatch(/^[0-9a-f]{64}\n$/);
});

/** Guarantees that a moved data directory is found again: the configuration follows it. */
test('a moved data directory keeps its root', async () => {
  const { rootId } = await provisionToken(settings);
  const moved = join(folder, 'moved');
  renameSync(hsmFolder(), moved);
  settings = { ...settings, pinFile: join(moved, 'pin'), softhsmConf: join(moved, 'softhsm2.conf') };
  expect(await provisionToken(settings)).toEqual({ rootId, created: false });
  expect(await use()).toBe(rootId);
});

/** Guarantees that a token with a user PIN is never made anew when its PIN file is lost, nor a PIN invented for it. */
test('a lost PIN file is not papered over', async () => {
  const { rootId } = await provisionToken(settings);
  const pin = readFileSync(settings.pinFile);
  rmSync(settings.pinFile);
  await expect(provisionToken(settings)).rejects.toMatchObject({
    code: 'hsm/unavailable',
    detail: expect.stringContaining('PIN file') as string,
  });
  expect(existsSync(settings.pinFile)).toBe(false);
  writeFileSync(settings.pinFile, pin, { mode: 0o600 });
  expect(await provisionToken(settings)).toEqual({ rootId, created: false });
});

/** Guarantees that a token whose PIN is another one is left alone, with its root. */
test('another PIN leaves the token alone', async () => {
  const { rootId } = await provisionToken(settings);
  const pin = readFileSync(settings.pinFile);
  writeFileSync(settings.pinFile, 'another\n');
  await expect(provisionToken(settings)).rejects.toMatchObject({ code: 'hsm/unavailable' });
  expect(tokenFolders()).toHaveLength(1);
  writeFileSync(settings.pinFile, pin);
  expect(await provisionToken(settings)).toEqual({ rootId, created: false });
});

/** Guarantees that a token whose file a crash cut off at a login, or left as a hole, is whole again at the next one. */
test.each([0, 8, 200])('a token cut to %i bytes is put back', async (bytes) => {
  const { rootId } = await provisionToken(settings);
  const file = join(hsmFolder(), 'tokens', tokenFolders()[0] ?? '', 'token.object');
  const whole = readFileSync(file);
  writeFileSync(file, whole.subarray(0, bytes));
  expect(await use()).toBe(rootId);
  writeFileSync(file, Buffer.alloc(whole.length));
  expect(await provisionToken(settings)).toEqual({ rootId, created: false });
  writeFileSync(file, '');
  expect((await describeToken(settings)).root.id).toBe(rootId);
});

/** Guarantees that two tokens of one label are refused instead of one being picked. */
test('two tokens of one label are refused', async () => {
  await provisionToken(settings);
  const other = temporarySettings();
  await provisionToken(other.settings);
  for (const name of readdirSync(join(other.folder, 'hsm', 'tokens'))) {
    renameSync(join(other.folder, 'hsm', 'tokens', name), join(hsmFolder(), 'tokens', name));
  }
  other.remove();
  await expect(provisionToken(settings)).rejects.toMatchObject({
    detail: expect.stringContaining('Several') as string,
  });
  await expect(openPkcs11Hsm(settings)).rejects.toMatchObject({
    detail: expect.stringContaining('Several') as string,
  });
});

/** Guarantees that a token that is not ours to make is not made: no configuration of ours, or another module. */
test('a foreign token directory is not initialized', async () => {
  const { softhsmConf: _, ...foreign } = settings;
  const [tokens, configuration] = [join(folder, 'foreign-tokens'), join(folder, 'foreign.conf')];
  mkdirSync(tokens);
  writeFileSync(configuration, `directories.tokendir = ${tokens}\n`);
  vi.stubEnv('SOFTHSM2_CONF', configuration);
  await expect(provisionToken(foreign)).rejects.toMatchObject({
    detail: expect.stringContaining('not ours to initialize') as string,
  });
  vi.unstubAllEnvs();
  expect(readdirSync(tokens)).toEqual([]);
  expect(existsSync(settings.pinFile)).toBe(false);
  await expect(provisionToken({ ...settings, module: '/nowhere/libx.so' })).rejects.toMatchObject({
    detail: expect.stringContaining('could not be loaded') as string,
  });
});
