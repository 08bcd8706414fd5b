import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestService, type TestService } from '../support/service.ts';
import { base64, bytes, type Context, driver, type Result } from './support.ts';

let service: TestService;
let calls: ReturnType<typeof driver>;
beforeAll(async () => {
  service = await startTestService();
  calls = driver(service);
  await calls.createKey('strong');
  await calls.createKey('light', { algorithm: 'aes-128-gcm' });
});
afterAll(() => service.dispose());

const messageId = (ciphertext: Buffer) => ciphertext.subarray(36, 52).toString('hex');
const nonce = (ciphertext: Buffer) => ciphertext.subarray(52, 64).toString('hex');

async function codeOf(path: string, body: object, token?: string): Promise<[number, unknown]> {
  const answer = await service.call('POST', path, body, token === undefined ? {} : { token });
  return [answer.status, answer.body['code']];
}

/** Guarantees that 0 to 4,096 bytes under any context come back, by both algorithms, 112 bytes longer in between. */
test('random round trips', async () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 20 });
  const name = text.filter((value) => value !== '' && value !== '__proto__');
  const message = fc.record({
    key: fc.constantFrom('strong', 'light'),
    plaintext: fc.oneof(
      fc.uint8Array({ maxLength: 100 }),
      fc.integer({ min: 0, max: 4096 }).map((length) => new Uint8Array(length).fill(length)),
    ),
    context: fc.dictionary(name, text, { maxKeys: 6 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 60 }), async (messages) => {
      const sealed = await calls.batch(
        messages.map(({ key, plaintext, context }) => ({
          ...{ operation: 'encrypt', key, plaintext: base64(plaintext), context },
        })),
      );
      const opened = await calls.batch(
        messages.map(({ context }, index) => ({
          operation: 'decrypt',
          ciphertext: sealed[index]?.ciphertext,
          context: Object.fromEntries(Object.entries(context).toReversed()),
        })),
      );
      for (const [index, { plaintext }] of messages.entries()) {
        expect(bytes(sealed[index]?.ciphertext)).toHaveLength(plaintext.length + 112);
        expect(opened[index]?.status).toBe(200);
        expect(bytes(opened[index]?.plaintext)).toEqual(Buffer.from(plaintext));
      }
    }),
    { numRuns: 12 },
  );
});

/** Guarantees that 4,096 bytes are still encrypted by the key version itself. */
test('4,096 bytes inside the HSM', async () => {
  for (const length of [0, 1, 4095, 4096]) {
    const plaintext = randomBytes(length);
    const ciphertext = await calls.encrypt('strong', plaintext);
    expect(ciphertext).toHaveLength(length + 112);
    expect(await calls.decrypt(ciphertext)).toEqual(plaintext);
  }
});

/** Guarantees that two encryptions of one plaintext share nothing that would show it, and nonces differ. */
test('equal plaintexts give different ciphertexts', async () => {
  const request = { operation: 'encrypt', key: 'strong', plaintext: 'aGVsbG8=', context: { a: 'b' } };
  const results = await calls.batch(Array.from({ length: 1000 }, () => request));
  const sealed = results.map(({ ciphertext }) => bytes(ciphertext));
  expect(new Set(sealed.map(nonce)).size).toBe(1000);
  expect(new Set(sealed.map(messageId)).size).toBe(1000);
  expect(new Set(sealed.map((one) => one.subarray(64).toString('hex'))).size).toBe(1000);
});

