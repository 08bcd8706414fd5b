import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Client, createClient } from '../../src/client/node/index.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { failure, startFakeServer, transports } from './support.ts';

let service: TestService;
let client: Client;
beforeAll(async () => {
  service = await startTestService();
  client = createClient({ url: service.url, credentials: service.token });
});
afterAll(() => service.dispose());

const context = { table: 'users', row: '42' };

/** Guarantees that bytes come back as they went, through every operation that takes or gives some. */
test('encrypts, rewraps and decrypts bytes', async () => {
  const key = await client.createKey({ name: 'payments', tags: { team: 'checkout' } });
  for (const length of [0, 1, 2, 3, 1000, 4096]) {
    const plaintext = randomBytes(length);
    const sealed = await client.encrypt({ key: 'payments', plaintext, context });
    expect(sealed).toMatchObject({ keyId: key.id, keyVersion: 1 });
    const moved = await client.rewrap({ key: key.id, ciphertext: sealed.ciphertext, context, toContext: {} });
    expect((await client.decrypt({ ciphertext: sealed.ciphertext, context })).plaintext).toEqual(
      Uint8Array.from(plaintext),
    );
    expect((await client.decryptWithKey({ key: key.id, ciphertext: moved.ciphertext })).plaintext).toEqual(
      Uint8Array.from(plaintext),
    );
  }
  const { items } = await client.createDataKeys({
    key: key.id,
    count: 3,
    bytes: 16,
    plaintext: true,
    context,
  });
  for (const { plaintext, wrapped } of items) {
    expect((await client.decrypt({ ciphertext: wrapped, context })).plaintext).toEqual(plaintext);
  }
  expect((await client.random({ bytes: 33 })).bytes).toHaveLength(33);
});

/** Guarantees that bytes which may be left out may, that others may not, and that nothing else passes for bytes. */
test('bytes that may be left out', async () => {
  await client.createKey({ name: 'pair', purpose: 'exchange' });
  const made = await client.encapsulate({ key: 'pair' });
  const opened = await client.decapsulate({ key: 'pair', ciphertext: made.ciphertext });
  expect(opened.sharedSecret).toEqual(made.sharedSecret);
  const { ciphertext, confirmation, expectedConfirmation } = made;
  const confirmed = await client.confirm({ key: 'pair', ciphertext, confirmation });
  expect(confirmed.confirmation).toEqual(expectedConfirmation);
  const { enc, exported } = await client.sendExport({ key: 'pair' });
  expect((await client.receiveExport({ key: 'pair', enc })).exported).toEqual(exported);
  const sealed = await client.seal({ key: 'pair', plaintext: randomBytes(9) });
  const message = { key: 'pair', enc: sealed.enc, ciphertext: sealed.ciphertext, info: new Uint8Array() };
  expect((await client.open(message)).plaintext).toHaveLength(9);
  for (const input of [{ ciphertext: undefined }, { ciphertext: made.ciphertext, info: 'AAAA' }])
    await expect(client.decapsulate({ key: 'pair', ...input } as never)).rejects.toThrow(TypeError);
});

/** Guarantees that a refusal of the service is an error with its code, status, rules and request id. */
test('refusals are typed', async () => {
  expect(await failure(client.getKey({ key: 'absent' }))).toMatchObject({
    ...{ code: 'key/not-found', status: 404, operationId: 'getKey', attempts: 1 },
    requestId: expect.stringMatching(/^[0-9a-f]{20}-[0-9a-z]+\.1$/),
  });
  expect(await failure(client.createKey({ name: 'UPPER' }))).toMatchObject({
    code: 'request/invalid',
    errors: [{ pointer: '/name', detail: 'does not have the required form' }],
  });
});

