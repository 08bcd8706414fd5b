import { existsSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isServiceError } from '../../src/core/errors.ts';
import type { KeyRef } from '../../src/hsm/hsm.ts';
import { makeKey, openTestToken, type TestToken } from '../support/token.ts';

const nonce = new Uint8Array(12);
const aad = new Uint8Array(0);
const events: string[] = [];

let token: TestToken;
beforeAll(async () => {
  token = await openTestToken({}, (_, event, fields) => events.push(JSON.stringify({ event, ...fields })), {
    // Each loss here is the first of a steady device: test/faults/hsm/flapping.test.ts has the others.
    steadyAfterMs: 0,
  });
});
afterAll(() => token.close());

const tokens = (): string => join(token.folder, 'hsm', 'tokens');
const away = (): string => join(token.folder, 'tokens-away');

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error('it did not happen in time');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const notAvailable = (error: unknown): boolean => isServiceError(error, 'hsm/unavailable');

/** Takes the token away, lets the probe notice, and brings it back after `ms`. */
async function interrupt(ms: number): Promise<void> {
  renameSync(tokens(), away());
  await expect(token.hsm.probe()).rejects.toSatisfy(notAvailable);
  expect(token.hsm.status().state).toBe('unavailable');
  await new Promise((resolve) => setTimeout(resolve, ms));
  renameSync(away(), tokens());
  await until(() => token.hsm.status().state === 'ready');
}

/** Guarantees that a token that went away and came back serves again without a restart, with the same keys. */
test('a token that comes back heals in process', async () => {
  const kek = await makeKey(token.hsm, 'kek');
  const key = await makeKey(token.hsm, 'aes-256', kek);
  const data = new Uint8Array(40).fill(6);
  const sealed = await token.hsm.encrypt(key, { nonce, aad, data });
  const { generation } = token.hsm.status();
  renameSync(tokens(), away());
  await expect(token.hsm.probe()).rejects.toSatisfy(notAvailable);
  await expect(token.hsm.encrypt(key, { nonce, aad, data })).rejects.toMatchObject({ retryAfterSeconds: 1 });
  await expect(token.hsm.generate('aes-256', kek)).rejects.toSatisfy(notAvailable);
  await until(() => events.some((event) => event.includes('reconnect-failed')));
  expect(token.hsm.status().state).toBe('unavailable');
  renameSync(away(), tokens());
  await until(() => token.hsm.status().state === 'ready');
  expect(await token.hsm.decrypt(key, { nonce, aad, data: sealed })).toEqual(data);
  expect(token.hsm.status().generation).toBeGreaterThan(generation);
  expect(token.hsm.status().handles.cached).toBe(1);
  await token.hsm.probe();
}, 30_000);

/**
 * Guarantees, over re-initializations under load, that handle numbers starting again never give a wrong
 * answer: each of 40 keys answers as itself or not at all, and nobody waits for ever.
 */
test('no wrong answer across generations', async () => {
  const keys: { key: KeyRef; data: Uint8Array; sealed: Uint8Array }[] = [];
  for (let index = 0; index < 40; index++) {
    const key = await makeKey(token.hsm, 'aes-256');
    const data = new Uint8Array(24).fill(index);
    keys.push({ key, data, sealed: await token.hsm.encrypt(key, { nonce, aad, data }) });
  }
  let stop = false;
  let [right, failed] = [0, 0];
  async function client(seed: number): Promise<void> {
    for (let turn = seed; !stop; turn++) {
      const chosen = keys[(turn * 17) % keys.length];
      if (chosen === undefined) throw new Error('no key');
      const { key, data, sealed } = chosen;
      try {
        if (turn % 2 === 0) expect(await token.hsm.decrypt(key, { nonce, aad, data: sealed })).toEqual(data);
        else expect(await token.hsm.encrypt(key, { nonce, aad, data })).toEqual(sealed);
        right += 1;
      } catch (error) {
        if (!notAvailable(error)) throw error;
        failed += 1;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  }
  const { generation } = token.hsm.status();
  const clients = Array.from({ length: 64 }, (_, seed) => client(seed));
  for (let round = 0; round < 3; round++) {
    await interrupt(50);
    const before = right;
    await until(() => right > before + 500);
  }
  stop = true;
  await Promise.all(clients);
  expect(token.hsm.status().generation).toBeGreaterThanOrEqual(generation + 3);
  expect(failed).toBeGreaterThan(0);
  expect(token.hsm.status().queued).toBe(0);
}, 40_000);

/** Guarantees that what is queued when the device is lost fails at once with a word on when to try again. */
test('a lost device fails everything in hand', async () => {
  const key = await makeKey(token.hsm, 'aes-256');
  const message = { nonce, aad, data: new Uint8Array(1_000) };
  await token.hsm.encrypt(key, message);
  renameSync(tokens(), away());
  const queued = Array.from({ length: 8_000 }, () => token.hsm.encrypt(key, message));
  const settled = Promise.allSettled(queued);
  await expect(token.hsm.probe()).rejects.toSatisfy(notAvailable);
  expect(token.hsm.status().queued).toBe(0);
  const failed = (await settled).filter((outcome) => outcome.status === 'rejected');
  expect(failed.length).toBeGreaterThan(0);
  for (const { reason } of failed)
    expect(reason).toMatchObject({ code: 'hsm/unavailable', retryAfterSeconds: 1 });
  renameSync(away(), tokens());
  await until(() => token.hsm.status().state === 'ready');
});

/** Guarantees that closing while the token is away ends at once, and logs name no path, PIN or PKCS#11 text. */
test('close while the token is away', async () => {
  renameSync(tokens(), away());
  await expect(token.hsm.probe()).rejects.toSatisfy(notAvailable);
  const start = performance.now();
  await token.hsm.close();
  expect(performance.now() - start).toBeLessThan(4_000);
  expect(token.hsm.status().state).toBe('closed');
  const logged = events.join('\n');
  expect(existsSync(token.settings.pinFile)).toBe(true);
  for (const secret of [readFileSync(token.settings.pinFile, 'utf8').trim(), token.folder, 'CKR_']) {
    expect(logged).not.toContain(secret);
  }
});
