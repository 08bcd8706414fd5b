import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type CredentialsRequest, createClient, tokenFromFile } from '../../src/client/node/index.ts';
import { emptyDirectory, removeDirectory } from '../support/data.ts';
import { answer, type FakeServer, failure, problem, reason, startFakeServer, token } from './support.ts';

const other = `stk_${'B'.repeat(64)}`;
const refused = problem('access/unauthenticated');

let directory: string;
let server: FakeServer;
/** What the server takes. */
let right: string;
beforeEach(async () => {
  directory = await emptyDirectory();
  right = token;
  server = await startFakeServer((response, request) => {
    if (request.headers.authorization === `Bearer ${right}`)
      answer(response, request, 200, { bytes: 'AA==' });
    else answer(response, request, 401, refused);
  });
});
afterEach(async () => {
  await server.close();
  await removeDirectory(directory);
});

/** Guarantees that a refused token is asked for anew, once, and that a second refusal is the answer. */
test('a token that was refused is renewed', async () => {
  const asked: boolean[] = [];
  const credentials = async ({ refresh }: CredentialsRequest) => {
    asked.push(refresh);
    return refresh ? other : token;
  };
  const client = createClient({ url: server.url, credentials });
  await client.random({ bytes: 1 });
  expect(asked).toEqual([false]);
  right = other;
  await client.random({ bytes: 1 });
  expect(asked).toEqual([false, false, true]);
  right = 'none';
  expect(await failure(client.random({ bytes: 1 }))).toMatchObject({
    code: 'access/unauthenticated',
    attempts: 1,
  });
  expect(asked).toEqual([false, false, true, false, true]);
  expect(server.received).toHaveLength(5);
});

/** Guarantees that what cannot be a token is not sent, is not in the error, and that credentials fail as themselves. */
test('sends no nonsense for a token', async () => {
  for (const text of ['', 'two words', 'line\nbreak', 'é', 'x'.repeat(5000), undefined, 7]) {
    const client = createClient({ url: server.url, credentials: async () => text as string });
    const error = await failure(client.random({ bytes: 1 }));
    expect([text, error.code]).toEqual([text, 'client/token-invalid']);
    if (typeof text === 'string' && text !== '') expect(inspect(error, { depth: 9 })).not.toContain(text);
  }
  const broken = new Error('the vault is sealed');
  const client = createClient({ url: server.url, credentials: () => Promise.reject(broken) });
  expect(await reason(client.random({ bytes: 1 }))).toBe(broken);
  expect(server.received).toEqual([]);
});

/** Guarantees that credentials that never come cost the time of the call, not more. */
test('does not wait for a token for ever', async () => {
  const credentials = () => new Promise<string>(() => undefined);
  const client = createClient({ url: server.url, credentials, retries: 0 });
  expect(await failure(client.random({ bytes: 1 }, { timeoutMs: 50 }))).toMatchObject({
    code: 'client/timeout',
  });
});

/** Guarantees that a token file is read again when it was replaced or its token refused, and not for each request. */
test('follows the token file', async () => {
  const file = join(directory, 'token');
  await writeFile(file, `${token}\n`);
  const client = createClient({ url: server.url, credentials: tokenFromFile(file) });
  await client.random({ bytes: 1 });
  right = other;
  await writeFile(join(directory, 'new'), `${other}\n`);
  await rename(join(directory, 'new'), file);
  await client.random({ bytes: 1 });
  expect(server.received.map(({ headers }) => headers.authorization)).toEqual([
    `Bearer ${token}`,
    `Bearer ${other}`,
  ]);
  await writeFile(file, 'two words');
  expect(await failure(client.random({ bytes: 1 }))).toMatchObject({ code: 'client/token-invalid' });
  const absent = createClient({ url: server.url, credentials: tokenFromFile(join(directory, 'none')) });
  expect(await failure(absent.random({ bytes: 1 }))).toMatchObject({
    ...{ code: 'client/token-invalid', detail: expect.stringContaining('ENOENT') },
  });
});

/** Guarantees that a token goes over no network in clear, unless that is allowed, and stands in no URL. */
test('sends nothing in clear to another machine', async () => {
  const create =
    (url: string, allowCleartext = false) =>
    () =>
      createClient({ url, credentials: token, allowCleartext });
  for (const url of [
    'http://127.0.0.1:1',
    'http://localhost:1',
    'http://[::1]:1',
    'https://kms.example',
    'http://127.9.9.9',
  ]) {
    expect(create(url)).not.toThrow();
  }
  for (const url of [
    'http://kms.example',
    'http://10.0.0.1',
    'http://localhost.example',
    'http://0.0.0.0',
    'http://[::2]',
  ]) {
    expect(create(url)).toThrow(/client\/cleartext-refused/);
    expect(create(url, true)).not.toThrow();
  }
  for (const url of [
    'nonsense',
    '',
    'ftp://kms.example',
    'https://u@kms.example',
    'https://:p@kms.example',
    'https://a/?token=x',
    'https://a/#x',
  ]) {
    expect(create(url)).toThrow(/client\/url-invalid/);
  }
});

/** Guarantees that hooks see each attempt and nothing of what was asked, and that one that fails costs no answer. */
test('hooks see no secret', async () => {
  const events: unknown[] = [];
  const hook = (event: object) => {
    events.push(event);
    throw new Error('a broken hook');
  };
  const hooks = { onRequest: hook, onAnswer: hook };
  const client = createClient({ url: server.url, credentials: token, hooks });
  await client.random({ bytes: 1 });
  right = 'none';
  const request = { key: 'a-name', plaintext: Buffer.from('plain'), context: { table: 'users' } };
  await failure(client.encrypt(request));
  const of = { method: 'POST', attempt: 1, requestId: expect.stringMatching(/^[0-9a-f]{20}-[0-9a-z]+\.1$/) };
  const random = { ...of, operationId: 'random', path: '/v1/random' };
  const encrypt = { ...of, operationId: 'encrypt', path: '/v1/keys/{key}/encrypt' };
  expect(events).toEqual([
    random,
    { ...random, status: 200, durationMs: expect.any(Number) },
    encrypt,
    { ...encrypt, status: 401, code: 'access/unauthenticated', durationMs: expect.any(Number) },
  ]);
  expect(inspect(events, { depth: 9 })).not.toMatch(/stk_|a-name|plain|cGxhaW|users/);
  expect(inspect(client, { depth: 9, showHidden: true })).not.toMatch(/stk_/);
});
