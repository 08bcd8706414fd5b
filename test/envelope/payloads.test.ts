import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient, createLocalEncryption } from '../../src/client/node/index.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { base64, driver, flipped, withoutRequestId } from './support.ts';

let service: TestService;
let calls: ReturnType<typeof driver>;
beforeAll(async () => {
  service = await startTestService();
  calls = driver(service);
  await calls.createKey('large');
  await calls.createKey('other');
});
afterAll(() => service.dispose());

const context = { report: '2026' };
const mostBytes = 720 * 1024;
/** Of 60 KiB, the longest that a context may be, in characters of 3 bytes. */
const longest = Object.fromEntries(
  Array.from({ length: 16 }, (_, pair) => [`${pair}`.padStart(3, '0'), '€'.repeat(1022)]),
);
for (let left = 60 * 1024 - 16 * (3 + 3 * 1022), pair = 100; left > 0; pair += 1) {
  const text = 'x'.repeat(Math.min(1024, left - 3));
  longest[String(pair)] = text;
  left -= 3 + text.length;
}

/** Guarantees that payloads over 4 KiB come back, up to the limit and with any context, also from another version and key. */
test('large payloads come back', async () => {
  for (const length of [4_096, 4_097, 100_000, mostBytes]) {
    const plaintext = randomBytes(length);
    const ciphertext = await calls.encrypt('large', plaintext, context);
    expect(ciphertext[1]).toBe(length > 4_096 ? 2 : 1);
    if (length > 4_096) expect(ciphertext).toHaveLength(length + 210);
    expect((await calls.decrypt(ciphertext, context)).equals(plaintext)).toBe(true);
  }
  const plaintext = randomBytes(500_000);
  const ciphertext = await calls.encrypt('large', plaintext, longest);
  expect((await calls.decrypt(ciphertext, longest)).equals(plaintext)).toBe(true);
});

/** Guarantees that a rewrap of a large payload changes its header alone, and opens by the new key and context alone. */
test('a rewrap changes the header alone', async () => {
  const plaintext = randomBytes(mostBytes);
  const ciphertext = await calls.encrypt('large', plaintext, context);
  const body = { ciphertext: base64(ciphertext), context, toKey: 'other', toContext: longest };
  const answer = await calls.must('POST', '/v1/keys/large/rewrap', body);
  const moved = Buffer.from(String(answer['ciphertext']), 'base64');
  expect(moved.subarray(150).equals(ciphertext.subarray(150))).toBe(true);
  expect(moved.subarray(0, 150).equals(ciphertext.subarray(0, 150))).toBe(false);
  expect((await calls.decrypt(moved, longest)).equals(plaintext)).toBe(true);
  await expect(calls.decrypt(moved, context)).rejects.toThrow('envelope/decryption-failed');
});

/** Guarantees that a context is measured in bytes, and that one over the limit is refused with the rule. */
test('a context of 60 KiB and a byte', async () => {
  const body = { plaintext: '', context: { ...longest, x: '' } };
  expect(await service.call('POST', '/v1/keys/large/encrypt', body)).toMatchObject({
    status: 400,
    body: {
      code: 'request/invalid',
      errors: [{ pointer: '/context', detail: expect.stringMatching(/has more than 61440 bytes/) }],
    },
  });
});

/** Guarantees that more than the limit is refused as invalid, with the rule. */
test('too large', async () => {
  const plaintext = base64(Buffer.alloc(mostBytes + 1));
  const answer = await service.call('POST', '/v1/keys/large/encrypt', { plaintext });
  expect(answer).toMatchObject({ status: 400, body: { code: 'request/invalid' } });
});

