import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, verify } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { isServiceError } from '../../../src/core/errors.ts';
import type { KeyRef } from '../../../src/hsm/hsm.ts';
import { CKR } from '../../../src/hsm/pkcs11/cryptoki.ts';
import { makeKey, sameKeyAnew } from '../../support/token.ts';
import { type FaultyToken, openFaultyToken } from './faulty-token.ts';
import { until } from './load.ts';

// The lanes of private keys: signatures, and the making of pairs. What is said of a fault is said of OpenSSL's verdict.

let opened: FaultyToken | undefined;
let token: FaultyToken;
let kek: KeyRef;
let aes: KeyRef;
let pair: { readonly ref: KeyRef; readonly publicKey: KeyObject };

beforeAll(async () => {
  const limits = { steadyAfterMs: 0, hungAfterMs: 3_000, pairMs: 1_000, watchEveryMs: 20 };
  opened = await openFaultyToken({ ...limits, finishWithinMs: 500 });
  if (opened === undefined) return;
  token = opened;
  kek = await makeKey(token.hsm, 'kek');
  aes = await makeKey(token.hsm, 'aes-256', kek);
  pair = await makePair();
});
afterAll(() => opened?.close());
beforeEach(({ skip }) => {
  if (opened === undefined) return skip('needs a C compiler');
  token.events.length = 0;
  onTestFinished(() => token.faults.clear());
});

let made = 0;

async function makePair(): Promise<typeof pair> {
  const { blob, publicKey } = await token.hsm.generatePair('ec-p256', kek);
  const spki = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
    ...{ format: 'der', type: 'spki' },
  });
  spki.set(publicKey, spki.length - publicKey.length);
  made += 1;
  const ref: KeyRef = { id: `pair-${made}`, kind: 'ec-p256', blob, under: kek };
  return { ref, publicKey: createPublicKey({ key: spki, format: 'der', type: 'spki' }) };
}

let signed = 0;

type Outcome = 'right' | 'wrong' | 'unavailable';

/** Signs a message that no other call signs. @throws what is no `hsm/unavailable` */
async function sign({ ref, publicKey }: typeof pair = pair): Promise<Outcome> {
  signed += 1;
  const message = Buffer.from(`message ${signed}`);
  const digest = createHash('sha256').update(message).digest();
  const signature = await orUnavailable(token.hsm.sign(ref, 'ecdsa', digest));
  if (signature === undefined) return 'unavailable';
  const key = { key: publicKey, dsaEncoding: 'ieee-p1363' } as const;
  return verify('sha256', message, key, signature) ? 'right' : 'wrong';
}

/** Makes a pair and signs with it. */
async function pairOutcome(): Promise<Outcome> {
  const fresh = await orUnavailable(makePair());
  return fresh === undefined ? 'unavailable' : sign(fresh);
}

async function orUnavailable<Result>(work: Promise<Result>): Promise<Result | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isServiceError(error, 'hsm/unavailable')) return undefined;
    throw error;
  }
}

/** AES in its lane, with keys that are in the token and one that is not. */
async function encrypts(rounds: number): Promise<void> {
  const input = { nonce: new Uint8Array(12), aad: new Uint8Array(0), data: new Uint8Array(40) };
  for (let round = 0; round < rounds; round++) {
    expect(await token.hsm.encrypt(aes, input)).toHaveLength(56);
    expect(await token.hsm.encrypt(sameKeyAnew(aes), input)).toHaveLength(56);
  }
}

const state = (): string => token.hsm.status().state;

async function healed(): Promise<void> {
  token.faults.clear();
  await until(() => state() === 'ready', 'healing');
  expect([await sign(), await pairOutcome()]).toEqual(['right', 'right']);
  await encrypts(1);
  expect(token.hsm.status()).toMatchObject({ state: 'ready', queued: 0 });
}

const lanes = [
  ['a signature', 'C_Sign', sign],
  ['a pair', 'C_GenerateKeyPair', pairOutcome],
] as const;

/**
 * Guarantees that encryption goes on beside a call of a private key that hangs; that its caller, and who waits behind,
 * is told when it has taken too long; and that the device heals when it returns, without making what nobody waits for.
 */