/** Guarantees that the other operations reach the service with all their members, and give what it answers. */
test('manages keys, tokens and namespaces', async () => {
  const { id } = await client.createKey({
    name: 'managed',
    algorithm: 'aes-128-gcm',
    description: 'of the test',
  });
  expect(await client.updateKey({ key: id, tags: { a: 'b' } })).toMatchObject({ tags: { a: 'b' } });
  expect(await client.rotateKey({ key: 'managed' })).toMatchObject({ id, currentVersion: 2 });
  expect(await client.updateKeyVersion({ key: id, version: 1, state: 'decrypt-only' })).toMatchObject({
    version: 1,
  });
  const versions = await client.listKeyVersions({ key: id, limit: 1 });
  expect(versions.items).toMatchObject([{ version: 2, state: 'enabled' }]);
  const next = await client.listKeyVersions({ key: id, limit: 1, cursor: versions.nextCursor });
  expect(next).toMatchObject({ items: [{ version: 1, state: 'decrypt-only' }] });
  await client.createNamespace({ name: 'retail' });
  expect((await client.listNamespaces()).items.map(({ name }) => name)).toEqual(['default', 'retail']);
  const expiresAt = '2099-01-01T00:00:00.000Z';
  const made = await client.createToken({
    name: 'narrow',
    scopes: ['keys:encrypt'],
    keys: ['man*'],
    expiresAt,
  });
  expect(made).toMatchObject({ keys: ['man*'], expiresAt, secret: expect.stringMatching(/^stk_/) });
  const narrow = createClient({ url: service.url, credentials: made.secret });
  await narrow.encrypt({ key: id, plaintext: new Uint8Array(1) });
  expect(await failure(narrow.createKey({ name: 'more' }))).toMatchObject({
    code: 'access/denied',
    status: 403,
  });
  await client.revokeToken({ id: made.id });
  expect(await failure(narrow.getKey({ key: id }))).toMatchObject({ code: 'access/unauthenticated' });
  expect((await client.listTokens()).items.at(-1)).toMatchObject({
    id: made.id,
    revokedAt: expect.any(String),
  });
  expect(await client.listAuditRecords({ action: 'keys.rotate' })).toMatchObject({
    items: [{ target: { id }, outcome: 'allowed', principal: { kind: 'token' } }],
  });
});

/** Guarantees that each item of a batch gives what its operation gives, or its own problem. */
test('batches', async () => {
  const plaintext = randomBytes(20);
  const { ciphertext } = await client.encrypt({ key: 'payments', plaintext, context });
  const { results } = await client.batch({
    operations: [
      { id: 'a', operation: 'encrypt', key: 'payments', plaintext },
      { operation: 'decrypt', ciphertext, context },
      { operation: 'decrypt', ciphertext },
      { operation: 'data-keys', key: 'payments', plaintext: true },
      { operation: 'random', bytes: 3 },
      { operation: 'rewrap', key: 'payments', ciphertext, context },
    ],
  });
  expect(results).toMatchObject([
    { id: 'a', status: 200, keyVersion: 1 },
    { status: 200, plaintext: Uint8Array.from(plaintext) },
    { status: 400, problem: { code: 'envelope/decryption-failed' } },
    { status: 200, items: [{ plaintext: expect.any(Uint8Array), wrapped: expect.any(Uint8Array) }] },
    { status: 200, bytes: expect.any(Uint8Array) },
    { status: 200, ciphertext: expect.any(Uint8Array) },
  ]);
});

/** Guarantees that each result of a batch has the type of its item's operation, as compiling this test shows. */
test('results of a batch are typed', async () => {
  const { results } = await client.batch({
    operations: [
      { operation: 'random', bytes: 5 },
      { operation: 'encrypt', key: 'payments', plaintext: new Uint8Array(2) },
    ],
  });
  const [random, sealed] = results;
  if ('problem' in random || 'problem' in sealed) throw new Error('an item failed');
  expect([random.bytes.length, sealed.keyVersion]).toEqual([5, 1]);
});

/** Guarantees that the pages beside the interface can be asked for, without the token where none is needed. */
test('asks how the service is', async () => {
  const stranger = createClient({ url: service.url, credentials: () => Promise.reject(new Error('asked')) });
  expect(await stranger.system.health()).toEqual({ status: 'ok' });
  expect(await stranger.system.ready()).toMatchObject({ status: 'ready', checks: { hsm: 'ok' } });
  expect(await client.service.metrics()).toMatch(/^stathera_http_connections \d+$/m);
});

