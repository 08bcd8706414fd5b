import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestService, type TestService } from '../support/service.ts';
import { auditRecords, freshName, makeKey, makeToken, plaintext, recordsKept, seal } from './support.ts';

let service: TestService;
beforeAll(async () => {
  service = await startTestService();
});
afterAll(() => service.dispose());

/** Guarantees one record an operation, none missing and none double, whatever its outcome and however many run at once. */
test('records every operation once', { timeout: 60_000 }, async () => {
  const key = freshName('key');
  await makeKey(service, key);
  const ciphertext = await seal(service, key);
  const limited = await makeToken(service, { scopes: ['keys:encrypt'], keys: [key] });
  const operations: [string, string, unknown?][] = [
    ['POST', `/v1/keys/${key}/encrypt`, { plaintext }],
    ['POST', `/v1/keys/${key}/decrypt`, { ciphertext }],
    ['POST', '/v1/decrypt', { ciphertext: plaintext }],
    ['POST', `/v1/keys/${key}/rewrap`, { ciphertext }],
    ['POST', `/v1/keys/${key}/data-keys`, { count: 3 }],
    ['POST', `/v1/keys/${key}/rotate`, {}],
    ['PATCH', `/v1/keys/${key}`, { description: 'once' }],
    ['GET', `/v1/keys/${key}`],
    ['GET', `/v1/keys/${key}/versions`],
    ['GET', '/v1/keys/not-there'],
    ['GET', '/v1/keys?limit=1'],
    ['POST', '/v1/keys', { name: key }],
    ['POST', '/v1/random', { bytes: 4 }],
    [
      'POST',
      '/v1/batch',
      { operations: [{ operation: 'encrypt', key, plaintext }, { operation: 'nonsense' }] },
    ],
    ['GET', '/v1/access/tokens?limit=1'],
    ['GET', '/v1/access/namespaces'],
    ['POST', '/v1/access/namespaces', { name: 'default' }],
    ['DELETE', '/v1/access/tokens/not-there'],
    ['GET', '/v1/audit/records?limit=1'],
    ['GET', '/metrics'],
  ];
  const tokens = [service.token, limited.secret];
  const picks = fc.sample(
    fc.tuple(fc.constantFrom(...operations), fc.constantFrom(...tokens), fc.boolean()),
    { numRuns: 600 },
  );
  const sent = new Map<string, { code: unknown; ok: boolean }>();
  let next = 0;
  const client = async () => {
    for (let index = next++; index < picks.length; index = next++) {
      const [[method, path, body], token, retried] = picks[index] ?? [operations[0]!, service.token, false];
      const requestId = `call-${index}`;
      const answer = await service.call(method, path, body, {
        token,
        headers: { 'x-request-id': requestId, ...(retried && { 'idempotency-key': `again-${index % 7}` }) },
      });
      sent.set(requestId, { code: answer.body['code'], ok: answer.status < 300 });
    }
  };
  await Promise.all(Array.from({ length: 8 }, client));
  const records = (await auditRecords(service)).filter(({ requestId }) => sent.has(requestId));
  expect(records).toHaveLength(picks.length);
  expect(new Set(records.map(({ requestId }) => requestId)).size).toBe(picks.length);
  for (const { requestId, outcome, code } of records) {
    const answer = sent.get(requestId);
    expect([requestId, outcome === 'allowed', code]).toEqual([requestId, answer?.ok, answer?.code]);
  }
  // Conflicting rotations, which fail, are up to chance; the others are sure to be among them.
  const outcomes = new Set(records.map(({ outcome }) => outcome));
  expect([outcomes.has('allowed'), outcomes.has('refused')]).toEqual([true, true]);
});

/** Guarantees that an answer given again is on record as such. */
test('records replays', async () => {
  const body = { name: freshName('replayed') };
  const headers = (id: string) => ({ headers: { 'idempotency-key': 'replayed', 'x-request-id': id } });
  const answers = [];
  for (const id of ['replay-1', 'replay-2', 'replay-3']) {
    answers.push(await service.call('POST', '/v1/keys', body, headers(id)));
  }
  expect(answers.map(({ status }) => status)).toEqual([201, 201, 201]);
  expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
  const records = (await auditRecords(service, { action: 'keys.create' })).filter(({ requestId }) =>
    requestId.startsWith('replay-'),
  );
  expect(records.map(({ requestId, replayed }) => [requestId, replayed])).toEqual([
    ['replay-3', true],
    ['replay-2', true],
    ['replay-1', undefined],
  ]);
});

/** Guarantees that a batch is one record that lists each of its items with its outcome. */
test('records a batch with its items', async () => {
  const key = freshName('batched');
  const id = await makeKey(service, key);
  const operations = [
    { operation: 'encrypt', key, plaintext },
    { operation: 'encrypt', key: 'hidden', plaintext },
    { operation: 'decrypt', ciphertext: plaintext },
    { operation: 'unknown' },
    { operation: 'random', bytes: 1 },
  ];
  const headers = { 'x-request-id': 'one-batch' };
  expect((await service.call('POST', '/v1/batch', { operations }, { headers })).status).toBe(200);
  const [record, ...others] = await auditRecords(service, { requestId: 'one-batch' });
  expect(others).toEqual([]);
  expect(record?.items).toEqual([
    { action: 'envelope.encrypt', target: { kind: 'key', id, name: key, version: 1 }, outcome: 'allowed' },
    { action: 'envelope.encrypt', outcome: 'refused', code: 'key/not-found' },
    { action: 'envelope.decrypt', outcome: 'refused', code: 'envelope/decryption-failed' },
    { action: 'envelope.batch', outcome: 'refused', code: 'request/invalid' },
    { action: 'envelope.random', outcome: 'allowed' },
  ]);
});

/** Guarantees that refusals of strangers are counted, every one, and are a few records and not thousands. */
test('counts what strangers are refused', async () => {
  const before = await recordsKept(service);
  const attempts = 700;
  const answers: number[] = [];
  const client = async () => {
    while (answers.length < attempts) {
      const index = answers.push(0) - 1;
      const token = index % 3 === 0 ? null : `stk_${'A'.repeat(64)}`;
      const path = index % 2 === 0 ? '/v1/keys' : '/v1/decrypt';
      answers[index] = (
        await service.call(index % 2 === 0 ? 'GET' : 'POST', path, undefined, { token })
      ).status;
    }
  };
  await Promise.all(Array.from({ length: 8 }, client));
  expect(new Set(answers)).toEqual(new Set([401]));
  const lost = await service.call('GET', '/no/such/place', undefined, { token: null });
  expect(lost.status).toBe(404);
  expect(await service.stop()).toBe(0);
  const added = (await recordsKept(service)).slice(before.length);
  const counted = (code: string) =>
    added.filter((record) => record.code === code).reduce((sum, { count = 0 }) => sum + count, 0);
  expect(counted('access/unauthenticated')).toBe(attempts);
  expect(counted('request/not-found')).toBe(1);
  expect(added.length).toBeLessThan(10);
  for (const record of added) {
    expect(record).toMatchObject({ action: 'access.refuse', outcome: 'refused', source: '127.0.0.1' });
    expect(record.principal).toEqual({ kind: 'anonymous' });
  }
});
