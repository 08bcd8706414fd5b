import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startTestService, type TestService } from '../support/service.ts';
import { base64, bytes, type Context, driver, flipped, overwritten, withoutRequestId } from './support.ts';

let service: TestService;
let calls: ReturnType<typeof driver>;
let mine: string;
let ciphertext: Buffer;
const context: Context = { table: 'users', row: '42' };
const plaintext = Buffer.from('hello');

beforeAll(async () => {
  service = await startTestService();
  calls = driver(service);
  mine = (await calls.createKey('mine')).id;
  await calls.createKey('other');
  ciphertext = await calls.encrypt('mine', plaintext, context);
  await refusal({ ciphertext: '' });
});
afterAll(() => service.dispose());

/** The one answer that every undecryptable ciphertext gets: status, headers that could tell, body. */
let theAnswer: string | undefined;

async function answerTo(path: string, body: object, token?: string): Promise<string> {
  const answer = await service.call('POST', path, body, token === undefined ? {} : { token });
  const { headers, status, text } = answer;
  const shown = ['content-type', 'content-length', 'cache-control', 'retry-after'].map((name) =>
    headers.get(name),
  );
  return JSON.stringify([status, shown, withoutRequestId(text)]);
}

/** How a single decrypt is refused, in the terms of `theAnswer`. */
async function refusal(
  body: object,
  { path = '/v1/decrypt', token }: { path?: string; token?: string } = {},
) {
  const answer = await answerTo(path, body, token);
  theAnswer ??= answer;
  return answer;
}

/** Every different answer to decrypting these, by batches; a key is named in every other item. */
async function answersToAll(forgeries: readonly Buffer[], pairs: Context = context): Promise<Set<string>> {
  const answers = new Set<string>();
  for (let at = 0; at < forgeries.length; at += 1000) {
    const operations = forgeries.slice(at, at + 1000).map((forged, index) => ({
      ...{ operation: 'decrypt', ciphertext: base64(forged), context: pairs },
      ...(index % 2 === 1 && { key: 'mine' }),
    }));
    for (const result of await calls.batch(operations)) answers.add(withoutRequestId(JSON.stringify(result)));
  }
  return answers;
}

const onlyAnswer = new Set([
  JSON.stringify({
    status: 400,
    problem: {
      type: '/docs/problems#envelope/decryption-failed',
      title: 'Decryption failed',
      status: 400,
      detail: 'The ciphertext cannot be decrypted with this key and context.',
      code: 'envelope/decryption-failed',
      requestId: '',
    },
  }),
]);

/** Guarantees what a failed decryption says: the code, no reason. */
test('the answer tells no reason', () => {
  const [status, , text] = JSON.parse(theAnswer ?? '[]') as [number, unknown, string];
  expect(status).toBe(400);
  expect(new Set([JSON.stringify({ status, problem: JSON.parse(text) })])).toEqual(onlyAnswer);
});

/** Guarantees that no bit of a ciphertext can change: header, ids, nonce, commitment, payload, tag. */
test('every flipped bit', async () => {
  expect(await calls.decrypt(ciphertext, context)).toEqual(plaintext);
  const forgeries = Array.from({ length: ciphertext.length * 8 }, (_, bit) => flipped(ciphertext, bit));
  expect(await answersToAll(forgeries)).toEqual(onlyAnswer);
});

/** Guarantees that ciphertexts cut anywhere, at either end, or made longer are refused, the empty one too. */
test('every other length', async () => {
  const cut = Array.from({ length: ciphertext.length }, (_, length) => ciphertext.subarray(0, length));
  const beheaded = Array.from({ length: ciphertext.length }, (_, at) => ciphertext.subarray(at + 1));
  const longer = [1, 2, 15, 16, 17, 32, 4096].flatMap((more) => [
    Buffer.concat([ciphertext, Buffer.alloc(more)]),
    Buffer.concat([ciphertext, randomBytes(more)]),
    Buffer.concat([ciphertext, ciphertext]).subarray(0, ciphertext.length + more),
  ]);
  expect(await answersToAll([...cut, ...beheaded, ...longer])).toEqual(onlyAnswer);
});