/** Guarantees that a list is read page by page, as far as it is wanted, and ends when it is told. */
test('lists all', async () => {
  const names: string[] = [];
  for (let index = 0; index < 7; index++)
    names.push((await client.createKey({ name: `listed-${index}` })).name);
  const pages: string[] = [];
  const watching = createClient({
    ...{ url: service.url, credentials: service.token },
    hooks: { onRequest: ({ operationId }) => void pages.push(operationId) },
  });
  const found: string[] = [];
  for await (const { name } of watching.listKeys.all({ limit: 2 }))
    if (names.includes(name)) found.push(name);
  expect(found).toEqual(names);
  expect(pages.length).toBeGreaterThanOrEqual(4);
  pages.length = 0;
  for await (const _ of watching.listKeys.all({ limit: 2 })) break;
  expect(pages).toHaveLength(1);
  const some: string[] = [];
  for await (const { name } of watching.listKeys.all({ limit: 2 }, { maxItems: 3 })) some.push(name);
  expect([some.length, pages.length]).toEqual([3, 3]);
  const controller = new AbortController();
  const ended = (async () => {
    for await (const _ of watching.listKeys.all({ limit: 1 }, { signal: controller.signal }))
      controller.abort();
  })();
  await expect(ended).rejects.toMatchObject({ name: 'AbortError' });
});

/** Guarantees that what no path can carry is refused before it is sent, and that text is not taken for bytes. */
test('refuses what would be something else', async () => {
  for (const key of ['..', '.', '', '\ud800']) {
    expect(await failure(client.getKey({ key }))).toMatchObject({
      code: 'request/invalid',
      status: undefined,
    });
  }
  for (const key of ['../access/tokens', 'a/b', 'a?limit=1', '%2e%2e', 'a b', 'ü']) {
    expect(await failure(client.getKey({ key }))).toMatchObject({ code: 'request/invalid', status: 400 });
  }
  const plaintext = 'aGVsbG8=' as unknown as Uint8Array;
  await expect(client.encrypt({ key: 'payments', plaintext })).rejects.toThrow(TypeError);
  const operations = [{ operation: 'encrypt', key: 'payments', plaintext }] as const;
  await expect(client.batch({ operations })).rejects.toThrow(TypeError);
  const idempotencyKey = 'line\nbreak';
  await expect(client.createKey({ name: 'x' }, { idempotencyKey })).rejects.toThrow(TypeError);
});

/** Guarantees that connections are kept: many calls one after the other use one, many at once as many as allowed. */
test.each(transports)('reuses connections by %s', async (name, create) => {
  const answers = await startFakeServer((response, request) => {
    const headers = { 'stathera-version': 'x', 'x-request-id': String(request.headers['x-request-id']) };
    if (request.method === 'DELETE') response.writeHead(204, headers).end();
    else response.writeHead(200, { 'content-type': 'application/json', ...headers }).end('{"bytes":"AA=="}');
  });
  const measured = create({ url: answers.url, credentials: 'a-token', connections: 4 });
  for (let index = 0; index < 50; index++) {
    await measured.random({ bytes: 1 });
    // An answer without a body gives its connection back too.
    await measured.revokeToken({ id: 'x' });
  }
  // Node's fetch may ask for the next before it has put the last one back.
  expect(answers.connections()).toBeLessThanOrEqual(name === 'fetch' ? 3 : 1);
  await Promise.all(Array.from({ length: 200 }, () => measured.random({ bytes: 1 })));
  if (name === 'node:http') expect(answers.connections()).toBeLessThanOrEqual(4);
  await answers.close();

  const before = await openConnections();
  const real = create({ url: service.url, credentials: service.token });
  for (let index = 0; index < 50; index++) await real.random({ bytes: 1 });
  expect((await openConnections()) - before).toBeLessThanOrEqual(1);
});

async function openConnections(): Promise<number> {
  const { text } = await service.call('GET', '/metrics');
  return Number(/^stathera_http_connections (\d+)$/m.exec(text)?.[1]);
}

/** Guarantees that a creation whose answer was lost on the way is made once, and its answer is got after all. */
test.each(transports)('makes one key although its answer is lost, by %s', async (name, create) => {
  const proxy = await startFakeServer((response, request, attempt) => {
    const { authorization, 'x-request-id': id, 'idempotency-key': idempotency } = request.headers;
    const headers = { 'idempotency-key': String(idempotency), 'x-request-id': String(id) };
    const token = String(authorization).replace('Bearer ', '');
    void service.call(request.method, request.url, request.body, { token, headers }).then((answer) => {
      if (attempt === 1) response.destroy();
      else response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(answer.text);
    });
  });
  const lossy = create({ url: proxy.url, credentials: service.token, retries: { backoffMs: 1 } });
  const key = await lossy.createKey({ name: name.replace(':', '-') });
  expect(await client.getKey({ key: key.id })).toMatchObject({ name: key.name, currentVersion: 1 });
  expect(proxy.received).toHaveLength(2);
  await proxy.close();
});
