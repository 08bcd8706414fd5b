import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { CKR } from '../../../src/hsm/pkcs11/cryptoki.ts';
import { type FaultyToken, openFaultyToken } from './faulty-token.ts';
import { startLoad, until } from './load.ts';

const limits = { firstRetryMs: 100, lastRetryMs: 1_600, steadyAfterMs: 2_000 };

let opened: FaultyToken | undefined;
let token: FaultyToken;
beforeAll(async () => {
  opened = await openFaultyToken(limits);
});
afterAll(() => opened?.close());
beforeEach(({ skip }) => {
  if (opened === undefined) return skip('needs a C compiler');
  token = opened;
});

/**
 * Guarantees that a device that comes and goes is not initialized over and over: each pause is twice the last,
 * though it was ready in between, callers are told how long it is, and one that stayed is tried again at once.
 */
test('a device that fails every so many calls', async () => {
  const load = await startLoad(token);
  const before = token.faults.calls('C_Initialize');
  token.faults.set('C_DecryptInit', { kind: 'fail', code: CKR.DEVICE_ERROR, every: 100 });
  await until(() => token.losses.length === 6, 'six losses');
  await expect(token.hsm.random(1)).rejects.toMatchObject({
    code: 'hsm/unavailable',
    retryAfterSeconds: expect.any(Number) as number,
  });
  expect(token.losses).toEqual([0, 100, 200, 400, 800, 1_600]);
  expect(token.faults.calls('C_Initialize') - before).toBe(5);
  token.faults.clear();
  await until(() => token.hsm.status().state === 'ready', 'healing');
  await load.serves(100);
  await delay(limits.steadyAfterMs);
  token.faults.set('C_DecryptInit', { kind: 'fail', code: CKR.DEVICE_ERROR, times: 1 });
  await until(() => token.losses.length === 7, 'one more loss');
  expect(token.losses.at(-1)).toBe(0);
  await load.serves(100);
  await load.stop();
});
