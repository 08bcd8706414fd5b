import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ParsedCiphertext } from '../../src/envelope/format.ts';
import type { Messages } from '../../src/envelope/messages.ts';
import { createPayloads, payloadHeader } from '../../src/envelope/payloads.ts';
import type { Hsm } from '../../src/hsm/hsm.ts';
import type { CipherVersion } from '../../src/keys/key.ts';
import { wrappedOf } from '../crypto/payload/support.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { base64, driver } from './support.ts';

let service: TestService;
let calls: ReturnType<typeof driver>;
beforeAll(async () => {
  service = await startTestService();
  calls = driver(service);
});
afterAll(() => service.dispose());

const context = { tenant: 'acme' };
const reuse = { messages: 10, bytes: 100_000, seconds: 600 };
let keys = 0;

async function reusingKey(limits: object = reuse): Promise<string> {
  keys += 1;
  const { name } = await calls.createKey(`reuse-${keys}`, { dataKeyReuse: limits });
  return name;
}

/** What names a data key, in a ciphertext under one. */
function dataKeyOf(ciphertext: Buffer): string {
  expect(ciphertext.subarray(0, 2)).toEqual(Buffer.of(0x53, 2));
  return ciphertext.toString('hex', 42, 58);
}

async function sealed(key: string, count: number, length = 10): Promise<Buffer[]> {
  return Promise.all(Array.from({ length: count }, () => calls.encrypt(key, randomBytes(length), context)));
}

/** Guarantees that a data key encrypts as many messages as it may, however many come at once, and then another one. */
test('by messages', async () => {
  const key = await reusingKey();
  const ciphertexts = await sealed(key, 25);
  const counts = new Map<string, number>();
  for (const name of ciphertexts.map(dataKeyOf)) counts.set(name, (counts.get(name) ?? 0) + 1);
  expect([...counts.values()].toSorted((a, b) => b - a)).toEqual([10, 10, 5]);
  for (const ciphertext of ciphertexts) expect(await calls.decrypt(ciphertext, context)).toHaveLength(10);
  // Another context has another data key.
  const other = await calls.encrypt(key, randomBytes(1), {});
  expect(counts.has(dataKeyOf(other))).toBe(false);
  await expect(calls.decrypt(other, context)).rejects.toThrow('envelope/decryption-failed');
});

/** Guarantees that a data key encrypts as many bytes as it may, and that a longer message has one of its own. */
test('by bytes', async () => {
  const key = await reusingKey({ ...reuse, bytes: 10_000 });
  const names = new Set<string>();
  for (const length of [6_000, 4_000, 1, 20_000, 1])
    names.add(dataKeyOf(await calls.encrypt(key, randomBytes(length), context)));
  expect(names.size).toBe(4);
});

/** Guarantees that a data key is given up when its time is over. */
test('by time', async () => {
  const key = await reusingKey({ ...reuse, seconds: 1 });
  const first = dataKeyOf(await calls.encrypt(key, randomBytes(1), context));
  await new Promise((resolve) => setTimeout(resolve, 1_300));
  expect(dataKeyOf(await calls.encrypt(key, randomBytes(1), context))).not.toBe(first);
});

/** Guarantees that a rotation, a disabled version and a disabled key take effect at once, whatever is kept. */
test('states take effect at once', async () => {
  const key = await reusingKey();
  const [ciphertext = Buffer.alloc(0)] = await sealed(key, 1);
  await calls.decrypt(ciphertext, context);
  await calls.must('POST', `/v1/keys/${key}/rotate`, {});
  const answer = await calls.must('POST', `/v1/keys/${key}/encrypt`, { plaintext: '', context });
  expect(answer['keyVersion']).toBe(2);
  await calls.must('PATCH', `/v1/keys/${key}/versions/1`, { state: 'disabled' });
  await expect(calls.decrypt(ciphertext, context)).rejects.toThrow('key/version-disabled');
  await calls.must('PATCH', `/v1/keys/${key}`, { state: 'disabled' });
  await expect(calls.encrypt(key, randomBytes(1), context)).rejects.toThrow('key/disabled');
});

