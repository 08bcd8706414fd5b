import { readdirSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { HsmStatus } from '../../../src/hsm/hsm.ts';
import { CKR } from '../../../src/hsm/pkcs11/cryptoki.ts';
import { tokensFolder } from '../../../src/hsm/pkcs11/softhsm.ts';
import { type FaultyToken, openFaultyToken } from './faulty-token.ts';
import { type Load, startLoad, until } from './load.ts';

let opened: FaultyToken | undefined;
let token: FaultyToken;
let load: Load;
beforeAll(async () => {
  // Each fault here is the first of a steady device.
  opened = await openFaultyToken({ steadyAfterMs: 0 }, { handleLimit: 40 });
});
afterAll(() => opened?.close());

beforeEach(async ({ skip }) => {
  if (opened === undefined) return skip('needs a C compiler');
  token = opened;
  token.events.length = 0;
  load = await startLoad(token);
});

afterEach(async () => {
  opened?.faults.clear();
  await load?.stop();
});

/** What holds after every fault: the device heals in process, and all that was asked is answered. */
async function healed(): Promise<HsmStatus> {
  token.faults.clear();
  await until(() => token.hsm.status().state === 'ready', 'healing');
  await load.serves(500);
  await load.stop();
  await token.hsm.probe();
  return token.hsm.status();
}
const whole = { state: 'ready', queued: 0 };

const generation = (): number => token.hsm.status().generation;

/** Waits until the device was lost. */
async function noticed(): Promise<void> {
  await until(() => token.events.includes('hsm.unavailable'), 'a lost device');
}

/** Guarantees that sessions closed under both lanes cost answers, never their rightness, and are made anew. */
test('sessions lost', async () => {
  const before = generation();
  for (const name of ['C_DecryptInit', 'C_UnwrapKey', 'C_Sign', 'C_Encrypt', 'C_WrapKey']) {
    token.events.length = 0;
    token.faults.set(name, { kind: 'loseSessions', times: 1 });
    await noticed();
    await load.serves(200);
  }
  expect(generation()).toBeGreaterThanOrEqual(before + 5);
  expect(load.unavailable()).toBeGreaterThan(0);
  expect(await healed()).toMatchObject(whole);
});

/** Guarantees that operations left active in the token, or a session said to be gone, cost that session and no answer. */
test.each([
  ['C_EncryptInit', CKR.SESSION_HANDLE_INVALID],
  // The call is not made: what its C_…Init began stays active, and the next one meets it.
  ['C_Encrypt', CKR.BUFFER_TOO_SMALL],
  ['C_Decrypt', CKR.BUFFER_TOO_SMALL],
  ['C_Sign', CKR.BUFFER_TOO_SMALL],
  ['C_Encrypt', CKR.GENERAL_ERROR],
  ['C_Decrypt', CKR.GENERAL_ERROR],
  ['C_Sign', CKR.GENERAL_ERROR],
])('a poisoned operation: every fifth %s fails with %i', async (name, code) => {
  const before = generation();
  const injected = token.faults.injected(name);
  token.faults.set(name, { kind: 'fail', code, every: 5 });
  await until(() => token.faults.injected(name) > injected + 50, 'faults');
  expect(generation()).toBe(before);
  expect(load.unavailable()).toBe(0);
  expect(await healed()).toMatchObject(whole);
});

/** Guarantees that CKR_GENERAL_ERROR for an honest blob, now and then, does not make it a forgery. */
test.each(['C_UnwrapKey', 'C_WrapKey', 'C_GenerateKey'])(
  'CKR_GENERAL_ERROR from %s now and then',
  async (name) => {
    const injected = token.faults.injected(name);
    token.faults.set(name, { kind: 'fail', code: CKR.GENERAL_ERROR, every: 50 });
    await until(() => token.faults.injected(name) > injected + 10, 'faults');
    await load.serves(100);
    expect(await healed()).toMatchObject(whole);
  },
);

/** Guarantees that a device failing everything with CKR_GENERAL_ERROR is unavailable, C_Finalize included, and no oracle. */
test('CKR_GENERAL_ERROR from everything', async () => {
  token.faults.setAll({ kind: 'fail', code: CKR.GENERAL_ERROR });
  await noticed();
  await until(() => token.events.some((event) => event.startsWith('hsm.reconnect-failed')), 'a failed try');
  const right = load.right();
  const refused = load.unavailable();
  await until(() => load.unavailable() > refused + 100, 'refusals');
  expect(load.right()).toBe(right);
  expect(token.hsm.status().state).toBe('unavailable');
  expect(await healed()).toMatchObject(whole);
});

/** Guarantees that each kind of module error, once in each call, ends in right answers or `hsm/unavailable`. */
test.each([
  ['CKR_DEVICE_ERROR', CKR.DEVICE_ERROR],
  ['CKR_DEVICE_REMOVED', CKR.DEVICE_REMOVED],
  ['CKR_TOKEN_NOT_PRESENT', CKR.TOKEN_NOT_PRESENT],
  ['CKR_USER_NOT_LOGGED_IN', CKR.USER_NOT_LOGGED_IN],
  ['CKR_KEY_HANDLE_INVALID', CKR.KEY_HANDLE_INVALID],
  ['CKR_FUNCTION_FAILED', 0x06],
])('%s once in each call', async (_, code) => {
  const calls = ['C_EncryptInit', 'C_Encrypt', 'C_DecryptInit', 'C_Decrypt', 'C_SignInit', 'C_Sign'];
  for (const name of [...calls, 'C_GenerateKey', 'C_WrapKey', 'C_UnwrapKey', 'C_DestroyObject']) {
    for (const kind of ['fail', 'doAndFail'] as const) {
      const before = token.faults.injected(name);
      token.faults.set(name, { kind, code, times: 1 });
      await until(() => token.faults.injected(name) > before, `a call of ${name}`);
      await load.serves(20);
    }
  }
  expect(await healed()).toMatchObject(whole);
});

/** Guarantees that a device that computes wrongly when it comes back does not serve, however often it is tried. */
test.each([
  ['C_Encrypt', 'aes-128-gcm'],
  ['C_Decrypt', 'aes-128-gcm'],
  ['C_Sign', 'HMAC-SHA-256'],
  ['C_WrapKey', 'AES-KWP'],
])('a bit flipped by %s', async (name, algorithm) => {
  // Whoever computes wrongly while in use gives wrong answers: nothing can be asked meanwhile.
  await load.stop();
  token.faults.set(name, { kind: 'flip' });
  token.faults.set('C_UnwrapKey', { kind: 'fail', code: CKR.DEVICE_REMOVED, times: 1 });
  await token.hsm.probe().catch(() => undefined);
  const told = `the known-answer test of ${algorithm}`;
  await until(() => token.events.filter((event) => event.includes(told)).length >= 2, 'two refused tries');
  expect(token.hsm.status().state).toBe('unavailable');
  load = await startLoadAfterHealing();
  expect(await healed()).toMatchObject(whole);
});

async function startLoadAfterHealing(): Promise<Load> {
  token.faults.clear();
  await until(() => token.hsm.status().state === 'ready', 'healing');
  return startLoad(token);
}

/** Guarantees that a key is never handed out, or wrapped anew, as a blob that does not open again. */
test('a bit flipped in a wrapped key', async () => {
  const injected = token.faults.injected('C_WrapKey');
  token.faults.set('C_WrapKey', { kind: 'flip', every: 50 });
  await until(() => token.faults.injected('C_WrapKey') > injected + 10, 'flips');
  expect(await healed()).toMatchObject(whole);
});

/** Guarantees that a login cut off while SoftHSM writes the token's file, as by a full disk, is mended by the next one. */
test('the token’s own file cut to nothing', async () => {
  const tokens = tokensFolder(token.settings.softhsmConf ?? '');
  const [name] = readdirSync(tokens);
  const file = join(tokens, String(name), 'token.object');
  const content = readFileSync(file);
  truncateSync(file);
  token.faults.set('C_UnwrapKey', { kind: 'fail', code: CKR.DEVICE_REMOVED, times: 1 });
  await noticed();
  expect(await healed()).toMatchObject(whole);
  expect(token.events).toContain('hsm.token-restored');
  expect(readFileSync(file)).toHaveLength(content.length);
});
