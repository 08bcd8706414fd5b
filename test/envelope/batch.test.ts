import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestService, type TestService } from '../support/service.ts';
import { base64, bytes, driver, flipped, type Result } from './support.ts';

let service: TestService;
let calls: ReturnType<typeof driver>;
const ids = new Map<string, string>();
beforeAll(async () => {
  service = await startTestService();
  calls = driver(service);
  for (const name of ['red', 'green', 'blue', 'secret']) ids.set(name, (await calls.createKey(name)).id);
});
afterAll(() => service.dispose());

interface BatchRecord {
  readonly requestId: string;
  readonly outcome: string;
  readonly items: readonly {
    readonly action: string;
    readonly outcome: string;
    readonly code?: string;
    readonly target?: { readonly id?: string; readonly name?: string; readonly version?: number };
  }[];
}

/** Runs a batch and reads back the one record it left. */
async function recorded(operations: readonly unknown[], token?: string) {
  const requestId = `batch-${randomBytes(8).toString('hex')}`;
  const answer = await service.call(
    'POST',
    '/v1/batch',
    { operations },
    { headers: { 'x-request-id': requestId }, ...(token !== undefined && { token }) },
  );
  expect(answer.status).toBe(200);
  const page = await calls.must('GET', `/v1/audit/records?requestId=${requestId}`);
  const records = page['items'] as BatchRecord[];
  expect(records).toHaveLength(1);
  return { results: answer.body['results'] as Result[], record: records[0], text: answer.text };
}

const outcomes = (results: readonly Result[]) =>
  results.map(({ status, problem }) => (problem === undefined ? status : `${status} ${problem.code}`));

/** Guarantees one batch over several keys and kinds, each item answered as its operation alone would be, in order. */
test('several keys and kinds', async () => {
  const context = { c: '1' };
  const sealed = base64(await calls.encrypt('red', Buffer.from('one'), context));
  const { results, record } = await recorded([
    { id: 'e', operation: 'encrypt', key: 'green', plaintext: 'dHdv', context },
    { id: 'd', operation: 'decrypt', ciphertext: sealed, context },
    { operation: 'rewrap', key: 'red', ciphertext: sealed, context, toKey: 'blue', toContext: {} },
    { id: '', operation: 'data-keys', key: ids.get('blue'), count: 2, plaintext: true },
    { id: 'e', operation: 'random', bytes: 48 },
  ]);
  expect(results.map(({ id }) => id)).toEqual(['e', 'd', undefined, '', 'e']);
  expect(outcomes(results)).toEqual([200, 200, 200, 200, 200]);
  const [encrypted, decrypted, rewrapped, made, random] = results;
  expect(encrypted).toMatchObject({ keyId: ids.get('green'), keyVersion: 1 });
  expect(await calls.decrypt(bytes(encrypted?.ciphertext), context)).toEqual(Buffer.from('two'));
  expect(decrypted).toEqual({
    id: 'd',
    status: 200,
    plaintext: 'b25l',
    keyId: ids.get('red'),
    keyVersion: 1,
  });
  expect(rewrapped?.keyId).toBe(ids.get('blue'));
  expect(await calls.decrypt(bytes(rewrapped?.ciphertext))).toEqual(Buffer.from('one'));
  expect(made?.items).toHaveLength(2);
  expect(bytes(random?.bytes)).toHaveLength(48);
  expect(record?.items.map(({ action, outcome, target }) => [action, outcome, target?.name])).toEqual([
    ['envelope.encrypt', 'allowed', 'green'],
    ['envelope.decrypt', 'allowed', 'red'],
    ['envelope.rewrap', 'allowed', 'blue'],
    ['envelope.data-keys', 'allowed', 'blue'],
    ['envelope.random', 'allowed', undefined],
  ]);
  expect(record?.items[0]?.target).toEqual({ kind: 'key', id: ids.get('green'), name: 'green', version: 1 });
});

/** Guarantees 1,000 items in order, that a bad one fails alone, and one record with all 1,000 items. */
test('a thousand items, one of them bad', async () => {
  const plaintexts = Array.from({ length: 1000 }, (_, index) => Buffer.from(`item ${index}`));
  const keys = ['red', 'green', 'blue'];
  const sealed = await recorded(
    plaintexts.map((plaintext, index) => ({
      ...{ id: `i${index}`, operation: 'encrypt', key: keys[index % 3], plaintext: base64(plaintext) },
    })),
  );
  expect(sealed.record?.items).toHaveLength(1000);
  const bad = 617;
  const opened = await recorded(
    sealed.results.map(({ id, ciphertext }, index) => ({
      ...{ id, operation: 'decrypt' },
      ciphertext: index === bad ? base64(flipped(bytes(ciphertext), 900)) : ciphertext,
    })),
  );
  for (const [index, result] of opened.results.entries()) {
    expect(result.id).toBe(`i${index}`);
    if (index === bad) continue;
    expect(bytes(result.plaintext)).toEqual(plaintexts[index]);
  }
  const failures = outcomes(opened.results).filter((outcome) => outcome !== 200);
  expect(failures).toEqual(['400 envelope/decryption-failed']);
  expect(outcomes(opened.results)[bad]).toBe(failures[0]);
  const items = opened.record?.items ?? [];
  expect(items).toHaveLength(1000);
  expect(items[bad]).toMatchObject({ outcome: 'refused', code: 'envelope/decryption-failed' });
  expect(items.filter(({ outcome }) => outcome === 'allowed')).toHaveLength(999);
  expect(items.map(({ target }) => target?.name)).toEqual(plaintexts.map((_, index) => keys[index % 3]));
});

