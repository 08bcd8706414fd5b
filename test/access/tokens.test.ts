import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestService, type TestService } from '../support/service.ts';
import { auditRecords, comparable, created, freshName, makeToken, rowsOf } from './support.ts';

let service: TestService;
beforeAll(async () => {
  service = await startTestService();
});
afterAll(() => service.dispose());

interface ListedToken {
  readonly id: string;
  readonly name: string;
  readonly revokedAt?: string;
}

async function listTokens(): Promise<{ items: ListedToken[]; text: string }> {
  const answer = await service.call('GET', '/v1/access/tokens?limit=1000');
  expect(answer.status).toBe(200);
  return { items: answer.body['items'] as ListedToken[], text: answer.text };
}

const use = (token: string) => service.call('GET', '/v1/keys', undefined, { token });

/** Guarantees that a token's secret is in the answer that made it and nowhere else: not in lists, not in the database. */
test('shows a secret once and keeps its hash', async () => {
  const name = freshName('shown');
  const expiresAt = new Date(Date.now() + 3_600_000).toISOString();
  const answer = await service.call('POST', '/v1/access/tokens', {
    ...{ name, scopes: ['keys:encrypt', 'keys:encrypt'], keys: ['pay*', 'pay*'], expiresAt },
  });
  const { secret, ...shown } = answer.body as Record<string, string>;
  expect(answer.status).toBe(201);
  expect(secret).toMatch(/^stk_[A-Za-z0-9_-]{64}$/);
  expect(shown).toEqual({
    ...{ id: expect.any(String), name, namespace: 'default', scopes: ['keys:encrypt'], keys: ['pay*'] },
    ...{ createdAt: expect.any(String), expiresAt },
  });
  const { items, text } = await listTokens();
  expect(items.find((item) => item.name === name)).toEqual(shown);
  const bytes = Buffer.from((secret ?? '').slice(4), 'base64url').subarray(16);
  expect(text).not.toContain(secret?.slice(30));
  const rows = await rowsOf(service, 'select * from tokens where name = $1', name);
  expect(rows).toHaveLength(1);
  expect(rows[0]?.['secret_hash']).toEqual(createHash('sha256').update(bytes).digest());
  const values = Object.values(rows[0] ?? {}).map((value) =>
    Buffer.isBuffer(value) ? value.toString('hex') : String(value),
  );
  expect(values.join(' ')).not.toContain(bytes.toString('hex'));
  expect(values.join(' ')).not.toContain(secret?.slice(30));
});

/** Guarantees that a token works until the moment it expires and not from then on; the past is no expiry. */
test('expires on time', async () => {
  const expires = Date.now() + 4_000;
  const token = await makeToken(service, {
    scopes: ['keys:admin'],
    expiresAt: new Date(expires).toISOString(),
  });
  const seen: { status: number; before: number; after: number }[] = [];
  do {
    const before = Date.now();
    const { status } = await use(token.secret);
    seen.push({ status, before, after: Date.now() });
    await delay(20);
  } while (Date.now() < expires + 200);
  expect(seen.length).toBeGreaterThan(10);
  for (const { status, before, after } of seen) {
    if (after < expires) expect(status).toBe(200);
    if (before >= expires) expect(status).toBe(401);
  }
  expect(seen.at(-1)?.status).toBe(401);
  const past = new Date(Date.now() - 1).toISOString();
  const refused = await service.call('POST', '/v1/access/tokens', {
    ...{ name: freshName(), scopes: ['keys:admin'], expiresAt: past },
  });
  expect(refused.status).toBe(400);
  expect(refused.body['errors']).toEqual([{ pointer: '/expiresAt', detail: 'must be in the future' }]);
});

/** Guarantees that a request begun after a revocation was answered is refused, whatever is under way with the token. */
test('revokes before it answers', { timeout: 60_000 }, async () => {
  for (let round = 0; round < 15; round += 1) {
    const token = await makeToken(service, { scopes: ['keys:admin'] });
    expect((await use(token.secret)).status).toBe(200);
    let revokedAt = Number.POSITIVE_INFINITY;
    const late: number[] = [];
    const users = Array.from({ length: 4 }, async () => {
      for (let after = 0; after < 2; ) {
        const begun = performance.now();
        const { status } = await use(token.secret);
        if (begun < revokedAt) continue;
        late.push(status);
        after += 1;
      }
    });
    const answer = await service.call('DELETE', `/v1/access/tokens/${token.id}`);
    revokedAt = performance.now();
    expect([answer.status, answer.text]).toEqual([204, '']);
    await Promise.all(users);
    expect(late).toEqual(Array.from({ length: 8 }, () => 401));
    const listed = (await listTokens()).items.find(({ id }) => id === token.id);
    expect(listed?.revokedAt).toBeDefined();
    // Again, it changes nothing.
    expect((await service.call('DELETE', `/v1/access/tokens/${token.id}`)).status).toBe(204);
    expect((await listTokens()).items.find(({ id }) => id === token.id)).toEqual(listed);
  }
});

