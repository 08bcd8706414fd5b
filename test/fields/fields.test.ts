import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient } from '../../src/client/node/index.ts';
import { parseExact } from '../../src/core/exact-json.ts';
import { auditRecords, freshName, makeNamespace, makeToken } from '../access/support.ts';
import { startTestService, type TestService } from '../support/service.ts';

let service: TestService;

const schema = {
  name: 'people',
  key: 'people',
  fields: [
    { name: 'email', path: '/email', treatment: 'randomized', reveal: { view: 'hash' } },
    { name: 'customer', path: '$.customer', treatment: 'deterministic', joinGroup: 'customers' },
    {
      ...{ name: 'card', path: '/cards/*/number', treatment: 'format-preserving', alphabet: 'digits' },
      ...{ separators: ' ', keepSuffix: 4, luhn: true, versionMember: 'numberVersion' },
      reveal: { view: 'mask', keepSuffix: 4, separators: ' ' },
    },
    { name: 'diagnosis', path: '/diagnosis', treatment: 'randomized', key: 'health' },
  ],
  indexes: [
    {
      ...{ name: 'by-email', member: 'emailIndex', bits: 20, expectedRows: 1_048_576 },
      fields: [{ name: 'email', normalize: ['email'] }],
    },
  ],
};
const ada = {
  email: 'Ada@Example.org',
  customer: 1815,
  cards: [{ number: '4111 1111 1111 1111' }],
  diagnosis: ['J45'],
  rest: { kept: true },
};

beforeAll(async () => {
  service = await startTestService();
  for (const name of ['people', 'health', 'turned', 'ended'])
    await must('POST', '/v1/keys', { name, purpose: 'fields' });
  await must('POST', '/v1/fields/schemas', schema);
});
afterAll(() => service.dispose());

type Body = Readonly<Record<string, unknown>>;
interface Result {
  readonly status: number;
  readonly document?: Record<string, unknown>;
  readonly problem?: { readonly code: string; readonly errors?: { pointer: string; detail: string }[] };
}

async function must(method: string, path: string, body?: unknown, token?: string): Promise<Body> {
  const answer = await service.call(method, path, body, token === undefined ? {} : { token });
  if (answer.status >= 300) throw new Error(`${path}: ${answer.status} ${answer.text}`);
  return answer.body;
}

async function run(verb: string, documents: readonly object[], more: object = {}, token?: string) {
  const body = { schema: 'people', documents, ...more };
  return (await must('POST', `/v1/fields/${verb}`, body, token)) as {
    untouched: string[];
    results: Result[];
  };
}

async function sealed(document: object, more: object = {}): Promise<Record<string, unknown>> {
  const { results } = await run('encrypt', [{ document }], more);
  return results[0]?.document ?? {};
}

const codeOf = async (path: string, body: object, token?: string) => {
  const answer = await service.call('POST', path, body, token === undefined ? {} : { token });
  return [answer.status, answer.body['code']];
};

/** Guarantees that documents are sealed, opened and revealed by keys that the HSM derives, and come back as they were. */
test('there and back', async () => {
  const document = await sealed(ada);
  expect(document['email']).toMatch(/^sf1\./);
  expect(document['rest']).toEqual(ada.rest);
  const { results, untouched } = await run('decrypt', [
    { document },
    { document: { ...document, email: 'x' } },
  ]);
  expect(untouched).toEqual([]);
  expect(results[0]).toEqual({ status: 200, document: ada });
  expect(results[1]).toMatchObject({ status: 400, problem: { code: 'fields/decryption-failed' } });
  const shown = (await run('reveal', [{ document }])).results[0]?.document ?? {};
  expect(shown['cards']).toEqual([{ number: '**** **** **** 1111' }]);
  expect(shown['email']).toMatch(/^[\w-]{43}$/);
  expect([shown['diagnosis'], shown['emailIndex']]).toEqual([document['diagnosis'], undefined]);
});

/** Guarantees that numbers reach the letter through service and client, treated or not. */
test('numbers as they are written', async () => {
  const numbers = '{"email":1.0,"customer":12345678901234567890,"rest":[-0,1e400,0.10]}';
  const body = `{"schema":"people","documents":[{"document":${numbers}}]}`;
  const call = (verb: string, text: string) =>
    fetch(`${service.url}/v1/fields/${verb}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${service.token}`, 'content-type': 'application/json' },
      body: text,
    }).then((response) => response.text());
  const [first] = (parseExact(await call('encrypt', body)) as { results: { document: unknown }[] }).results;
  const back = { schema: 'people', documents: [{ document: first?.document }] };
  expect(await call('decrypt', JSON.stringify(back))).toContain(`"document":${numbers}`);

  const client = createClient({ url: service.url, credentials: service.token });
  const given = { schema: 'people', documents: [{ document: parseExact(numbers) }] };
  const { results } = await client.encryptFields(given);
  const opened = await client.decryptFields({
    schema: 'people',
    documents: results.map(({ document }) => ({ document })),
  });
  expect(JSON.stringify(opened.results[0]?.document)).toBe(numbers);
});