describe('context', () => {
  /** Guarantees that order does not matter, whatever JSON parsers and sorters think of the names. */
  test.each([
    ['digits that engines reorder', ['10', '9', '1', 'a', '-1']],
    [
      'astral characters, which UTF-16 sorts before some of the basic plane',
      ['\u{1F600}', '\uFFFD', '\uFF5E', 'z'],
    ],
    ['names of built-in members', ['constructor', 'toString', 'hasOwnProperty', 'length']],
    ['one name the beginning of another', ['a', 'aa', 'a\u0000', 'ab']],
  ])('%s', async (_name, names) => {
    const pairs = names.map((name, index) => [name, `value ${index}`] as const);
    const sealed = await calls.encrypt('strong', Buffer.from('x'), Object.fromEntries(pairs));
    for (const order of [
      pairs.toReversed(),
      [...pairs.slice(1), ...pairs.slice(0, 1)],
      [...pairs.slice(2), ...pairs.slice(0, 2)],
    ]) {
      expect(await calls.decrypt(sealed, Object.fromEntries(order))).toEqual(Buffer.from('x'));
    }
  });

  /** Guarantees that texts which look alike but are other code points are other contexts: nothing is normalized. */
  test('is not normalized', async () => {
    const sealed = await calls.encrypt('strong', Buffer.from('x'), { caf\u00e9: 'K' });
    const body = (context: Context) => ({ ciphertext: base64(sealed), context });
    for (const context of [{ 'cafe\u0301': 'K' }, { caf\u00e9: '\u212a' }, { caf\u00e9: 'k' }]) {
      expect(await codeOf('/v1/decrypt', body(context))).toEqual([400, 'envelope/decryption-failed']);
    }
    expect((await codeOf('/v1/decrypt', body({ caf\u00e9: 'K' })))[0]).toBe(200);
  });

  /** Guarantees the limits: 64 pairs, names of 1 to 128, values up to 1,024, well-formed text; the border passes. */
  test('limits', async () => {
    const pairs = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, at) => [`n${at}`, 'v']));
    const accepted: Context[] = [pairs(64), { ['n'.repeat(128)]: 'v'.repeat(1024) }, { n: '' }, {}];
    for (const context of accepted) {
      expect(await calls.decrypt(await calls.encrypt('strong', Buffer.of(1), context), context)).toEqual(
        Buffer.of(1),
      );
    }
    const refused = [
      JSON.stringify(pairs(65)),
      JSON.stringify({ ['n'.repeat(129)]: 'v' }),
      JSON.stringify({ n: 'v'.repeat(1025) }),
      ...['{"":"v"}', '{"n":1}', '{"n":null}', '{"n":["v"]}', '{"n":{}}', '[]', 'null', '"n"', '7'],
      ...['{"n":"\\ud800"}', '{"\\udc00":"v"}', '{"n":"v","n":"v"}', '{"__proto__":"v"}'],
    ];
    for (const context of refused) {
      for (const [path, rest] of [
        ['/v1/keys/strong/encrypt', '"plaintext":""'],
        ['/v1/decrypt', '"ciphertext":""'],
        ['/v1/keys/strong/data-keys', '"count":1'],
      ]) {
        const answer = await service.call('POST', path ?? '', `{${rest},"context":${context}}`);
        expect([answer.status, answer.body['code']], context).toEqual([400, 'request/invalid']);
      }
    }
  });
});

describe('rewrap', () => {
  const context = { table: 'users' };
  const plaintext = Buffer.from('to be kept');
  let limited: string;
  beforeAll(async () => {
    await calls.createKey('from');
    await calls.createKey('to', { algorithm: 'aes-128-gcm' });
    limited = await calls.createToken({ scopes: ['keys:rewrap'], keys: ['from'] });
  });

  async function rewrap(subject: Buffer, change: object = {}, token?: string): Promise<Result> {
    const body = { ciphertext: base64(subject), context, ...change };
    const options = token === undefined ? {} : { token };
    return (await calls.must('POST', '/v1/keys/from/rewrap', body, options)) as unknown as Result;
  }

  /** Guarantees that the message keeps its id, gets a new nonce and the current version, and the old ciphertext still opens. */
  test('to the current version', async () => {
    const old = await calls.encrypt('from', plaintext, context);
    await calls.must('POST', '/v1/keys/from/rotate', {});
    const answer = await rewrap(old, {}, limited);
    const fresh = bytes(answer.ciphertext);
    expect(answer.keyVersion).toBe(2);
    expect(messageId(fresh)).toBe(messageId(old));
    expect(nonce(fresh)).not.toBe(nonce(old));
    expect(fresh.subarray(20, 36)).not.toEqual(old.subarray(20, 36));
    for (const sealed of [old, fresh]) expect(await calls.decrypt(sealed, context)).toEqual(plaintext);
  });

  /** Guarantees that a context is kept when none is named, changed when one is, and cleared by an empty one. */
  test.each([
    ['keeps', undefined, context],
    ['changes', { table: 'people', more: 'ü' }, { more: 'ü', table: 'people' }],
    ['clears', {}, {}],
  ])('%s the context', async (_name, toContext, expected) => {
    const old = await calls.encrypt('from', plaintext, context);
    const fresh = bytes((await rewrap(old, toContext === undefined ? {} : { toContext })).ciphertext);
    expect(messageId(fresh)).toBe(messageId(old));
    expect(await calls.decrypt(fresh, expected)).toEqual(plaintext);
    if (toContext !== undefined) {
      const body = { ciphertext: base64(fresh), context };
      expect(await codeOf('/v1/decrypt', body)).toEqual([400, 'envelope/decryption-failed']);
    }
  });

  /** Guarantees that a message moves to another key, of another algorithm, and a data key stays a data key. */
  test('to another key', async () => {
    const old = await calls.encrypt('from', plaintext, context);
    const made = await calls.must('POST', '/v1/keys/from/data-keys', { context, plaintext: true });
    const [dataKey] = made['items'] as { wrapped: string; plaintext: string }[];
    for (const [kind, subject, expected] of [
      [1, old, plaintext],
      [2, bytes(dataKey?.wrapped), bytes(dataKey?.plaintext)],
    ] as const) {
      const answer = await rewrap(subject, { toKey: 'to' });
      const fresh = bytes(answer.ciphertext);
      expect([...fresh.subarray(0, 4)]).toEqual([0x53, 1, 2, kind]);
      expect(messageId(fresh)).toBe(messageId(subject));
      expect(await calls.decrypt(fresh, context)).toEqual(expected);
      expect(await calls.decrypt(subject, context)).toEqual(expected);
      const body = { ciphertext: answer.ciphertext, context };
      expect((await codeOf('/v1/keys/from/decrypt', body))[0]).toBe(400);
      expect((await codeOf('/v1/keys/to/decrypt', body))[0]).toBe(200);
    }
  });

  /** Guarantees that both keys must be visible, the right must be held, and nothing is opened by it. */
  test('needs both keys and its own right', async () => {
    const old = await calls.encrypt('from', plaintext, context);
    const body = { ciphertext: base64(old), context };
    const to = (key: string) => ({ ...body, toKey: key });
    expect(await codeOf('/v1/keys/from/rewrap', to('to'), limited)).toEqual([404, 'key/not-found']);
    expect(await codeOf('/v1/keys/from/rewrap', to('nobody'), limited)).toEqual([404, 'key/not-found']);
    expect(await codeOf('/v1/keys/from/decrypt', body, limited)).toEqual([403, 'access/denied']);
    const scopes = ['keys:admin', 'keys:encrypt', 'keys:decrypt'];
    const withoutRight = await calls.createToken({ scopes });
    expect(await codeOf('/v1/keys/from/rewrap', body, withoutRight)).toEqual([403, 'access/denied']);
    await calls.must('PATCH', '/v1/keys/to', { state: 'disabled' });
    expect(await codeOf('/v1/keys/from/rewrap', to('to'))).toEqual([409, 'key/disabled']);
    await calls.must('PATCH', '/v1/keys/to', { state: 'enabled' });
    const answer = await rewrap(old);
    expect(Object.keys(answer).toSorted()).toEqual(['ciphertext', 'keyId', 'keyVersion']);
  });
});

