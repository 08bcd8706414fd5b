import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Client, createClient, StatheraError } from '../../src/client/node/index.ts';
import { startTestService, type TestService } from '../support/service.ts';

let service: TestService;
let client: Client;
beforeAll(async () => {
  service = await startTestService();
  client = createClient({ url: service.url, credentials: service.token });
});
afterAll(() => service.dispose());

/** What a call rejects with. */
async function failure(call: Promise<unknown>): Promise<StatheraError> {
  const error: unknown = await call.then(
    () => new Error('it succeeded'),
    (reason: unknown) => reason,
  );
  if (error instanceof StatheraError) return error;
  throw error;
}

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

/** Guarantees that a refusal of the service is an error with its code, status, rules and request id. */
test('refusals are typed', async () => {
  expect(await failure(client.getKey({ key: 'absent' }))).toMatchObject({
    ...{ code: 'key/not-found', status: 404, operationId: 'getKey', attempts: 1 },
    requestId: expect.stringMatching(/^[0-9a-f]{32}\.1$/),
  });
  expect(await failure(client.createKey({ name: 'UPPER' }))).toMatchObject({
    code: 'request/invalid',
    errors: [{ pointer: '/name', detail: 'does not have the required form' }],
  });
});