/** Guarantees that a caller has those fields opened whose keys are its own, and that the record says so. */
test('two keys of which one is allowed', async () => {
  const document = await sealed(ada);
  const { id, secret } = await makeToken(service, {
    scopes: ['keys:decrypt', 'keys:encrypt'],
    keys: ['health'],
  });
  const { untouched, results } = await run('decrypt', [{ document }], {}, secret);
  expect(untouched).toEqual(['email', 'customer', 'card']);
  expect(results[0]?.document).toEqual({ ...document, diagnosis: ada.diagnosis });
  // What could not all be sealed is not sealed in part.
  const body = { schema: 'people', documents: [{ document: ada }] };
  expect(await codeOf('/v1/fields/encrypt', body, secret)).toEqual([404, 'key/not-found']);
  const [, decrypted] = await auditRecords(service, { principalId: id });
  expect(decrypted).toMatchObject({
    action: 'fields.decrypt',
    outcome: 'allowed',
    target: { name: 'people' },
  });
  expect(decrypted?.items).toEqual([
    {
      ...{ action: 'fields.decrypt', outcome: 'allowed', count: 1 },
      target: { kind: 'key', id: expect.any(String) as string, name: 'health' },
    },
    {
      ...{ action: 'fields.decrypt', outcome: 'refused', code: 'key/not-found' },
      target: { kind: 'key', name: 'people' },
    },
  ]);
});

/** Guarantees that each duty has its scope: to see masks, to search, to open. */
test('scopes', async () => {
  const document = await sealed(ada);
  const revealing = await makeToken(service, { scopes: ['fields:reveal'] });
  const querying = await makeToken(service, { scopes: ['fields:query'] });
  const query = { schema: 'people', queries: [{ name: 'by-email', values: { email: 'ada@example.org' } }] };
  const body = { schema: 'people', documents: [{ document }] };
  expect((await run('reveal', [{ document }], {}, revealing.secret)).results[0]?.status).toBe(200);
  expect((await must('POST', '/v1/fields/query-tokens', query, querying.secret))['results']).toEqual([
    { status: 200, tokens: [{ keyVersion: 1, token: document['emailIndex'] }] },
  ]);
  for (const { secret } of [revealing, querying])
    for (const verb of ['decrypt', 'encrypt', 'rewrap'])
      expect(await codeOf(`/v1/fields/${verb}`, body, secret)).toEqual([403, 'access/denied']);
  expect(await codeOf('/v1/fields/query-tokens', query, revealing.secret)).toEqual([403, 'access/denied']);
});

/** Guarantees that values of one record, namespace and schema open there alone. */
test('bound to their place', async () => {
  const document = await sealed(ada);
  const { results: bound } = await run('encrypt', [{ document: ada, record: 'row 1' }]);
  const code = async (documents: object[], more: object = {}, token?: string) =>
    (await run('decrypt', documents, more, token)).results.map(({ problem }) => problem?.code);
  const failed = 'fields/decryption-failed';
  expect(await code([{ document, record: 'row 1' }, { document: bound[0]?.document }])).toEqual([
    failed,
    failed,
  ]);
  expect(await code([{ document: bound[0]?.document, record: 'row 2' }])).toEqual([failed]);
  expect(await code([{ document: bound[0]?.document, record: 'row 1' }])).toEqual([undefined]);
  await must('POST', '/v1/fields/schemas', { ...schema, name: 'others' });
  expect(await code([{ document }], { schema: 'others' })).toEqual([failed]);
  const { token } = await makeNamespace(service, ['keys:admin', 'fields:admin', 'keys:decrypt']);
  for (const name of ['people', 'health'])
    await must('POST', '/v1/keys', { name, purpose: 'fields' }, token.secret);
  await must('POST', '/v1/fields/schemas', schema, token.secret);
  expect(await code([{ document }], {}, token.secret)).toEqual([failed]);
});