test.each(lanes)('%s that hangs', async (_, name, call) => {
  expect(await call()).toBe('right');
  const [calls, injected] = [token.faults.calls(name), token.faults.injected(name)];
  token.faults.set(name, { kind: 'hang', times: 1 });
  let settled = 0;
  const outcomes = Promise.all(
    Array.from({ length: 30 }, async () => {
      const outcome = await call();
      settled += 1;
      return outcome;
    }),
  );
  await until(() => token.faults.injected(name) > injected, 'a hung call');
  await encrypts(10);
  expect([settled, state()]).toEqual([0, 'ready']);
  expect(new Set(await outcomes)).toEqual(new Set(['unavailable']));
  expect([state(), token.hsm.status().queued]).toEqual(['unavailable', 0]);
  expect(await call()).toBe('unavailable');
  // It still hangs: nothing that waited was tried.
  expect(token.faults.calls(name) - calls).toBe(1);
  token.faults.clear();
  await until(() => state() === 'ready', 'healing');
  // Of C_Sign there are the known answers of the token besides; of the 30 that waited there is none.
  expect(token.faults.calls(name) - calls).toBeLessThan(10);
  await healed();
});

/** Guarantees that one call that hangs no longer than it may costs nothing: what waited behind is answered, each rightly. */
test.each(lanes)('%s that takes long', async (_, name, call) => {
  expect(await call()).toBe('right');
  const { generation } = token.hsm.status();
  const injected = token.faults.injected(name);
  token.faults.set(name, { kind: 'hang', times: 1 });
  const outcomes = Promise.all(Array.from({ length: 5 }, () => call()));
  await until(() => token.faults.injected(name) > injected, 'a hung call');
  await encrypts(3);
  token.faults.clear();
  expect(await outcomes).toEqual(Array.from({ length: 5 }, () => 'right'));
  expect(token.hsm.status()).toMatchObject({ state: 'ready', generation });
});

const failures = [
  ['CKR_DEVICE_ERROR', CKR.DEVICE_ERROR],
  ['CKR_DEVICE_REMOVED', CKR.DEVICE_REMOVED],
  ['CKR_GENERAL_ERROR', CKR.GENERAL_ERROR],
  ['CKR_SESSION_HANDLE_INVALID', CKR.SESSION_HANDLE_INVALID],
  ['CKR_USER_NOT_LOGGED_IN', CKR.USER_NOT_LOGGED_IN],
  ['CKR_KEY_HANDLE_INVALID', CKR.KEY_HANDLE_INVALID],
] as const;
const signatureCalls = ['C_SignInit', 'C_Sign'];
const pairCalls = [
  ...['C_OpenSession', 'C_GenerateKeyPair', 'C_GetAttributeValue', 'C_WrapKey', 'C_UnwrapKey'],
  ...signatureCalls,
];

/** Guarantees that an error of any call ends in right signatures and whole pairs, or in `hsm/unavailable`. */
test.each(failures)('%s in each call', async (_, code) => {
  for (const [calls, call] of [
    [signatureCalls, sign],
    [pairCalls, pairOutcome],
  ] as const) {
    for (const name of calls) {
      for (const kind of ['fail', 'doAndFail'] as const) {
        const injected = token.faults.injected(name);
        token.faults.set(name, { kind, code, times: 1 });
        const outcomes = await Promise.all(Array.from({ length: 4 }, () => call()));
        expect([name, kind, outcomes.includes('wrong')]).toEqual([name, kind, false]);
        expect([name, kind, token.faults.injected(name)]).toEqual([name, kind, injected + 1]);
        token.faults.clear();
        await until(() => state() === 'ready', 'healing');
      }
    }
  }
  await healed();
});

/** Guarantees that sessions lost under either lane are made anew. */
test.each(lanes)('sessions lost under %s', async (_, name, call) => {
  const { generation } = token.hsm.status();
  token.faults.set(name, { kind: 'loseSessions', times: 1 });
  expect(await call()).toBe('unavailable');
  await until(() => token.events.includes('hsm.unavailable'), 'a lost device');
  await healed();
  expect(token.hsm.status().generation).toBeGreaterThan(generation);
});

/** Guarantees that a signature of a device that failed after it had signed is asked for once, and is not given out. */
test('a signature made and lost', async () => {
  expect(await sign()).toBe('right');
  const calls = token.faults.calls('C_SignInit');
  // The fault holds: the known answers of the bring-up fail, too, and nothing is served.
  token.faults.set('C_Sign', { kind: 'doAndFail', code: CKR.DEVICE_ERROR });
  token.faults.set('C_Initialize', { kind: 'fail', code: CKR.DEVICE_ERROR });
  expect(await sign()).toBe('unavailable');
  expect(token.faults.calls('C_SignInit') - calls).toBe(1);
  await healed();
});

/** Guarantees that a pair that does not sign what its public key verifies is not given out, and harms nothing else. */
test('a bit flipped in the proof of a pair', async () => {
  const { generation } = token.hsm.status();
  token.faults.set('C_Sign', { kind: 'flip', times: 1 });
  expect(await pairOutcome()).toBe('unavailable');
  expect(token.hsm.status()).toMatchObject({ state: 'ready', generation });
  await healed();
});
