import { inspect } from 'node:util';
import { afterEach, describe, expect, test } from 'vitest';
import type { Client } from '../../src/client/index.ts';
import {
  answer,
  type FakeServer,
  failure,
  problem,
  type Received,
  type Respond,
  startFakeServer,
  token,
  transports,
} from './support.ts';

const open: FakeServer[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});

async function start(respond: Respond): Promise<FakeServer> {
  const server = await startFakeServer(respond);
  open.push(server);
  return server;
}

const ids = { mine: '01a20de5-0ca2-77f4-9509-990f50320ccc', other: '01a20de5-0d90-7595-863d-fb77c51fdb64' };
const plaintext = Buffer.from('the secret plaintext of this test');

/** A ciphertext that names a key. */
function ciphertextOf(id: string, bytes = 200): Buffer {
  const ciphertext = Buffer.alloc(bytes, 7);
  ciphertext.set([0x53, 1, 1, 1]);
  ciphertext.set(Buffer.from(id.replaceAll('-', ''), 'hex'), 4);
  return ciphertext;
}

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const mine = ciphertextOf(ids.mine);
const sealed = { ciphertext: base64(mine), keyId: ids.mine, keyVersion: 1 };
const opened = { plaintext: base64(plaintext), keyId: ids.mine, keyVersion: 1 };