/** Guarantees that a key rotates while documents of both versions are searched and opened, and that rewrap moves them. */
test('rotation', async () => {
  const turned = { ...schema, name: 'turned', key: 'turned' };
  await must('POST', '/v1/fields/schemas', turned);
  const more = { schema: 'turned' };
  const old = await sealed(ada, more);
  await must('POST', '/v1/keys/turned/rotate', {});
  const now = await sealed(ada, more);
  const query = { schema: 'turned', queries: [{ name: 'by-email', values: { email: 'ada@example.org' } }] };
  expect((await must('POST', '/v1/fields/query-tokens', query))['results']).toEqual([
    {
      status: 200,
      tokens: [
        { keyVersion: 2, token: now['emailIndex'] },
        { keyVersion: 1, token: old['emailIndex'] },
      ],
    },
  ]);
  const { results } = await run('rewrap', [{ document: old }, { document: now }], more);
  expect(results[1]?.document).toEqual(now);
  const moved = results[0]?.document ?? {};
  expect(moved).toMatchObject({
    emailIndex: now['emailIndex'],
    customer: now['customer'],
    diagnosis: old['diagnosis'],
  });
  await must('PATCH', '/v1/keys/turned/versions/1', { state: 'disabled' });
  const opened = await run('decrypt', [{ document: old }, { document: moved }], more);
  expect(opened.results.map(({ status }) => status)).toEqual([400, 200]);
  expect(opened.results[1]?.document).toEqual(ada);
  await must('PATCH', '/v1/keys/turned', { state: 'disabled' });
  expect(await codeOf('/v1/fields/decrypt', { ...more, documents: [{ document: moved }] })).toEqual([
    409,
    'key/disabled',
  ]);
});

/** Guarantees that a schema is never changed: a version is added, documents change to it by a rewrap, and old ones stay. */
test('versions of schemas', async () => {
  const name = freshName('schema');
  const field = { name: 'a', path: '/a', treatment: 'randomized' };
  const made = await must('POST', '/v1/fields/schemas', { name, key: 'people', fields: [field] });
  const old = await sealed({ a: 1 }, { schema: name });
  const next = { key: 'people', fields: [{ ...field, treatment: 'deterministic' }] };
  expect(await must('POST', `/v1/fields/schemas/${name}/versions`, next)).toMatchObject({
    id: made['id'],
    version: 2,
  });
  expect((await run('decrypt', [{ document: old }], { schema: name })).results[0]?.status).toBe(400);
  expect(
    (await run('decrypt', [{ document: old }], { schema: name, version: 1 })).results[0]?.document,
  ).toEqual({ a: 1 });
  const { results } = await run('rewrap', [{ document: old }], { schema: name, fromVersion: 1 });
  expect(results[0]?.document).toEqual(await sealed({ a: 1 }, { schema: name }));
  expect(await must('GET', `/v1/fields/schemas/${name}?version=1`)).toMatchObject({
    version: 1,
    fields: [field],
  });
  const list = (await must('GET', '/v1/fields/schemas?limit=1000'))['items'] as Body[];
  expect(list.filter((one) => one['id'] === made['id']).map((one) => one['version'])).toEqual([2]);
  const people = list.find((one) => one['name'] === 'people');
  expect(people?.['indexes']).toMatchObject([{ falsePositives: { expected: 1 } }]);
  // Of several at once, each version is made once.
  const answers = await Promise.all(
    Array.from({ length: 4 }, () => service.call('POST', `/v1/fields/schemas/${name}/versions`, next)),
  );
  const versions = answers.filter(({ status }) => status === 201).map(({ body }) => body['version']);
  expect(new Set(versions).size).toBe(versions.length);
  for (const { status, body } of answers)
    if (status !== 201) expect([status, body['code']]).toEqual([409, 'fields/conflict']);
});

/** Guarantees that what cannot be used is refused with its reason, and a bad document harms no other. */
test('bad input', async () => {
  const field = { name: 'a', path: '/a', treatment: 'randomized' };
  const creating = { name: freshName('bad'), key: 'people', fields: [field] };
  await must('POST', '/v1/keys', { name: 'no-fields' });
  const refused: [object, number, string][] = [
    [{ ...creating, fields: [{ ...field, path: '$..a' }] }, 422, 'fields/schema-invalid'],
    [{ ...creating, fields: [field, field] }, 422, 'fields/schema-invalid'],
    [{ ...creating, key: 'none' }, 404, 'key/not-found'],
    [{ ...creating, key: 'no-fields' }, 409, 'key/wrong-purpose'],
    [{ ...creating, name: 'people' }, 409, 'fields/schema-exists'],
    [{ ...creating, fields: [{ ...field, treatment: 'none', other: 1 }] }, 400, 'request/invalid'],
    [{ ...creating, fields: [{ ...field, treatment: 'format-preserving' }] }, 422, 'fields/schema-invalid'],
  ];
  for (const [body, ...expected] of refused)
    expect(await codeOf('/v1/fields/schemas', body)).toEqual(expected);
  const missing = { schema: 'none', documents: [{ document: {} }] };
  expect(await codeOf('/v1/fields/encrypt', missing)).toEqual([404, 'fields/schema-not-found']);
  expect(await codeOf('/v1/fields/encrypt', { schema: 'people', documents: [{}] })).toEqual([
    400,
    'request/invalid',
  ]);
  const { results } = await run('encrypt', [
    { document: { ...ada, cards: [{ number: '4111 1111 1111 1112' }] } },
    { document: ada },
    { document: await sealed(ada) },
    { document: null },
  ]);
  expect(results.map(({ status, problem }) => [status, problem?.code])).toEqual([
    [422, 'fields/value-refused'],
    [200, undefined],
    [422, 'fields/value-refused'],
    [200, undefined],
  ]);
  expect(results[0]?.problem?.errors).toEqual([
    { pointer: '/documents/0/document', detail: 'card has a check digit that does not fit (Luhn)' },
  ]);
  expect(await codeOf('/v1/keys/people/encrypt', { plaintext: 'AAAA' })).toEqual([409, 'key/wrong-purpose']);
  expect(await codeOf('/v1/keys/people/mac', { message: 'AAAA' })).toEqual([409, 'key/wrong-purpose']);
  const unknown = { schema: 'people', queries: [{ name: 'email', values: { email: 'x' } }] };
  expect(await codeOf('/v1/fields/query-tokens', unknown)).toEqual([400, 'request/invalid']);
});