/** Guarantees that whoever has no valid credential learns nothing of why: one answer for every reason, at every place. */
test('answers every bad credential alike', async () => {
  const revoked = await makeToken(service, { scopes: ['keys:admin'] });
  await service.call('DELETE', `/v1/access/tokens/${revoked.id}`);
  const soon = Date.now() + 3_000;
  const expiring = await makeToken(service, {
    scopes: ['keys:admin'],
    expiresAt: new Date(soon).toISOString(),
  });
  const valid = await makeToken(service, { scopes: ['keys:admin', 'metrics:read'] });
  while (Date.now() <= soon) await delay(50);
  const raw = Buffer.from(valid.secret.slice(4), 'base64url');
  const changed = (at: number) => {
    const bytes = Buffer.from(raw);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    return `Bearer stk_${bytes.toString('base64url')}`;
  };
  const credentials: (string | undefined)[] = [
    ...[undefined, '', 'Bearer', `Bearer ${revoked.secret}`, `Bearer ${expiring.secret}`],
    ...[
      changed(15),
      changed(16),
      changed(47),
      `Bearer stk_${'A'.repeat(64)}`,
      `Bearer stk_${'_'.repeat(64)}`,
    ],
    ...[`Bearer ${valid.secret.slice(0, -1)}`, `Bearer ${valid.secret}A`, `Bearer ${valid.secret.slice(4)}`],
    ...[
      valid.secret,
      `Basic ${valid.secret}`,
      `Basic ${Buffer.from(`x:${valid.secret}`).toString('base64')}`,
    ],
    ...[`Token ${valid.secret}`, `Bearer\t${valid.secret}`, `Bearer "${valid.secret}"`, 'Bearer null'],
    ...[`Bearer ${valid.secret}, Bearer ${valid.secret}`, `Bearer ${valid.secret} ${valid.secret}`],
    ...[`Bearer ${valid.secret.toLowerCase()}`, `Bearer ${'x'.repeat(8_000)}`, 'Bearer stk_é'],
  ];
  const places: [string, string, unknown?][] = [
    ['GET', '/v1/keys'],
    ['GET', `/v1/keys?access_token=${valid.secret}`],
    ['GET', '/v1/keys/no-such-key'],
    ['POST', '/v1/decrypt', { ciphertext: 'no base64' }],
    ['POST', '/v1/keys', '{'],
    ['DELETE', '/v1/access/tokens/none'],
    ['GET', '/metrics'],
  ];
  const answers = new Set<string>();
  for (const [method, path, body] of places) {
    for (const authorization of credentials) {
      const answer = await service.call(method, path, body, {
        token: null,
        headers: { 'x-request-id': 'same', ...(authorization !== undefined && { authorization }) },
      });
      expect([authorization, path, answer.status]).toEqual([authorization, path, 401]);
      expect(answer.headers.get('www-authenticate')).toBe('Bearer');
      expect(answer.headers.get('content-type')).toBe('application/problem+json');
      answers.add(comparable(answer));
    }
  }
  expect([...answers]).toHaveLength(1);
  // The scheme's name is case-insensitive (RFC 9110 section 11.1), and the token itself was good all along.
  for (const scheme of ['Bearer', 'bearer', 'BEARER']) {
    const headers = { authorization: `${scheme} ${valid.secret}` };
    expect((await service.call('GET', '/v1/keys', undefined, { token: null, headers })).status).toBe(200);
  }
});

/** Guarantees that a retried creation makes one token: its secret was shown once and is not kept for the retry. */
test('creates a token once for an Idempotency-Key', async () => {
  const body = { name: freshName('once'), scopes: ['keys:encrypt'] };
  const headers = { 'idempotency-key': 'key-of-once' };
  const create = (request: object, token = service.token) =>
    service.call('POST', '/v1/access/tokens', request, { headers, token });
  const first = await create(body);
  const { secret } = created(first);
  const again = await create(body);
  expect([again.status, again.body['code']]).toEqual([409, 'request/already-completed']);
  expect(again.text).not.toContain(secret.slice(4, 40));
  const other = await create({ ...body, scopes: ['keys:decrypt'] });
  expect([other.status, other.body['code']]).toEqual([422, 'request/idempotency-conflict']);
  const named = (await listTokens()).items.filter(({ name }) => name === body.name);
  expect(named).toHaveLength(1);
  // Another caller's key of the same text is another key.
  const colleague = await makeToken(service, { scopes: ['access:admin'] });
  expect((await create(body, colleague.secret)).status).toBe(201);
  const asked = 'select answer from idempotency where operation = $1';
  expect(await rowsOf(service, asked, 'access.create-token')).toEqual([{ answer: null }, { answer: null }]);
});

/** Guarantees the same when the retries come at once: one is done, the others are told so. */
test('creates a token once for equal requests at once', async () => {
  const body = { name: freshName('race'), scopes: ['keys:encrypt'] };
  const ids = Array.from({ length: 12 }, (_, index) => `race-${index}`);
  const answers = await Promise.all(
    ids.map((id) =>
      service.call('POST', '/v1/access/tokens', body, {
        headers: { 'idempotency-key': 'key-of-race', 'x-request-id': id },
      }),
    ),
  );
  expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
  expect(answers.filter(({ status }) => status === 409)).toHaveLength(11);
  for (const { status, body: answer } of answers) {
    if (status === 409) expect(answer['code']).toBe('request/already-completed');
  }
  expect((await listTokens()).items.filter(({ name }) => name === body.name)).toHaveLength(1);
  const records = (await auditRecords(service)).filter(({ requestId }) => ids.includes(requestId));
  expect(records.map(({ requestId }) => requestId).toSorted()).toEqual(ids.toSorted());
  expect(records.filter(({ outcome }) => outcome === 'allowed')).toHaveLength(1);
});
