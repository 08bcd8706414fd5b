import { existsSync, utimesSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { isServiceError } from '../../../src/core/errors.ts';
import type { KeyRef } from '../../../src/hsm/hsm.ts';
import { CKR } from '../../../src/hsm/pkcs11/cryptoki.ts';
import { makeKey, sameKeyAnew } from '../../support/token.ts';
import { type FaultyToken, openFaultyToken } from './faulty-token.ts';
import { startLoad, until } from './load.ts';

const renewAfterObjects = 100;
const maxQueued = 300;
const message = { nonce: new Uint8Array(12), aad: new Uint8Array(0), data: new Uint8Array(40) };

let opened: FaultyToken | undefined;
let token: FaultyToken;
let key: KeyRef;
let sealed: Uint8Array;
beforeAll(async () => {
  const times = { firstRetryMs: 20, steadyAfterMs: 0, hungAfterMs: 3_000, watchEveryMs: 20 };
  opened = await openFaultyToken({ ...times, renewAfterObjects }, { maxQueued, handleLimit: 40 });
  if (opened === undefined) return;
  token = opened;
  key = await makeKey(token.hsm, 'aes-256');
  sealed = await encrypt();
});
afterAll(() => opened?.close());
beforeEach(({ skip }) => {
  if (opened === undefined) skip('needs a C compiler');
  else opened.events.length = 0;
});

const encrypt = (): Promise<Uint8Array> => token.hsm.encrypt(key, message);
const notAvailable = (error: unknown): boolean => isServiceError(error, 'hsm/unavailable');

/** Makes objects until the module is initialized anew: until that call of it. */
async function wearOut(name = 'C_Finalize'): Promise<void> {
  const before = token.faults.calls(name);
  for (let made = 0; made < renewAfterObjects; made++)
    void token.hsm.encrypt(sameKeyAnew(key), message).catch(() => undefined);
  await until(() => token.faults.calls(name) > before, `a planned re-initialize: ${name}`);
}

/** Waits until the device serves again, and that it serves rightly. */
async function healed(): Promise<void> {
  token.faults.clear();
  await until(() => token.hsm.status().state === 'ready', 'healing');
  expect(await encrypt()).toEqual(sealed);
}

/**
 * Guarantees that the planned re-initialize is a pause to everybody: under load no call fails or is answered
 * wrongly while the module is initialized anew, again and again.
 */
test('nobody notices a planned re-initialize', async () => {
  const load = await startLoad(token);
  const { generation } = token.hsm.status();
  const before = token.pauses.length;
  await until(() => token.pauses.length >= before + 10, 'ten renewals');
  await load.serves(100);
  await load.stop();
  expect(load.unavailable()).toBe(0);
  expect(token.events).not.toContain('hsm.unavailable');
  expect(token.hsm.status()).toMatchObject({ state: 'ready', queued: 0 });
  expect(token.hsm.status().generation).toBeGreaterThanOrEqual(generation + 10);
  process.stdout.write(`pauses of a planned re-initialize under load: ${token.pauses.join(', ')} ms\n`);
});

/** Guarantees that a planned re-initialize that fails is a lost device: who waits is told, and it heals. */
test.each([
  ['C_Initialize', CKR.DEVICE_ERROR],
  ['C_Login', CKR.GENERAL_ERROR],
  ['C_FindObjects', CKR.GENERAL_ERROR],
] as const)('a planned re-initialize that fails in %s', async (name, code) => {
  token.faults.set(name, { kind: 'fail', code, times: 2 });
  await wearOut();
  await until(() => token.events.includes('hsm.unavailable'), 'a lost device');
  await healed();
  expect(token.faults.calls(name)).toBeGreaterThan(2);
});

/** Guarantees that a planned re-initialize that hangs makes the device unavailable until the call returns. */
test.each([
  // The slow lane logs in, the fast one closes its sessions.
  'C_Login',
  'C_CloseSession',
])('a planned re-initialize that hangs in %s', async (name) => {
  token.faults.set(name, { kind: 'hang' });
  await wearOut(name);
  await expect(encrypt()).rejects.toSatisfy(notAvailable);
  expect(token.hsm.status()).toMatchObject({ state: 'unavailable', queued: 0 });
  await healed();
});

/** Guarantees that a PIN refused in a planned re-initialize is spent once: it stays refused until its file changes. */
test('a planned re-initialize whose PIN is refused', async () => {
  const { pinFile } = token.settings;
  const before = token.faults.calls('C_Login');
  token.faults.set('C_Login', { kind: 'fail', code: CKR.PIN_INCORRECT });
  await wearOut();
  const failedTries = () => token.events.filter((event) => event.startsWith('hsm.reconnect-failed')).length;
  await until(() => failedTries() >= 3, 'more tries');
  expect(existsSync(`${pinFile}.refused`)).toBe(true);
  await expect(encrypt()).rejects.toSatisfy(notAvailable);
  token.faults.clear();
  await until(() => failedTries() >= 5, 'more tries');
  expect(token.faults.calls('C_Login') - before).toBe(1);
  utimesSync(pinFile, new Date(), new Date());
  await healed();
});

/** Guarantees that what comes in the pause waits within the bounds of the queue, and is served though the end has come. */
test('the pause has the bounds of the queue', async () => {
  const { hsm, faults } = token;
  faults.set('C_Initialize', { kind: 'hang' });
  await wearOut();
  const room = maxQueued - hsm.status().queued;
  const calls = Array.from({ length: room + 20 }, encrypt);
  expect(hsm.status()).toMatchObject({ state: 'ready', queued: maxQueued });
  const closing = hsm.close();
  faults.clear();
  const outcomes = await Promise.allSettled(calls);
  for (const outcome of outcomes.slice(0, room))
    expect(outcome).toEqual({ status: 'fulfilled', value: sealed });
  for (const outcome of outcomes.slice(room))
    expect(outcome.status === 'rejected' && isServiceError(outcome.reason, 'service/overloaded')).toBe(true);
  await closing;
  expect(token.events).not.toContain('hsm.unavailable');
});
