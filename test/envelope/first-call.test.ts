import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestService, type TestService } from '../support/service.ts';

let service: TestService;
beforeAll(async () => {
  service = await startTestService();
});
afterAll(() => service.dispose());

/** Guarantees the first calls of the README: create a key, encrypt, decrypt in any order of context. */
test('opens what it sealed', async () => {
  expect((await service.call('POST', '/v1/keys', { name: 'payments' })).status).toBe(201);
  const sealed = await service.call('POST', '/v1/keys/payments/encrypt', {
    plaintext: 'aGVsbG8=',
    context: { table: 'users', row: '42' },
  });
  expect(sealed.status).toBe(200);
  const opened = await service.call('POST', '/v1/decrypt', {
    ciphertext: sealed.body['ciphertext'],
    context: { row: '42', table: 'users' },
  });
  expect(opened.body).toMatchObject({ plaintext: 'aGVsbG8=', keyVersion: 1 });
});