/** Guarantees that the context is bound pair by pair: none can be changed, dropped, added, split or moved. */
test('every other context', async () => {
  const others: Context[] = [
    {},
    { table: 'users' },
    { row: '42' },
    { ...context, more: '' },
    { table: 'users', row: '43' },
    { table: 'users', row: '42 ' },
    { table: 'users', row: '' },
    { table: 'users', Row: '42' },
    { table: '42', row: 'users' },
    { users: 'table', row: '42' },
    { users: 'table', '42': 'row' },
    { tableusers: '', row: '42' },
    { table: 'usersrow', '42': '' },
    { tabl: 'eusers', row: '42' },
    { table: 'users', row: '4', '2': '' },
  ];
  for (const pairs of others) {
    expect(await answersToAll([ciphertext], pairs), JSON.stringify(pairs)).toEqual(onlyAnswer);
  }
  const empty = await calls.encrypt('mine', plaintext, { note: '' });
  for (const pairs of [{}, { note: ' ' }, { note: '', '0': '' }, { other: '' }]) {
    expect(await answersToAll([empty], pairs)).toEqual(onlyAnswer);
  }
  const none = await calls.encrypt('mine', plaintext);
  expect(await answersToAll([none], { note: '' })).toEqual(onlyAnswer);
  expect(await calls.decrypt(none, {})).toEqual(plaintext);
});

const idAt = { key: 4, version: 20, message: 36, nonce: 52 };

/** Guarantees that parts of two sound ciphertexts cannot be put together, of one key or of several. */
test('spliced ciphertexts', async () => {
  const older = await calls.encrypt('mine', plaintext, context);
  await calls.must('POST', '/v1/keys/mine/rotate', {});
  const newer = await calls.encrypt('mine', plaintext, context);
  const foreign = await calls.encrypt('other', plaintext, context);
  expect(older.subarray(idAt.key, idAt.version)).toEqual(newer.subarray(idAt.key, idAt.version));
  expect(older.subarray(idAt.version, idAt.message)).not.toEqual(newer.subarray(idAt.version, idAt.message));
  const take = (from: Buffer, at: number, length: number) => from.subarray(at, at + length);
  const forgeries = [
    overwritten(newer, idAt.version, take(older, idAt.version, 16)),
    overwritten(older, idAt.version, take(newer, idAt.version, 16)),
    overwritten(newer, idAt.message, take(older, idAt.message, 16)),
    overwritten(newer, idAt.nonce, take(older, idAt.nonce, 12)),
    overwritten(newer, newer.length - 16, older.subarray(-16)),
    overwritten(newer, 64, older.subarray(64)),
    overwritten(newer, 0, foreign.subarray(0, 64)),
    overwritten(newer, idAt.key, take(foreign, idAt.key, 16)),
    overwritten(newer, idAt.key, take(foreign, idAt.key, 32)),
    overwritten(newer, idAt.version, take(foreign, idAt.version, 16)),
    overwritten(newer, idAt.version, take(newer, idAt.key, 16)),
  ];
  expect(await answersToAll(forgeries)).toEqual(onlyAnswer);
  for (const sound of [older, newer]) expect(await calls.decrypt(sound, context)).toEqual(plaintext);
});

/** Guarantees that a message is not taken for a data key, nor a data key for a message. */
test('kinds cannot be swapped', async () => {
  const body = { context, plaintext: true };
  const made = await calls.must('POST', '/v1/keys/mine/data-keys', body);
  const [item] = made['items'] as { wrapped: string; plaintext: string }[];
  const wrapped = bytes(item?.wrapped);
  expect([ciphertext[3], wrapped[3]]).toEqual([1, 2]);
  expect(await calls.decrypt(wrapped, context)).toEqual(bytes(item?.plaintext));
  const kinds = [0, 2, 3, 255].map((kind) => overwritten(ciphertext, 3, Uint8Array.of(kind)));
  expect(await answersToAll([...kinds, overwritten(wrapped, 3, Uint8Array.of(1))])).toEqual(onlyAnswer);
});

/** Guarantees that what others made, and what other versions of the format will make, is refused like the rest. */
test('foreign formats', async () => {
  const byte = (at: number, ...values: number[]) =>
    values.map((value) => overwritten(ciphertext, at, Uint8Array.of(value)));
  const awsHeader = Buffer.from('0102020078', 'hex');
  const forgeries = [
    ...[0, 1, 16, 48, 64, 111, 112, 117, 500, 4096, 8000].map((length) => randomBytes(length)),
    ...[0, 112, 300].map((length) => Buffer.alloc(length)),
    Buffer.from(`vault:v1:${randomBytes(60).toString('base64')}`),
    Buffer.concat([awsHeader, randomBytes(180)]),
    Buffer.from('eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA'),
    ...byte(0, 0, 0x73, 0xff),
    ...byte(1, 0, 2, 3, 255),
    ...byte(2, 0, 2, 3, 255),
    overwritten(ciphertext, idAt.key, new Uint8Array(16)),
    overwritten(ciphertext, idAt.key, new Uint8Array(16).fill(0xff)),
    overwritten(ciphertext, idAt.version, new Uint8Array(16)),
    overwritten(ciphertext, idAt.version, new Uint8Array(16).fill(0xff)),
  ];
  expect(await answersToAll(forgeries)).toEqual(onlyAnswer);
});