describe('data keys', () => {
  type Items = { readonly plaintext?: string; readonly wrapped: string; readonly keyVersion: number }[];
  const make = async (body: object) =>
    (await calls.must('POST', '/v1/keys/strong/data-keys', body))['items'] as Items;

  /** Guarantees as many different keys as asked, of the size asked, each opened by decrypt under its context alone. */
  test.each([
    [1, 32],
    [3, 16],
    [100, 64],
  ])('%i of %i bytes', async (count, size) => {
    const context = { file: 'a' };
    const items = await make({ count, bytes: size, context, plaintext: true });
    expect(new Set(items.map(({ plaintext }) => plaintext)).size).toBe(count);
    expect(new Set(items.map(({ wrapped }) => messageId(bytes(wrapped)))).size).toBe(count);
    for (const { plaintext, wrapped } of items.slice(0, 3)) {
      expect(bytes(plaintext)).toHaveLength(size);
      expect(bytes(wrapped)[3]).toBe(2);
      expect(await calls.decrypt(bytes(wrapped), context)).toEqual(bytes(plaintext));
      for (const other of [{}, { file: 'b' }]) {
        expect(await codeOf('/v1/decrypt', { ciphertext: wrapped, context: other })).toEqual([
          400,
          'envelope/decryption-failed',
        ]);
      }
    }
  });

  /** Guarantees that a key in clear is given only when asked for, and one of 32 bytes is the default. */
  test('in clear only when asked', async () => {
    for (const body of [{}, { plaintext: false }]) {
      const [item, ...more] = await make(body);
      expect(more).toEqual([]);
      expect(Object.keys(item ?? {}).toSorted()).toEqual(['keyVersion', 'wrapped']);
      expect(await calls.decrypt(bytes(item?.wrapped))).toHaveLength(32);
    }
  });

  /** Guarantees the bounds of number and size. */
  test('bounds', async () => {
    for (const body of [
      { count: 0 },
      { count: 101 },
      { bytes: 15 },
      { bytes: 65 },
      { count: 1.5 },
      { count: '1' },
    ]) {
      expect(await codeOf('/v1/keys/strong/data-keys', body)).toEqual([400, 'request/invalid']);
    }
  });
});

/** Guarantees random bytes of any size asked within 1 to 65,536, never the same again, and refusal beyond. */
test('random', async () => {
  const seen = new Set<string>();
  for (const size of [1, 32, 32, 33, 65_536]) {
    const answer = bytes(String((await calls.must('POST', '/v1/random', { bytes: size }))['bytes']));
    expect(answer).toHaveLength(size);
    if (size >= 32) seen.add(answer.subarray(0, 32).toString('hex'));
    // 65,536 random bytes hold every value; a buffer not filled to its end would not.
    if (size === 65_536) expect(new Set(answer.subarray(-8192)).size).toBe(256);
  }
  expect(seen.size).toBe(4);
  for (const size of [0, -1, 65_537, 1.5, '32', null]) {
    expect(await codeOf('/v1/random', { bytes: size })).toEqual([400, 'request/invalid']);
  }
});