/** What is asked, what a lying server says, and where the client sees it. */
const lies: [string, (client: Client) => Promise<unknown>, unknown, string][] = [
  [
    'encrypts with another key',
    (c) => c.encrypt({ key: ids.mine, plaintext }),
    { ...sealed, keyId: ids.other },
    '/keyId',
  ],
  [
    'gives a ciphertext of another key',
    (c) => c.encrypt({ key: 'payments', plaintext }),
    { ...sealed, ciphertext: base64(ciphertextOf(ids.other)) },
    '/ciphertext',
  ],
  [
    'gives too short a ciphertext',
    (c) => c.encrypt({ key: 'payments', plaintext }),
    { ...sealed, ciphertext: base64(mine.subarray(0, plaintext.length)) },
    '/ciphertext',
  ],
  [
    'decrypts with another key',
    (c) => c.decrypt({ ciphertext: mine }),
    { ...opened, keyId: ids.other },
    '/keyId',
  ],
  [
    'decrypts with another key than asked',
    (c) => c.decryptWithKey({ key: ids.mine, ciphertext: ciphertextOf(ids.other) }),
    { ...opened, keyId: ids.other },
    '/keyId',
  ],
  [
    'decrypts to too much',
    (c) => c.decrypt({ ciphertext: mine }),
    { ...opened, plaintext: base64(Buffer.alloc(200)) },
    '/plaintext',
  ],
  [
    'rewraps to another key',
    (c) => c.rewrap({ key: 'a', toKey: ids.other, ciphertext: mine }),
    sealed,
    '/keyId',
  ],
  [
    'rewraps, and names another',
    (c) => c.rewrap({ key: 'a', ciphertext: mine }),
    { ...sealed, keyId: ids.other },
    '/ciphertext',
  ],
  ['makes too few data keys', (c) => c.createDataKeys({ key: 'a', count: 2 }), { items: [] }, '/items'],
  [
    'makes short data keys',
    (c) => c.createDataKeys({ key: 'a', plaintext: true }),
    { items: [{ plaintext: 'AAAA', wrapped: base64(mine), keyVersion: 1 }] },
    '/items/0',
  ],
  [
    'gives away a data key',
    (c) => c.createDataKeys({ key: 'a' }),
    { items: [{ plaintext: base64(Buffer.alloc(32)), wrapped: base64(mine), keyVersion: 1 }] },
    '/items/0',
  ],
  [
    'opens to too little',
    (c) => c.open({ key: 'a', enc: mine, ciphertext: mine }),
    { ...opened, plaintext: base64(Buffer.alloc(183)) },
    '/plaintext',
  ],
  [
    'opens with another key',
    (c) => c.open({ key: ids.other, enc: mine, ciphertext: mine }),
    { ...opened, plaintext: base64(Buffer.alloc(184)) },
    '/keyId',
  ],
  [
    'seals something longer',
    (c) => c.seal({ key: 'a', plaintext }),
    { ...sealed, enc: 'AAAA', suite: 'x' },
    '/ciphertext',
  ],
  [
    'exports a shorter secret',
    (c) => c.sendExport({ key: 'a' }),
    { ...{ enc: 'AAAA', exported: 'AAAA', suite: 'x' }, keyId: ids.mine, keyVersion: 1 },
    '/exported',
  ],
  ['gives fewer random bytes', (c) => c.random({ bytes: 4 }), { bytes: 'AAAA' }, '/bytes'],
  ['gives no bytes', (c) => c.random({ bytes: 3 }), { bytes: 'AAA' }, '/bytes'],
  ['gives bytes in another spelling', (c) => c.random({ bytes: 1 }), { bytes: 'AB==' }, '/bytes'],
  ['gives bytes with a space', (c) => c.random({ bytes: 2 }), { bytes: 'A A=' }, '/bytes'],
  ['gives numbers', (c) => c.random({ bytes: 3 }), { bytes: 3 }, '/bytes'],
  [
    'leaves a member out',
    (c) => c.decrypt({ ciphertext: mine }),
    { ...opened, keyVersion: undefined },
    '/keyVersion',
  ],
  ['gives fractions', (c) => c.decrypt({ ciphertext: mine }), { ...opened, keyVersion: 1.5 }, '/keyVersion'],
  ['gives a list', (c) => c.decrypt({ ciphertext: mine }), [opened], ''],
  ['gives null', (c) => c.decrypt({ ciphertext: mine }), null, ''],
  ['cuts the JSON', (c) => c.decrypt({ ciphertext: mine }), JSON.stringify(opened).slice(0, -5), ''],
  ['gives more than a page', (c) => c.listKeys({ limit: 1 }), { items: [], nextCursor: 1 }, '/nextCursor'],
  [
    'makes another token',
    (c) => c.createToken({ name: 'a', scopes: ['audit:read'] }),
    { secret: 'x' },
    '/id',
  ],
  [
    'drops a result',
    (c) => c.batch({ operations: [{ operation: 'random', bytes: 1 }] }),
    { results: [] },
    '/results',
  ],
  [
    'swaps results',
    (c) => c.batch({ operations: [{ id: 'a', operation: 'random', bytes: 1 }] }),
    { results: [{ id: 'b', status: 200, bytes: 'AA==' }] },
    '/results/0/id',
  ],
  [
    'gives another kind of result',
    (c) => c.batch({ operations: [{ operation: 'random', bytes: 1 }] }),
    { results: [{ status: 200, ...opened }] },
    '/results/0/bytes',
  ],
  [
    'decrypts an item with another key',
    (c) => c.batch({ operations: [{ operation: 'decrypt', ciphertext: mine }] }),
    { results: [{ status: 200, ...opened, keyId: ids.other }] },
    '/results/0/keyId',
  ],
];

/** No part of an error, however deep it is looked into, has the token or what was to be kept secret. */
function expectNoSecrets(error: unknown): void {
  const text = inspect(error, { depth: 10, showHidden: true, getters: true });
  for (const secret of [token, token.slice(0, 20), plaintext.toString(), base64(plaintext), base64(mine)]) {
    expect(text).not.toContain(secret);
  }
}

