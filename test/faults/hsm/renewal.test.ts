import { existsSync, utimesSync } from 'node:fs';
import { afterEach, expect, type TestContext, test } from 'vitest';
import { isServiceError } from '../../../src/core/errors.ts';
import type { KeyRef } from '../../../src/hsm/hsm.ts';
import { CKR } from '../../../src/hsm/pkcs11/cryptoki.ts';
import type { LinkLimits, Pkcs11Settings } from '../../../src/hsm/pkcs11/settings.ts';
import { makeKey, openTestToken, sameKeyAnew, type TestToken } from '../../support/token.ts';
import { type FaultyToken, openFaultyToken } from './faulty-token.ts';
import { startLoad, until } from './load.ts';

const renewAfterObjects = 100;
const message = { nonce: new Uint8Array(12), aad: new Uint8Array(0), data: new Uint8Array(40) };

let token: TestToken | undefined;
afterEach(async () => {
  await token?.close();
  token = undefined;
});

interface Worn {
  readonly token: FaultyToken;
  readonly key: KeyRef;
  readonly sealed: Uint8Array;
  readonly pinFile: string;
  encrypt(): Promise<Uint8Array>;
  /** Makes objects until the module is to be initialized anew. */
  wearOut(): Promise<void>;
}

async function openWornToken(
  { skip }: TestContext,
  limits: Partial<LinkLimits> = {},
  change: Partial<Pkcs11Settings> = {},
): Promise<Worn> {
  const opened = await openFaultyToken({ renewAfterObjects, firstRetryMs: 20, ...limits }, change);
  if (opened === undefined) return skip('needs a C compiler');
  token = opened;
  const key = await makeKey(opened.hsm, 'aes-256');
  const encrypt = () => opened.hsm.encrypt(key, message);
  const sealed = await encrypt();
  return {
    token: opened,
    key,
    sealed,
    pinFile: opened.settings.pinFile,
    encrypt,
    async wearOut() {
      const finalized = opened.faults.calls('C_Finalize');
      for (let made = 0; made < renewAfterObjects; made++)
        void opened.hsm.encrypt(sameKeyAnew(key), message).catch(() => undefined);
      await until(() => opened.faults.calls('C_Finalize') > finalized, 'a planned re-initialize');
    },
  };
}

const notAvailable = (error: unknown): boolean => isServiceError(error, 'hsm/unavailable');

/** What the adapter told of each planned re-initialize. */
interface Renewal {
  readonly generation: number;
  readonly objects: number;
  readonly pauseMs: number;
}

/**
 * Guarantees that the planned re-initialize is a pause to everybody: under load no call fails or is answered
 * wrongly while the module is initialized anew, again and again.
 */
test('nobody notices a planned re-initialize', async () => {
  const renewals: Renewal[] = [];
  const events: string[] = [];
  token = await openTestToken(
    { handleLimit: 40 },
    (_, event, fields) => {
      events.push(event);
      if (event === 'hsm.renewed') renewals.push(fields as unknown as Renewal);
    },
    { renewAfterObjects: 1_000 },
  );
  const load = await startLoad(token);
  await until(() => renewals.length >= 5, 'five renewals');
  await load.serves(500);
  await load.stop();
  expect(load.unavailable()).toBe(0);
  expect(events).not.toContain('hsm.unavailable');
  expect(renewals.map(({ generation }) => generation).slice(0, 5)).toEqual([2, 3, 4, 5, 6]);
  for (const { objects } of renewals) expect(objects).toBeGreaterThanOrEqual(1_000);
  expect(token.hsm.status()).toMatchObject({ state: 'ready', queued: 0 });
  const pauses = renewals.map(({ pauseMs }) => pauseMs).join(', ');
  process.stdout.write(`pauses of a planned re-initialize under load: ${pauses} ms\n`);
});

/** Guarantees that what comes in the pause waits within the bounds of the queue, and that all of it is served. */
test('the pause has the bounds of the queue', async (context) => {
  const { token: opened, encrypt, sealed, wearOut } = await openWornToken(context, {}, { maxQueued: 300 });
  const { hsm, faults } = opened;
  faults.set('C_Initialize', { kind: 'hang' });
  await wearOut();
  const waiting = hsm.status().queued;
  const calls = Array.from({ length: 320 }, encrypt);
  expect(hsm.status()).toMatchObject({ state: 'ready', queued: 300 });
  const closing = hsm.close();
  faults.clear();
  const outcomes = await Promise.allSettled(calls);
  const served = outcomes.filter((outcome) => outcome.status === 'fulfilled');
  expect(served).toHaveLength(300 - waiting);
  for (const { value } of served) expect(value).toEqual(sealed);
  for (const outcome of outcomes)
    if (outcome.status === 'rejected')
      expect(isServiceError(outcome.reason, 'service/overloaded')).toBe(true);
  await closing;
  expect(opened.events).not.toContain('hsm.unavailable');
});

/** Guarantees that a planned re-initialize that fails is a lost device: who waits is told, and it heals. */
test.for([
  ['C_Initialize', { kind: 'fail', code: CKR.DEVICE_ERROR, times: 2 }],
  ['C_Login', { kind: 'fail', code: CKR.GENERAL_ERROR, times: 2 }],
  ['C_FindObjects', { kind: 'fail', code: CKR.GENERAL_ERROR, times: 2 }],
] as const)('a planned re-initialize that fails in %s', async ([name, fault], context) => {
  const { token: opened, encrypt, sealed, wearOut } = await openWornToken(context);
  opened.faults.set(name, fault);
  await wearOut();
  await until(() => opened.events.includes('hsm.unavailable'), 'a lost device');
  await until(() => opened.hsm.status().state === 'ready', 'healing');
  expect(await encrypt()).toEqual(sealed);
});

/** Guarantees that a planned re-initialize that hangs makes the device unavailable until the call returns. */
test('a planned re-initialize that hangs', async (context) => {
  const {
    token: opened,
    encrypt,
    sealed,
    wearOut,
  } = await openWornToken(context, { hungAfterMs: 500, watchEveryMs: 20 });
  opened.faults.set('C_Login', { kind: 'hang' });
  await wearOut();
  const waiting = encrypt();
  await expect(waiting).rejects.toSatisfy(notAvailable);
  expect(opened.hsm.status()).toMatchObject({ state: 'unavailable', queued: 0 });
  opened.faults.clear();
  await until(() => opened.hsm.status().state === 'ready', 'healing');
  expect(await encrypt()).toEqual(sealed);
});

/** Guarantees that a PIN refused in a planned re-initialize is spent once: it stays refused until its file changes. */
test('a planned re-initialize whose PIN is refused', async (context) => {
  const { token: opened, encrypt, sealed, pinFile, wearOut } = await openWornToken(context);
  const before = opened.faults.calls('C_Login');
  opened.faults.set('C_Login', { kind: 'fail', code: CKR.PIN_INCORRECT });
  await wearOut();
  const failedTries = () => opened.events.filter((event) => event.startsWith('hsm.reconnect-failed')).length;
  await until(() => failedTries() >= 3, 'more tries');
  expect(opened.faults.calls('C_Login') - before).toBe(1);
  expect(existsSync(`${pinFile}.refused`)).toBe(true);
  await expect(encrypt()).rejects.toSatisfy(notAvailable);
  opened.faults.clear();
  await until(() => failedTries() >= 4, 'one more try');
  expect(opened.faults.calls('C_Login') - before).toBe(1);
  utimesSync(pinFile, new Date(), new Date());
  await until(() => opened.hsm.status().state === 'ready', 'healing');
  expect(await encrypt()).toEqual(sealed);
});
