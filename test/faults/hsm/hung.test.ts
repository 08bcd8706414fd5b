import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { isServiceError } from '../../../src/core/errors.ts';
import { openPkcs11Hsm } from '../../../src/hsm/pkcs11/adapter.ts';
import { CKR } from '../../../src/hsm/pkcs11/cryptoki.ts';
import { makeKey, sameKeyAnew } from '../../support/token.ts';
import { type FaultyToken, openFaultyToken } from './faulty-token.ts';
import { startLoad, until } from './load.ts';

const limits = { steadyAfterMs: 0, hungAfterMs: 1_000, watchEveryMs: 20, finishWithinMs: 500 };
const message = { nonce: new Uint8Array(12), aad: new Uint8Array(0), data: new Uint8Array(40) };

let opened: FaultyToken | undefined;
let token: FaultyToken;
beforeAll(async () => {
  opened = await openFaultyToken(limits);
});
afterAll(() => opened?.close());
beforeEach(({ skip }) => {
  if (opened === undefined) return skip('needs a C compiler');
  token = opened;
  token.events.length = 0;
});

const state = (): string => token.hsm.status().state;
const notAvailable = (error: unknown): boolean => isServiceError(error, 'hsm/unavailable');

/** Holds a call of `name` in the device until what it returns is called. */
async function hangs(name: string): Promise<() => void> {
  const before = token.faults.injected(name);
  token.faults.set(name, { kind: 'hang', times: 1 });
  await until(() => token.faults.injected(name) > before, `a call of ${name}`);
  return () => token.faults.clear();
}

/** Guarantees that callers of a device that hangs are told, that it is unavailable while it does, and heals when it returns. */
test.each(['C_Encrypt', 'C_GenerateRandom', 'C_UnwrapKey', 'C_DestroyObject'])('a hung %s', async (name) => {
  const load = await startLoad(token);
  const release = await hangs(name);
  await until(() => state() === 'unavailable', 'a lost device');
  // All that was in hand has been told: the clients are being refused at once, over and over.
  const refused = load.unavailable();
  await until(() => load.unavailable() > refused + 200, 'refusals');
  expect(token.hsm.status().queued).toBe(0);
  const right = load.right();
  await delay(300);
  expect([load.right(), state()]).toEqual([right, 'unavailable']);
  release();
  await until(() => state() === 'ready', 'healing');
  await load.serves(300);
  await load.stop();
});

/** Guarantees that a device that hangs while it is being brought up again stays unavailable, and heals when it returns. */
test.each(['C_Finalize', 'C_Login', 'C_EncryptInit'])('a hung %s in the recovery', async (name) => {
  const load = await startLoad(token);
  token.faults.set('C_UnwrapKey', { kind: 'fail', code: CKR.DEVICE_REMOVED, times: 1 });
  const release = await hangs(name);
  await until(() => state() === 'unavailable', 'a lost device');
  await delay(300);
  expect(state()).toBe('unavailable');
  release();
  await until(() => state() === 'ready', 'healing');
  await load.serves(300);
  await load.stop();
});

/** Guarantees that what waited behind a hung call is dropped, not tried on a device that may hang on each. */
test('the queue behind a hung call is dropped', async () => {
  const key = await makeKey(token.hsm, 'aes-256');
  await token.hsm.encrypt(key, message);
  for (const [name, call] of [
    ['C_UnwrapKey', () => token.hsm.encrypt(sameKeyAnew(key), message)],
    ['C_Encrypt', () => token.hsm.encrypt(key, message)],
  ] as const) {
    token.faults.set(name, { kind: 'hang', times: 1 });
    const before = token.faults.calls(name);
    const outcomes = await Promise.allSettled(Array.from({ length: 2_000 }, call));
    for (const outcome of outcomes)
      expect(outcome.status === 'rejected' && notAvailable(outcome.reason)).toBe(true);
    token.faults.clear();
    await until(() => state() === 'ready', 'healing');
    // The call that hung and the known answers.
    expect(token.faults.calls(name) - before).toBeLessThan(20);
  }
});

/** Guarantees that a long queue on a slow device that moves is not taken for a hung one. */
test('slow is not hung', async () => {
  const { generation } = token.hsm.status();
  token.faults.set('C_GenerateKey', { kind: 'slow' });
  await Promise.all(Array.from({ length: 100 }, () => token.hsm.generate('aes-256', 'root')));
  token.faults.clear();
  expect(token.hsm.status()).toMatchObject({ state: 'ready', generation });
});

/** Guarantees that a process whose device hangs can end all the same: in order, or at once. */
test.each(['close', 'exit'])('the process ends while a call hangs: %s', async (way) => {
  const folder = mkdtempSync(join(tmpdir(), 'stathera-hung-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const child = spawn(process.execPath, [join(import.meta.dirname, 'child.ts'), way], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, TMPDIR: folder },
  });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  await once(child, 'close', { signal: AbortSignal.timeout(20_000) }).catch((error: unknown) => {
    child.kill('SIGKILL');
    throw error;
  });
  expect(child.signalCode).toBe('SIGKILL');
  expect(output).toBe(way === 'close' ? 'unavailable\nclosed\n' : 'unavailable\n');
});

/**
 * Guarantees that closing does not wait for a hung call, that its thread, which may yet finalize the module,
 * keeps the process from opening another, and that a device that hangs at the start is named.
 */
test('close, and a start, while a call hangs', async () => {
  const { hsm, settings } = token;
  token.faults.set('C_UnwrapKey', { kind: 'hang' });
  await expect(hsm.probe()).rejects.toSatisfy(notAvailable);
  await hsm.close(0);
  expect(state()).toBe('closed');
  await expect(openPkcs11Hsm(settings)).rejects.toMatchObject({ code: 'internal' });
  token.faults.clear();
  let again = await openPkcs11Hsm(settings).catch(() => undefined);
  const deadline = performance.now() + 10_000;
  while (again === undefined && performance.now() < deadline) {
    await delay(20);
    again = await openPkcs11Hsm(settings).catch(() => undefined);
  }
  await again?.close();
  token.faults.set('C_Login', { kind: 'hang' });
  await expect(openPkcs11Hsm(settings, { limits: { ...limits, startWithinMs: 300 } })).rejects.toMatchObject({
    code: 'hsm/unavailable',
    detail: 'The HSM does not answer. Check the device.',
  });
});