describe.each(transports)('by %s', (_, createClient) => {
  const clientOf = ({ url }: { url: string }, options: object = {}) =>
    createClient({ url, credentials: token, retries: 0, ...options });

  /** Guarantees that an answer that cannot be the answer to its request is none, and that the error has no secret. */
  test.each(lies)('notices a server that %s', async (_what, call, lie, place) => {
    const server = await start((response, request) => answer(response, request, 200, lie));
    const error = await failure(call(clientOf(server)));
    expect(error).toMatchObject({ code: 'client/answer-invalid', status: 200 });
    expect(error.detail).toContain(`at "${place}"`);
    expectNoSecrets(error);
  });

  /** Guarantees that an answer kept from an earlier request is not taken for this one's, unless that is asked for. */
  test('notices a replayed answer', async () => {
    const first = Promise.withResolvers<Received>();
    const server = await start((response, request) => {
      first.resolve(request);
      void first.promise.then((earlier) => answer(response, earlier, 200, opened));
    });
    const client = clientOf(server);
    expect((await client.decrypt({ ciphertext: mine })).plaintext).toEqual(Uint8Array.from(plaintext));
    const error = await failure(client.decrypt({ ciphertext: mine }));
    expect(error).toMatchObject({
      code: 'client/answer-invalid',
      detail: expect.stringContaining('X-Request-Id'),
    });
    const trusting = clientOf(server, { verifyRequestId: false });
    expect((await trusting.decrypt({ ciphertext: mine })).keyVersion).toBe(1);
  });

  /** Guarantees that what is no Stathera service is told as such, whatever it answers, and that no answer of it is taken. */
  test('notices another server', async () => {
    const cases: [number, string | undefined, string | undefined, string][] = [
      [200, 'application/json', undefined, 'client/not-stathera'],
      [404, 'text/html', undefined, 'client/not-stathera'],
      [401, 'application/problem+json', undefined, 'client/not-stathera'],
      [200, 'text/html', '2026-11-24', 'client/answer-invalid'],
      [200, undefined, '2026-11-24', 'client/answer-invalid'],
      [204, undefined, '2026-11-24', 'client/answer-invalid'],
      [404, 'application/json', '2026-11-24', 'client/answer-invalid'],
    ];
    let at = 0;
    const server = await start((response, request) => {
      const [status, type, version] = cases[at++]!;
      const body = status === 204 ? '' : JSON.stringify(status === 200 ? opened : problem('key/not-found'));
      answer(response, request, status, body, { 'content-type': type, 'stathera-version': version });
    });
    for (const [status, , , code] of cases) {
      const error = await failure(clientOf(server).decrypt({ ciphertext: mine }));
      expect([error.status, error.code]).toEqual([status, code]);
      expectNoSecrets(error);
    }
  });

  /** Guarantees that a redirect is not followed: neither token nor body reaches another server. */
  test.each([301, 302, 303, 307, 308])('does not follow %i', async (status) => {
    const elsewhere = await start((response, request) => answer(response, request, 200, opened));
    const server = await start((response, request) =>
      answer(response, request, status, '', { location: `${elsewhere.url}/v1/decrypt` }),
    );
    const error = await failure(clientOf(server).decrypt({ ciphertext: mine }));
    expect(error).toMatchObject({
      code: 'client/not-stathera',
      detail: expect.stringContaining('redirects'),
    });
    expect(elsewhere.received).toEqual([]);
  });

  /** Guarantees that a server that repeats the token, or sends what terminals obey, gets neither into an error. */
  test('keeps problems clean', async () => {
    const server = await start((response, request) =>
      answer(response, request, 400, {
        ...problem('request/invalid', `no \u001b[31m${token} \u202e here ${'long '.repeat(1000)}`),
        errors: [{ pointer: `/${token}`, detail: 'x\u0007' }, 'nonsense', null],
      }),
    );
    const error = await failure(clientOf(server).decrypt({ ciphertext: mine }));
    expectNoSecrets(error);
    expect(error.detail.length).toBeLessThanOrEqual(1_000);
    expect(error.message).not.toMatch(/[\p{C}]/u);
    expect(error.errors).toEqual([{ pointer: '/[token]', detail: 'x ' }]);
  });

  /** Guarantees that a list that leads to itself ends, and one whose pages are empty goes on. */
  test('ends a list that has no end', async () => {
    const server = await start((response, request, attempt) =>
      answer(response, request, 200, { items: [], nextCursor: attempt < 5 ? `page-${attempt}` : 'page-4' }),
    );
    const all = async () => {
      for await (const _ of clientOf(server).listKeys.all()) throw new Error('there is no key');
    };
    expect(await failure(all())).toMatchObject({
      code: 'client/answer-invalid',
      message: expect.stringContaining('leads to itself'),
    });
    expect(server.received.map(({ url }) => new URLSearchParams(url.split('?')[1]).get('cursor'))).toEqual([
      ...[null, 'page-1', 'page-2', 'page-3', 'page-4'],
    ]);
  });
});