/** Guarantees that a ciphertext of one key is not opened in the name of another, by name or by id. */
test('another key', async () => {
  const body = { ciphertext: base64(ciphertext), context };
  const otherId = String((await calls.must('GET', '/v1/keys/other'))['id']);
  for (const key of ['other', otherId, 'nobody', '019300d4-0000-7000-8000-000000000000']) {
    expect(await refusal(body, { path: `/v1/keys/${key}/decrypt` }), key).toBe(theAnswer);
    expect(await refusal(body, { path: `/v1/keys/${key}/rewrap` }), key).toBe(theAnswer);
  }
  for (const key of ['mine', mine]) {
    expect((await service.call('POST', `/v1/keys/${key}/decrypt`, body)).status).toBe(200);
  }
});

describe('who may not see the key', () => {
  const callers = new Map<string, string>();
  beforeAll(async () => {
    const scopes = ['keys:encrypt', 'keys:decrypt', 'keys:rewrap'];
    await calls.must('POST', '/v1/access/namespaces', { name: 'elsewhere' });
    callers.set('another prefix', await calls.createToken({ scopes, keys: ['other*'] }));
    callers.set('a longer name', await calls.createToken({ scopes, keys: ['mine-too', 'min'] }));
    callers.set('another namespace', await calls.createToken({ scopes, namespace: 'elsewhere' }));
  });

  /** Guarantees that a hidden key, a key of another namespace and one that does not exist give one answer, sound ciphertext or not. */
  test.each(['another prefix', 'a longer name', 'another namespace'])('%s', async (name) => {
    const token = callers.get(name) ?? '';
    const unknown = overwritten(ciphertext, idAt.key + 10, randomBytes(6));
    for (const subject of [ciphertext, unknown, flipped(ciphertext, 600), randomBytes(120)]) {
      const body = { ciphertext: base64(subject), context };
      for (const path of [
        '/v1/decrypt',
        '/v1/keys/mine/decrypt',
        `/v1/keys/${mine}/decrypt`,
        '/v1/keys/mine/rewrap',
      ]) {
        expect(await refusal(body, { path, token }), path).toBe(theAnswer);
      }
    }
    const [first] = await calls.batch([{ operation: 'decrypt', ciphertext: base64(ciphertext), context }], {
      token,
    });
    expect(new Set([withoutRequestId(JSON.stringify(first))])).toEqual(onlyAnswer);
  });

  /** Guarantees that only who may see a key learns that it, or its version, is disabled; before any cryptography. */
  test('disabled keys and versions', async () => {
    const { id } = await calls.createKey('asleep');
    const sealed = await calls.encrypt('asleep', plaintext, context);
    const forged = flipped(sealed, sealed.length * 8 - 1);
    const code = async (path: string, subject: Buffer, pairs: Context = context) => {
      const answer = await service.call('POST', path, { ciphertext: base64(subject), context: pairs });
      return [answer.status, answer.body['code'] ?? ''];
    };
    const states = [
      { path: '/v1/keys/asleep/versions/1', code: 'key/version-disabled' },
      { path: '/v1/keys/asleep', code: 'key/disabled' },
    ];
    for (const state of states) {
      await calls.must('PATCH', state.path, { state: 'disabled' });
      for (const path of ['/v1/decrypt', '/v1/keys/asleep/decrypt', '/v1/keys/asleep/rewrap']) {
        for (const subject of [sealed, forged]) expect(await code(path, subject)).toEqual([409, state.code]);
        expect(await code(path, sealed, {})).toEqual([409, state.code]);
      }
      for (const operation of ['encrypt', 'data-keys']) {
        const body = operation === 'encrypt' ? { plaintext: '' } : {};
        const answer = await service.call('POST', `/v1/keys/asleep/${operation}`, body);
        expect([answer.status, answer.body['code']]).toEqual([409, state.code]);
      }
      for (const [name, token] of callers) {
        const body = { ciphertext: base64(sealed), context };
        expect(await refusal(body, { token }), name).toBe(theAnswer);
        expect(await refusal(body, { path: `/v1/keys/${id}/decrypt`, token }), name).toBe(theAnswer);
      }
      await calls.must('PATCH', state.path, { state: 'enabled' });
    }
    expect(await calls.decrypt(sealed, context)).toEqual(plaintext);
    await calls.must('PATCH', '/v1/keys/asleep/versions/1', { state: 'decrypt-only' });
    expect(await calls.decrypt(sealed, context)).toEqual(plaintext);
    const refused = await service.call('POST', '/v1/keys/asleep/encrypt', { plaintext: '' });
    expect([refused.status, refused.body['code']]).toEqual([409, 'key/version-disabled']);
  });
});