/** Guarantees that nothing that fails with the HSM opens from what is kept: context, wrapped key and payload count. */
test('what is kept opens nothing else', async () => {
  const key = await reusingKey();
  const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = await sealed(key, 2);
  expect(dataKeyOf(first)).toBe(dataKeyOf(second));
  await calls.decrypt(first, context);
  for (let at = 2; at < first.length; at += 7) {
    const changed = Buffer.from(first);
    changed[at] = (changed[at] ?? 0) ^ 1;
    await expect(calls.decrypt(changed, context), `byte ${at}`).rejects.toThrow('envelope/decryption-failed');
  }
  await expect(calls.decrypt(first, {})).rejects.toThrow('envelope/decryption-failed');
  await expect(calls.decrypt(first, { ...context, more: '' })).rejects.toThrow('envelope/decryption-failed');
});

/** Guarantees that it is a setting like others: shown, changed, taken away, and refused out of its bounds. */
test('is set and taken away', async () => {
  const key = await reusingKey();
  expect(await calls.must('GET', `/v1/keys/${key}`)).toMatchObject({ dataKeyReuse: reuse });
  const [before = Buffer.alloc(0)] = await sealed(key, 1);
  const changed = await calls.must('PATCH', `/v1/keys/${key}`, { dataKeyReuse: null });
  expect(changed).not.toHaveProperty('dataKeyReuse');
  expect((await calls.encrypt(key, randomBytes(1), context))[1]).toBe(1);
  expect(await calls.decrypt(before, context)).toHaveLength(10);
  await calls.must('PATCH', `/v1/keys/${key}`, { dataKeyReuse: { ...reuse, messages: 1 } });
  const [one = Buffer.alloc(0), two = Buffer.alloc(0)] = await sealed(key, 2);
  expect(dataKeyOf(one)).not.toBe(dataKeyOf(two));
  for (const wrong of [
    {},
    { ...reuse, messages: 0 },
    { ...reuse, seconds: 86_401 },
    { ...reuse, more: 1 },
    5,
  ])
    expect(await service.call('PATCH', `/v1/keys/${key}`, { dataKeyReuse: wrong })).toMatchObject({
      status: 400,
    });
});

/** Guarantees that a rewrap moves such a message like any other, also to a key without reuse. */
test('is rewrapped', async () => {
  const key = await reusingKey();
  const { name } = await calls.createKey(`plain-${key}`);
  const [ciphertext = Buffer.alloc(0)] = await sealed(key, 1);
  const body = { ciphertext: base64(ciphertext), context, toKey: name };
  const { ciphertext: moved } = await calls.must('POST', `/v1/keys/${key}/rewrap`, body);
  expect(await calls.decrypt(Buffer.from(String(moved), 'base64'), context)).toHaveLength(10);
});

/** Guarantees what it is for: messages under a kept data key ask nothing of the HSM. */
test('spares the HSM', async () => {
  let asked = 0;
  const dataKey = randomBytes(32);
  const wrapped = wrappedOf('reuse');
  const given = async (bytes: Uint8Array) => {
    asked += 1;
    return Uint8Array.from(bytes);
  };
  const hsm = { random: () => given(dataKey) } as unknown as Hsm;
  const messages = { seal: () => given(wrapped), open: () => given(dataKey) } as unknown as Messages;
  const payloads = createPayloads({ hsm, messages });
  const version = { id: 'version' } as CipherVersion;
  const parsed = {} as ParsedCiphertext;
  for (const limits of [{ ...reuse, messages: 100 }, undefined]) {
    asked = 0;
    for (let turn = 0; turn < 100; turn += 1) {
      const plain = { plaintext: randomBytes(10), context };
      const ciphertext = limits
        ? await payloads.sealAgain(version, plain, { limits, count: async () => undefined })
        : await payloads.seal(version, plain);
      const header = payloadHeader(ciphertext);
      if (!header) throw new Error('no header');
      const opened = await payloads.open(version, { header, parsed, ciphertext, context }, limits);
      expect(Buffer.from(opened)).toEqual(plain.plaintext);
    }
    // A random data key, its wrapping, its unwrapping.
    expect(asked).toBe(limits ? 3 : 300);
  }
});