/** Guarantees that an item that cannot be understood fails alone, keeps its id, and is on the record. */
test('malformed items', async () => {
  const malformed = [
    ...[null, 7, 'encrypt', [], {}, { operation: 'explode' }],
    { operation: 'encrypt', plaintext: '' },
    { operation: 'encrypt', key: 'red', plaintext: 'not base64' },
    { operation: 'encrypt', key: 'RED', plaintext: '' },
    { operation: 'encrypt', key: 'red', plaintext: '', extra: 1 },
    { operation: 'encrypt', key: 'red', plaintext: '', context: { a: 1 } },
    { operation: 'decrypt', key: 'red' },
    { operation: 'rewrap', ciphertext: '' },
    { operation: 'data-keys', key: 'red', count: 101 },
    { operation: 'random', bytes: 0 },
  ];
  const operations = [
    ...malformed,
    { id: 'known', operation: 'explode' },
    { id: 'x'.repeat(65), operation: 'random', bytes: 8 },
    { id: 5, operation: 'random', bytes: 8 },
    { id: 'fine', operation: 'random', bytes: 8 },
  ];
  const { results, record } = await recorded(operations);
  expect(outcomes(results)).toEqual([...operations.slice(1).map(() => '400 request/invalid'), 200]);
  expect(results.map(({ id }) => id).filter((id) => id !== undefined)).toEqual(['known', 'fine']);
  expect(record?.items).toHaveLength(operations.length);
  expect(record?.items[0]).toEqual({ action: 'envelope.batch', outcome: 'refused', code: 'request/invalid' });
});

/** Guarantees that every problem of a batch is a whole problem document with the request's id. */
test('problems of items', async () => {
  const { results, record } = await recorded([
    { operation: 'encrypt', key: 'nobody', plaintext: '' },
    { operation: 'decrypt', ciphertext: '' },
    { operation: 'rewrap', key: 'red', ciphertext: 'YQ==' },
  ]);
  expect(outcomes(results)).toEqual([
    '404 key/not-found',
    '400 envelope/decryption-failed',
    '400 envelope/decryption-failed',
  ]);
  for (const { status, problem } of results) {
    expect(problem).toMatchObject({ status, requestId: record?.requestId });
    expect(Object.keys(problem ?? {})).toEqual(expect.arrayContaining(['type', 'title', 'detail']));
  }
});

/** Guarantees that a caller fails at just those items whose right or key it lacks. */
test('rights are checked item by item', async () => {
  const sealed = base64(await calls.encrypt('red', Buffer.from('one')));
  const hidden = base64(await calls.encrypt('secret', Buffer.from('two')));
  const operations = [
    { operation: 'encrypt', key: 'red', plaintext: '' },
    { operation: 'decrypt', ciphertext: sealed },
    { operation: 'rewrap', key: 'red', ciphertext: sealed },
    { operation: 'data-keys', key: 'red' },
    { operation: 'random', bytes: 8 },
    { operation: 'encrypt', key: 'secret', plaintext: '' },
    { operation: 'decrypt', ciphertext: hidden },
    { operation: 'rewrap', key: 'red', ciphertext: sealed, toKey: 'secret' },
  ];
  const of = async (...scopes: string[]) => {
    const { results, record } = await recorded(
      operations,
      await calls.createToken({ scopes, keys: ['red'] }),
    );
    expect(record?.items.map(({ code }) => code)).toEqual(results.map(({ problem }) => problem?.code));
    return outcomes(results);
  };
  const denied = '403 access/denied';
  const missing = '404 key/not-found';
  const failed = '400 envelope/decryption-failed';
  expect(await of('keys:encrypt')).toEqual([200, denied, denied, 200, 200, missing, denied, denied]);
  expect(await of('keys:decrypt')).toEqual([denied, 200, denied, denied, 200, denied, failed, denied]);
  expect(await of('keys:rewrap')).toEqual([denied, denied, 200, denied, 200, denied, denied, missing]);
  expect(await of('keys:admin')).toEqual([denied, denied, denied, denied, 200, denied, denied, denied]);
  const outsider = await calls.createToken({ scopes: ['audit:read'] });
  const refused = await service.call('POST', '/v1/batch', { operations }, { token: outsider });
  expect([refused.status, refused.body['code']]).toEqual([403, 'access/denied']);
});

/** Guarantees the bounds of a batch: none and more than 1,000 items, and anything but a list, are refused whole. */
test('bounds', async () => {
  const item = { operation: 'random', bytes: 1 };
  const bodies = [
    { operations: [] },
    { operations: Array.from({ length: 1001 }, () => item) },
    { operations: item },
    { operations: null },
    { operations: [item], more: true },
    [],
    {},
  ];
  for (const body of bodies) {
    const answer = await service.call('POST', '/v1/batch', body);
    expect([answer.status, answer.body['code']]).toEqual([400, 'request/invalid']);
  }
});

/** Guarantees that the largest batch of data keys fits: no item fails because its neighbours fill the queue of the HSM. */
test('many data keys at once', async () => {
  const operations = Array.from({ length: 150 }, () => ({ operation: 'data-keys', key: 'red', count: 100 }));
  const results = await calls.batch(operations);
  expect(new Set(outcomes(results))).toEqual(new Set([200]));
  expect(results.map(({ items }) => items?.length)).toEqual(operations.map(() => 100));
});
