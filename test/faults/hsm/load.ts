import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import { equalBytes } from '../../../src/core/bytes.ts';
import { isServiceError } from '../../../src/core/errors.ts';
import { type Hsm, HsmRejected, type KeyRef } from '../../../src/hsm/hsm.ts';
import { type KnownKek, sameKeyAnew, type TestToken } from '../../support/token.ts';

/** Clients that use the HSM in every way, each answer compared with one that OpenSSL gives in this process. */
export interface Load {
  /** Calls with the right answer. */
  right(): number;
  /** Calls that ended in `hsm/unavailable`. */
  unavailable(): number;
  /** Waits for so many more right answers. */
  serves(more: number): Promise<void>;
  /** @throws when any call had a wrong answer or another error */
  stop(): Promise<void>;
}

interface Known {
  readonly aes: KeyRef;
  readonly aesValue: Uint8Array;
  readonly hmac: KeyRef;
  readonly hmacValue: Uint8Array;
}

const nonce = new Uint8Array(12).fill(9);
const aad = new Uint8Array(7).fill(2);

function seal(key: Uint8Array, data: Uint8Array): Uint8Array {
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(aad);
  return Buffer.concat([cipher.update(data), cipher.final(), cipher.getAuthTag()]);
}

/** @throws when `blob` is no key under `kek` */
function unwrapPadded(kek: Uint8Array, blob: Uint8Array): Uint8Array {
  const decipher = createDecipheriv('id-aes256-wrap-pad', kek, Buffer.from('a65959a6', 'hex'));
  return Buffer.concat([decipher.update(blob), decipher.final()]);
}

function altered(bytes: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[0] = (copy[0] ?? 0) ^ 0x80;
  return copy;
}

/** Each resolves to whether the answer is right. A forgery answered with anything but HsmRejected is wrong. */
function operations(hsm: Hsm, kek: KnownKek, other: KnownKek) {
  const gcm = (bytes: Uint8Array) => ({ nonce, aad, data: bytes });
  const refused = (work: Promise<unknown>): Promise<boolean> =>
    work.then(
      () => false,
      (error: unknown) => {
        if (error instanceof HsmRejected) return true;
        throw error;
      },
    );
  const list: ((key: Known, data: Uint8Array) => Promise<boolean>)[] = [
    async ({ aes, aesValue }, data) => equalBytes(await hsm.encrypt(aes, gcm(data)), seal(aesValue, data)),
    async ({ aes, aesValue }, data) => equalBytes(await hsm.decrypt(aes, gcm(seal(aesValue, data))), data),
    async ({ hmac, hmacValue }, data) =>
      equalBytes(await hsm.mac(hmac, data), createHmac('sha256', hmacValue).update(data).digest()),
    async ({ aes, aesValue }, data) =>
      equalBytes(await hsm.decrypt(sameKeyAnew(aes), gcm(seal(aesValue, data))), data),
    ({ aes, aesValue }, data) => refused(hsm.decrypt(aes, gcm(altered(seal(aesValue, data))))),
    ({ aes }, data) => refused(hsm.encrypt(sameKeyAnew(aes, altered(aes.blob)), gcm(data))),
    async ({ aes, aesValue }, data) => {
      const from = { key: aes, input: gcm(seal(aesValue, data)) };
      return equalBytes(await hsm.reencrypt(from, { key: aes, nonce, aad }), seal(aesValue, data));
    },
    async ({ aes, aesValue }) =>
      equalBytes(unwrapPadded(other.value, await hsm.rewrap(aes, other.ref)), aesValue),
    async () => unwrapPadded(kek.value, await hsm.generate('aes-256', kek.ref)).length === 32,
    async () => !equalBytes(await hsm.random(32), new Uint8Array(32)),
  ];
  return list;
}

/** Starts the load; every operation was right once when this resolves. */
export async function startLoad(token: TestToken, clients = 32): Promise<Load> {
  const [kek, other] = [token.importKek(), token.importKek()];
  const work = operations(token.hsm, kek, other);
  const keys = Array.from({ length: 30 }, (): Known => {
    const [aesValue, hmacValue] = [randomBytes(32), randomBytes(32)];
    const aes = kek.importKey('aes-256', aesValue);
    return { aes, aesValue, hmac: kek.importKey('hmac-256', hmacValue), hmacValue };
  });
  const counts = { right: 0, unavailable: 0, stop: false };
  let wrong: Error | undefined;

  async function call(turn: number): Promise<void> {
    const [key, operation] = [keys[turn % keys.length], work[turn % work.length]];
    if (key === undefined || operation === undefined) throw new Error('nothing to do');
    try {
      if (!(await operation(key, new Uint8Array(40).fill(turn))))
        throw new Error(`wrong answer: ${operation}`);
      counts.right += 1;
    } catch (error) {
      if (!isServiceError(error, 'hsm/unavailable')) throw error;
      expect([1, 2, 3, 4, 5]).toContain(error.retryAfterSeconds);
      counts.unavailable += 1;
      await delay(5);
    }
  }
  async function client(seed: number): Promise<void> {
    // 7 shares no factor with the numbers of keys and operations: each meets each.
    for (let turn = seed; !counts.stop; turn += 7) await call(turn);
  }
  for (let turn = 0; turn < work.length; turn++) await call(turn);
  expect(counts.right).toBe(work.length);
  const running = Promise.all(Array.from({ length: clients }, (_, seed) => client(seed))).catch(
    (error: Error) => {
      wrong = error;
      counts.stop = true;
    },
  );
  return {
    right: () => counts.right,
    unavailable: () => counts.unavailable,
    async serves(more) {
      const goal = counts.right + more;
      await until(() => counts.right >= goal || wrong !== undefined, `${more} right answers`);
      if (wrong !== undefined) throw wrong;
    },
    async stop() {
      counts.stop = true;
      await running;
      if (wrong !== undefined) throw wrong;
    },
  };
}

/** Waits for what comes in a second or so, with a ceiling far above. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`did not happen in time: ${what}`);
    await delay(10);
  }
}
