import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestService, type TestService } from '../support/service.ts';

let service: TestService;
beforeAll(async () => {
  service = await startTestService();
});
afterAll(() => service.dispose());

/** Guarantees that a token that ends cannot live on through one it makes. */
test('gives no token a longer life than its maker', async () => {
  const ends = new Date(Date.now() + 3_600_000).toISOString();
  const later = new Date(Date.now() + 7_200_000).toISOString();
  const make = (body: object, token = service.token) =>
    service.call('POST', '/v1/access/tokens', { scopes: ['access:admin'], ...body }, { token });
  const admin = await make({ name: 'short-lived', expiresAt: ends });
  const secret = String(admin.body['secret']);
  for (const body of [{ name: 'endless' }, { name: 'longer', expiresAt: later }]) {
    expect((await make(body, secret)).body).toMatchObject({ code: 'access/denied' });
  }
  expect((await make({ name: 'as-long', expiresAt: ends }, secret)).status).toBe(201);
});

/** Guarantees that lists refuse a cursor that no page gave out, each in the same way. */
test.each(['/v1/keys', '/v1/access/tokens', '/v1/access/namespaces'])(
  '%s refuses a made-up cursor',
  async (path) => {
    const answer = await service.call('GET', `${path}?cursor=zzz`);
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ code: 'request/invalid', errors: [{ pointer: '#query/cursor' }] });
  },
);