/** Guarantees that a schema that names a version of its key seals by that one alone, and only while it may. */
test('a version that the schema names', async () => {
  const name = freshName('pinned');
  const plate = {
    name: 'plate',
    path: '/plate',
    treatment: 'format-preserving',
    alphabet: 'alphanumeric',
    keyVersion: 1,
  };
  await must('POST', '/v1/fields/schemas', { name, key: 'ended', fields: [plate] });
  const document = await sealed({ plate: 'ZH8a15x' }, { schema: name });
  expect(document['plate']).toMatch(/^[0-9A-Za-z]{7}$/);
  await must('POST', '/v1/keys/ended/rotate', {});
  expect(await sealed({ plate: 'ZH8a15x' }, { schema: name })).toEqual(document);
  for (let count = 0; count < 20; count += 1) await must('POST', '/v1/keys/ended/rotate', {});
  const query = { schema: name, queries: [{ name: 'plate', values: { plate: 'ZH8a15x' } }] };
  expect((await must('POST', '/v1/fields/query-tokens', query))['results']).toEqual([
    { status: 200, tokens: [{ keyVersion: 1, token: document['plate'] }] },
  ]);
  await must('PATCH', '/v1/keys/ended/versions/1', { state: 'decrypt-only' });
  const body = { schema: name, documents: [{ document: { plate: 'ZH8a15x' } }] };
  expect(await codeOf('/v1/fields/encrypt', body)).toEqual([409, 'key/version-disabled']);
  expect((await run('decrypt', [{ document }], { schema: name })).results[0]?.document).toEqual({
    plate: 'ZH8a15x',
  });
  await must('POST', `/v1/fields/schemas/${name}/versions`, {
    key: 'ended',
    fields: [{ ...plate, keyVersion: 2 }],
  });
  const { results } = await run('rewrap', [{ document }], { schema: name, fromVersion: 1 });
  expect(results[0]?.document).toEqual(await sealed({ plate: 'ZH8a15x' }, { schema: name }));
});

/** Guarantees that values with random nonces are counted against their version before they are given out, and no others. */
test('uses are counted', async () => {
  const key = freshName('counted');
  await must('POST', '/v1/keys', { name: key, purpose: 'fields' });
  const fields = [
    { name: 'a', path: '/a', treatment: 'randomized' },
    { name: 'b', path: '/b', treatment: 'deterministic' },
  ];
  await must('POST', '/v1/fields/schemas', { name: key, key, fields });
  const reserved = async () => {
    const { items } = await must('GET', `/v1/keys/${key}/versions`);
    return (items as { usesReserved: number }[])[0]?.usesReserved;
  };
  await sealed({ b: 1 }, { schema: key });
  expect(await reserved()).toBe(0);
  await sealed({ a: 1 }, { schema: key });
  expect(await reserved()).toBeGreaterThan(0);
});

/** Guarantees that a schema that somebody wrote into the database is not used, and that what they wrote is not shown. */
test('an altered schema', async () => {
  const name = freshName('altered');
  const field = { name: 'a', path: '/a', treatment: 'randomized' };
  await must('POST', '/v1/fields/schemas', { name, key: 'people', fields: [field] });
  const database = new Database(join(service.dataDir, 'stathera.db'));
  const { changes } = database
    .prepare("update field_schemas set definition = replace(definition, 'randomized', 'none') where name = ?")
    .run(name);
  database.close();
  expect(changes).toBe(1);
  const body = { schema: name, documents: [{ document: { a: 'a secret' } }] };
  expect(await codeOf('/v1/fields/encrypt', body)).toEqual([500, 'internal']);
  expect((await service.call('GET', `/v1/fields/schemas/${name}`)).status).toBe(500);
});