/** Guarantees that whatever is changed of a large ciphertext, and wherever it is moved, the answer is the same. */
test('changed ones fail alike', async () => {
  const ciphertext = await calls.encrypt('large', randomBytes(5_000), context);
  const stranger = await calls.encrypt('large', randomBytes(5_000), context);
  const message = await calls.encrypt('large', randomBytes(32), context);
  const bits = [
    0, 8, 16, 24, 30, 32, 40, 48, 56, 100, 200, 350, 500, 1000, 1100, 1199, 1210, 1300, 1500, 1570,
  ];
  const splice = (from: Uint8Array, at: number, end: number) =>
    Buffer.concat([ciphertext.subarray(0, at), from.subarray(at, end), ciphertext.subarray(end)]);
  const withMessage = Buffer.concat([ciphertext.subarray(0, 6), message, ciphertext.subarray(150)]);
  // A message of 32 bytes in the place of a data key, also where it says to be one.
  const relabelled = Buffer.from(withMessage);
  relabelled[9] = 2;
  const changed: [string, Buffer][] = [
    ...bits.map((bit): [string, Buffer] => [`bit ${bit}`, flipped(ciphertext, bit)]),
    ['wrapped key of another', splice(stranger, 6, 150)],
    ['commitment of another', splice(stranger, 150, 182)],
    ['nonce of another', splice(stranger, 182, 194)],
    ['payload of another', splice(stranger, 182, stranger.length)],
    ['header alone', ciphertext.subarray(0, 182)],
    ['nonce alone', ciphertext.subarray(0, 194)],
    ['half a header', ciphertext.subarray(0, 100)],
    ['cut off', ciphertext.subarray(0, -1)],
    ['a byte more', Buffer.concat([ciphertext, Buffer.alloc(1)])],
    ['a message for a data key', withMessage],
    ['a message said to be a data key', relabelled],
  ];
  const answers = new Set<string>();
  for (const [name, bytes] of changed) {
    const answer = await service.call('POST', '/v1/decrypt', { ciphertext: base64(bytes), context });
    expect(answer, name).toMatchObject({ status: 400, body: { code: 'envelope/decryption-failed' } });
    answers.add(withoutRequestId(answer.text));
  }
  const other = { ciphertext: base64(ciphertext), context: {} };
  answers.add(withoutRequestId((await service.call('POST', '/v1/decrypt', other)).text));
  const foreign = { ciphertext: base64(ciphertext), context };
  answers.add(withoutRequestId((await service.call('POST', '/v1/keys/other/decrypt', foreign)).text));
  expect(answers.size).toBe(1);
});

/** Guarantees that a payload's uses and records are those of any other message: one use, one record. */
test('counts and records once', async () => {
  await calls.createKey('counted');
  await calls.encrypt('counted', randomBytes(100_000), context);
  const { items } = (await calls.must('GET', '/v1/audit/records?action=envelope.encrypt&limit=1')) as {
    items: { outcome: string; target: object }[];
  };
  expect(items[0]).toMatchObject({ outcome: 'allowed', target: { name: 'counted', version: 1 } });
  expect(JSON.stringify(items[0])).not.toContain('report');
});

/** Guarantees that a batch takes large payloads too, each failing alone. */
test('in a batch', async () => {
  const plaintexts = [10, 5_000, 300_000, 700_000].map((length) => randomBytes(length));
  const sealed = await calls.batch([
    ...plaintexts.map((plaintext) => ({ operation: 'encrypt', key: 'large', plaintext: base64(plaintext) })),
    { operation: 'encrypt', key: 'large', plaintext: base64(Buffer.alloc(mostBytes + 1)) },
  ]);
  expect(sealed.map(({ status }) => status)).toEqual([200, 200, 200, 200, 400]);
  const opened = await calls.batch(
    sealed.slice(0, 4).map(({ ciphertext }) => ({ operation: 'decrypt', ciphertext })),
  );
  const hash = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  expect(opened.map(({ plaintext }) => hash(Buffer.from(plaintext ?? '', 'base64')))).toEqual(
    plaintexts.map(hash),
  );
});

/** Guarantees that service and client open each other's payloads, but for associated data, which the service has not. */
test('between service and client', async () => {
  const client = createClient({ url: service.url, credentials: service.token });
  const local = createLocalEncryption({ client, key: 'large' });
  const plaintext = randomBytes(50_000);
  const byService = await calls.encrypt('large', plaintext, context);
  expect(Buffer.from(await local.decrypt(byService, { context })).equals(plaintext)).toBe(true);
  const byClient = Buffer.from(await local.encrypt(plaintext, { context }));
  expect((await calls.decrypt(byClient, context)).equals(plaintext)).toBe(true);
  const tied = Buffer.from(await local.encrypt(plaintext, { context, associatedData: Buffer.of(1) }));
  await expect(calls.decrypt(tied, context)).rejects.toThrow('envelope/decryption-failed');
});
