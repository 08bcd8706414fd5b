import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { base64, driver, withoutRequestId } from '../envelope/support.ts';
import { startTestService, type TestService } from '../support/service.ts';

let service: TestService;
let calls: ReturnType<typeof driver>;
beforeAll(async () => {
  service = await startTestService();
  calls = driver(service);
});
afterAll(() => service.dispose());

interface Page {
  readonly items: readonly Record<string, unknown>[];
  readonly nextCursor?: string;
}

async function codeOf(
  method: string,
  path: string,
  body?: unknown,
  token?: string,
): Promise<[number, unknown]> {
  const answer = await service.call(method, path, body, token === undefined ? {} : { token });
  return [answer.status, answer.body['code']];
}

/** All pages of a list, each of `limit` items. */
async function listed(path: string, limit: number, token?: string): Promise<Page['items']> {
  const items: Record<string, unknown>[] = [];
  const options = token === undefined ? {} : { token };
  for (let cursor = ''; ; ) {
    const query = `limit=${limit}${cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`}`;
    const page = (await calls.must('GET', `${path}?${query}`, undefined, options)) as unknown as Page;
    expect(page.items.length).toBeLessThanOrEqual(limit);
    items.push(...page.items);
    if (page.nextCursor === undefined) return items;
    expect(page.items).toHaveLength(limit);
    cursor = page.nextCursor;
  }
}

const unique = () => `k-${randomBytes(6).toString('hex')}`;

describe('a key', () => {
  /** Guarantees what a new key says of itself, the same by name, by id and in the list. */
  test('is created and described', async () => {
    const name = unique();
    const request = {
      name,
      algorithm: 'aes-128-gcm',
      purpose: 'encrypt',
      description: 'für Zahlungen',
      tags: { a: '' },
    };
    const created = await service.call('POST', '/v1/keys', request);
    expect(created.status).toBe(201);
    expect(created.body).toEqual({
      ...request,
      id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/),
      ...{ protection: 'hsm', state: 'enabled', currentVersion: 1, origin: 'hsm' },
      createdAt: expect.stringMatching(/^\d{4}-.*Z$/),
      updatedAt: created.body['createdAt'],
    });
    for (const ref of [name, created.body['id']]) {
      expect(await calls.must('GET', `/v1/keys/${ref}`)).toEqual(created.body);
    }
    expect(await listed('/v1/keys', 1000)).toContainEqual(created.body);
    const plain = await calls.must('POST', '/v1/keys', { name: unique() });
    expect(plain).toMatchObject({ algorithm: 'aes-256-gcm', description: '', tags: {} });
    expect(await codeOf('POST', '/v1/keys', { name })).toEqual([409, 'key/exists']);
  });

  /** Guarantees the rules of names: none that could be taken for an id, a path or another spelling. */
  test('has a name that cannot be mistaken', async () => {
    const refused = [
      ...[
        '',
        'A',
        'Payments',
        'ä',
        'a b',
        'a/b',
        'a%62',
        '-a',
        '.a',
        '_a',
        '..',
        'a\n',
        'a\u0000',
        'a*',
        'a'.repeat(64),
      ],
      ...['019300d4-0000-7000-8000-000000000000', '6f1d6f0e-0c0a-4d7c-9f53-0d5d5f6f2a11', 7, null, ['a']],
    ];
    for (const name of refused) {
      expect(await codeOf('POST', '/v1/keys', { name }), JSON.stringify(name)).toEqual([
        400,
        'request/invalid',
      ]);
    }
    for (const name of ['a', '0', 'a.b_c-d', 'x'.repeat(63), '019300d4-0000-7000-8000-00000000000g']) {
      expect((await codeOf('POST', '/v1/keys', { name }))[0], name).toBe(201);
    }
    for (const more of [
      { algorithm: 'aes-512-gcm' },
      { purpose: 'seal' },
      { protection: 'hsm' },
      { id: 'a' },
      { tags: { a: 1 } },
    ]) {
      expect(await codeOf('POST', '/v1/keys', { name: unique(), ...more })).toEqual([400, 'request/invalid']);
    }
  });

  /** Guarantees that a change touches what it names alone, and keeps ciphertexts readable. */
  test('is changed member by member', async () => {
    const { id, name } = await calls.createKey(unique(), { description: 'old', tags: { a: '1', b: '2' } });
    const sealed = await calls.encrypt(name, Buffer.from('kept'));
    expect(await calls.must('PATCH', `/v1/keys/${name}`, { description: 'new' })).toMatchObject({
      ...{ description: 'new', tags: { a: '1', b: '2' }, state: 'enabled' },
    });
    expect(await calls.must('PATCH', `/v1/keys/${id}`, { tags: { c: '3' } })).toMatchObject({
      ...{ description: 'new', tags: { c: '3' } },
    });
    expect(await calls.must('PATCH', `/v1/keys/${id}`, { state: 'disabled' })).toMatchObject({
      state: 'disabled',
    });
    expect(await calls.must('GET', `/v1/keys/${id}`)).toMatchObject({ state: 'disabled', tags: { c: '3' } });
    const refused = [
      { state: 'destroyed' },
      { name: 'other' },
      { algorithm: 'aes-128-gcm' },
      { description: null },
      { description: '\ud800' },
    ];
    for (const body of refused) {
      expect(await codeOf('PATCH', `/v1/keys/${id}`, body)).toEqual([400, 'request/invalid']);
    }
    await calls.must('PATCH', `/v1/keys/${id}`, { state: 'enabled' });
    expect(await calls.decrypt(sealed)).toEqual(Buffer.from('kept'));
  });

  /** Guarantees versions newest first, page by page, each with its own state and last use. */
  test('has versions', async () => {
    const { name } = await calls.createKey(unique());
    for (let ordinal = 2; ordinal <= 7; ordinal += 1) {
      expect(await calls.must('POST', `/v1/keys/${name}/rotate`, {})).toMatchObject({
        currentVersion: ordinal,
      });
    }
    await calls.encrypt(name, Buffer.from('x'));
    const versions = await listed(`/v1/keys/${name}/versions`, 3);
    expect(versions.map(({ version }) => version)).toEqual([7, 6, 5, 4, 3, 2, 1]);
    expect(new Set(versions.map(({ id }) => id)).size).toBe(7);
    expect(versions.map(({ lastUsedAt }) => lastUsedAt !== undefined)).toEqual([
      true,
      ...Array(6).fill(false),
    ]);
    expect(versions.map(({ usesReserved }) => usesReserved)).toEqual([2 ** 20, 0, 0, 0, 0, 0, 0]);
    const changed = await calls.must('PATCH', `/v1/keys/${name}/versions/3`, { state: 'decrypt-only' });
    expect(changed).toMatchObject({ version: 3, state: 'decrypt-only' });
    const states = (await listed(`/v1/keys/${name}/versions`, 100)).map(({ state }) => state);
    expect(states).toEqual([
      'enabled',
      'enabled',
      'enabled',
      'enabled',
      'decrypt-only',
      'enabled',
      'enabled',
    ]);
    expect(await codeOf('PATCH', `/v1/keys/${name}/versions/8`, { state: 'disabled' })).toEqual([
      404,
      'key/not-found',
    ]);
    for (const [ordinal, state] of [
      ['0', 'disabled'],
      ['1.5', 'disabled'],
      ['01', 'disabled'],
      ['1', 'destroyed'],
    ]) {
      const path = `/v1/keys/${name}/versions/${ordinal}`;
      expect(await codeOf('PATCH', path, { state }), path).toEqual([400, 'request/invalid']);
    }
  });

  /** Guarantees that a key whose current version may not encrypt is repaired by a rotation. */
  test('rotates away from a disabled version', async () => {
    const { name } = await calls.createKey(unique());
    const sealed = await calls.encrypt(name, Buffer.from('x'));
    await calls.must('PATCH', `/v1/keys/${name}/versions/1`, { state: 'disabled' });
    const encrypt = () => codeOf('POST', `/v1/keys/${name}/encrypt`, { plaintext: '' });
    expect(await encrypt()).toEqual([409, 'key/version-disabled']);
    await calls.must('POST', `/v1/keys/${name}/rotate`, {});
    expect((await encrypt())[0]).toBe(200);
    const body = { ciphertext: base64(sealed) };
    expect(await codeOf('POST', '/v1/decrypt', body)).toEqual([409, 'key/version-disabled']);
    await calls.must('PATCH', `/v1/keys/${name}/versions/1`, { state: 'enabled' });
    expect((await codeOf('POST', '/v1/decrypt', body))[0]).toBe(200);
  });
});

describe('lists', () => {
  const prefix = `list${randomBytes(4).toString('hex')}`;
  const names = [
    ...['a_b', 'a_b2', 'axb', 'a-b', 'a.b', 'a', 'a_', 'b'].map((name) => `${prefix}.${name}`),
    `${prefix}x`,
  ];
  beforeAll(async () => {
    for (const name of names) await calls.createKey(name);
  });

  const seen = async (keys: readonly string[], limit = 1000) => {
    const token = await calls.createToken({ scopes: ['keys:encrypt'], keys });
    return (await listed('/v1/keys', limit, token)).map(({ name }) => name);
  };

  /** Guarantees pages of any size that together are the whole, oldest first, each key once. */
  test.each([1, 2, 4, 1000])('pages of %i', async (limit) => {
    expect(await seen([`${prefix}*`], limit)).toEqual(names);
  });

  /** Guarantees that a pattern shows the keys it covers and no others: `_`, `.` and `-` stand for themselves. */
  test('patterns are no wildcards', async () => {
    const full = (...short: string[]) => short.map((name) => `${prefix}.${name}`);
    expect(await seen(full('a_*'))).toEqual(full('a_b', 'a_b2', 'a_'));
    expect(await seen(full('a_b*'))).toEqual(full('a_b', 'a_b2'));
    expect(await seen(full('a_b'))).toEqual(full('a_b'));
    expect(await seen(full('a.*'))).toEqual(full('a.b'));
    expect(await seen(full('a*'))).toEqual(full('a_b', 'a_b2', 'axb', 'a-b', 'a.b', 'a', 'a_'));
    expect(await seen(full('b', 'a', 'a', 'nothing*'))).toEqual(full('a', 'b'));
    const id = String((await calls.must('GET', `/v1/keys/${prefix}.axb`))['id']);
    expect(await seen([id])).toEqual(full('axb'));
    expect(await seen([`${id.slice(0, 8)}*`])).toEqual([]);
  });

  /** Guarantees that a list shows exactly the keys that can be used one by one. */
  test('what is listed is what can be used', async () => {
    const token = await calls.createToken({
      scopes: ['keys:encrypt'],
      keys: [`${prefix}.a_*`, `${prefix}x`],
    });
    const shown = new Set((await listed('/v1/keys', 100, token)).map(({ name }) => name));
    for (const name of names) {
      const [status] = await codeOf('POST', `/v1/keys/${name}/encrypt`, { plaintext: '' }, token);
      expect(status === 200, name).toBe(shown.has(name));
    }
  });

  /** Guarantees the bounds of a page, and that a cursor of somebody else's making is refused or ends the list. */
  test('limits and cursors', async () => {
    for (const query of ['limit=0', 'limit=1001', 'limit=x', 'limit=-1', 'cursor=', 'page=2']) {
      expect(await codeOf('GET', `/v1/keys?${query}`), query).toEqual([400, 'request/invalid']);
    }
    expect(await codeOf('GET', `/v1/keys/${prefix}.a/versions?cursor=abc`)).toEqual([400, 'request/invalid']);
    expect(await codeOf('GET', '/v1/keys?cursor=zzz')).toEqual([400, 'request/invalid']);
  });
});

describe('who may not see a key', () => {
  /** Guarantees that a hidden key, one of another namespace and one that does not exist give the same answer, byte for byte. */
  test('gets the answer for no key', async () => {
    const { id, name } = await calls.createKey(unique());
    await calls.must('POST', '/v1/access/namespaces', { name: 'far' });
    const scopes = ['keys:admin', 'keys:encrypt', 'keys:decrypt', 'keys:rewrap'];
    const tokens = [
      await calls.createToken({ scopes, keys: [`${name}-*`, 'others*'] }),
      await calls.createToken({ scopes, namespace: 'far' }),
    ];
    const answers = new Set<string>();
    for (const token of tokens) {
      for (const ref of [name, id, unique(), '019300d4-0000-7000-8000-000000000000']) {
        for (const [method, path, body] of [
          ['GET', '', undefined],
          ['GET', '/versions', undefined],
          ['PATCH', '', { description: 'x' }],
          ['PATCH', '/versions/1', { state: 'disabled' }],
          ['POST', '/rotate', {}],
          ['POST', '/encrypt', { plaintext: '' }],
          ['POST', '/data-keys', {}],
        ] as const) {
          const answer = await service.call(method, `/v1/keys/${ref}${path}`, body, { token });
          answers.add(
            `${answer.status} ${answer.headers.get('content-length')} ${withoutRequestId(answer.text)}`,
          );
        }
      }
      expect(await listed('/v1/keys', 100, token)).toEqual([]);
    }
    expect(answers.size).toBe(1);
    expect([...answers][0]).toMatch(/^404 .*"code":"key\/not-found"/);
    expect(await calls.must('GET', `/v1/keys/${id}`)).toMatchObject({ currentVersion: 1, description: '' });
  });

  /** Guarantees that names are each namespace's own, and that nobody makes a key outside their patterns. */
  test('makes keys of its own alone', async () => {
    await calls.must('POST', '/v1/access/namespaces', { name: 'near' });
    const scopes = ['keys:admin', 'keys:encrypt', 'keys:decrypt'];
    const other = { token: await calls.createToken({ scopes, namespace: 'near' }) };
    const { id, name } = await calls.createKey(unique());
    const theirs = await calls.createKey(name, {}, other);
    expect(theirs.id).not.toBe(id);
    const sealed = await calls.encrypt(name, Buffer.from('theirs'), {}, other);
    expect(await calls.decrypt(sealed, {}, other)).toEqual(Buffer.from('theirs'));
    expect((await codeOf('POST', '/v1/decrypt', { ciphertext: base64(sealed) }))[0]).toBe(400);
    const limited = await calls.createToken({ scopes, keys: ['team-*'] });
    expect(await codeOf('POST', '/v1/keys', { name: unique() }, limited)).toEqual([403, 'access/denied']);
    expect((await codeOf('POST', '/v1/keys', { name: `team-${unique()}` }, limited))[0]).toBe(201);
  });

  /** Guarantees that managing keys and using them are different rights. */
  test('duties are separate', async () => {
    const { name } = await calls.createKey(unique());
    const admin = await calls.createToken({ scopes: ['keys:admin'] });
    const user = await calls.createToken({ scopes: ['keys:encrypt', 'keys:decrypt', 'keys:rewrap'] });
    const denied = [403, 'access/denied'];
    for (const [path, body] of [
      ['encrypt', { plaintext: '' }],
      ['decrypt', { ciphertext: '' }],
      ['rewrap', { ciphertext: '' }],
      ['data-keys', {}],
    ] as const) {
      expect(await codeOf('POST', `/v1/keys/${name}/${path}`, body, admin), path).toEqual(denied);
    }
    expect(await codeOf('POST', '/v1/keys', { name: unique() }, user)).toEqual(denied);
    expect(await codeOf('POST', `/v1/keys/${name}/rotate`, {}, user)).toEqual(denied);
    expect(await codeOf('PATCH', `/v1/keys/${name}`, { state: 'disabled' }, user)).toEqual(denied);
    expect(await codeOf('PATCH', `/v1/keys/${name}/versions/1`, { state: 'disabled' }, user)).toEqual(denied);
    expect((await codeOf('GET', `/v1/keys/${name}`, undefined, user))[0]).toBe(200);
  });
});

describe('repeated requests', () => {
  interface KeyRecord {
    readonly outcome: string;
    readonly code?: string;
    readonly replayed?: boolean;
  }
  const send = (method: string, path: string, body: unknown, key: string) =>
    service.call(method, path, body, { headers: { 'idempotency-key': key } });
  const records = async (target: string, action: string) => {
    const page = await calls.must('GET', `/v1/audit/records?target=${target}&action=${action}&limit=1000`);
    return page['items'] as KeyRecord[];
  };

  /** Guarantees that an equal request with the same Idempotency-Key gives the same answer, makes one key, and is recorded as replayed. */
  test('create once', async () => {
    const name = unique();
    const answers = [];
    for (let index = 0; index < 3; index += 1) {
      answers.push(await send('POST', '/v1/keys', { name, tags: { a: 'b' } }, `create.${name}`));
    }
    expect(answers.map(({ status }) => status)).toEqual([201, 201, 201]);
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    expect((await records(name, 'keys.create')).map(({ outcome, replayed }) => [outcome, replayed])).toEqual([
      ['allowed', true],
      ['allowed', true],
      ['allowed', undefined],
    ]);
    const other = await send('POST', '/v1/keys', { name: unique() }, `create.${name}`);
    expect([other.status, other.body['code']]).toEqual([422, 'request/idempotency-conflict']);
    const again = await send('POST', '/v1/keys', { name, tags: { a: 'b' } }, unique());
    expect([again.status, again.body['code']]).toEqual([409, 'key/exists']);
  });

  /** Guarantees that a repeated rotation rotates once, another rotation's key is refused, and the next key rotates again. */
  test('rotate once', async () => {
    const [first, second] = [await calls.createKey(unique()), await calls.createKey(unique())];
    const idempotencyKey = unique();
    const rotate = (name: string, key = idempotencyKey) => send('POST', `/v1/keys/${name}/rotate`, {}, key);
    const answers = [await rotate(first.name), await rotate(first.name)];
    expect(answers.map(({ body }) => body['currentVersion'])).toEqual([2, 2]);
    expect(answers[0]?.text).toBe(answers[1]?.text);
    expect((await rotate(second.name)).status).toBe(422);
    expect((await rotate(first.name, unique())).body['currentVersion']).toBe(3);
    expect(await calls.must('GET', `/v1/keys/${second.name}`)).toMatchObject({ currentVersion: 1 });
  });

  /** Guarantees that a failed request does not use up its Idempotency-Key, and another caller's key is another key. */
  test('belongs to who succeeded', async () => {
    const name = unique();
    const key = unique();
    expect((await send('POST', `/v1/keys/${name}/rotate`, {}, key)).status).toBe(404);
    await calls.createKey(name);
    expect((await send('POST', `/v1/keys/${name}/rotate`, {}, key)).status).toBe(200);
    const token = await calls.createToken({ scopes: ['keys:admin'] });
    const headers = { 'idempotency-key': key };
    const other = await service.call('POST', `/v1/keys/${name}/rotate`, {}, { token, headers });
    expect(other.body['currentVersion']).toBe(3);
  });

  /** Guarantees that 20 equal requests at once make one key or one version, and all get the one answer. */
  test('at once', async () => {
    const name = unique();
    const created = await Promise.all(
      Array.from({ length: 20 }, () => send('POST', '/v1/keys', { name }, `create.${name}`)),
    );
    expect(new Set(created.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(created[0]?.status).toBe(201);
    const all = await records(name, 'keys.create');
    expect(all.filter(({ replayed }) => replayed !== true)).toHaveLength(1);
    expect(all).toHaveLength(20);
    const rotated = await Promise.all(
      Array.from({ length: 20 }, () => send('POST', `/v1/keys/${name}/rotate`, {}, `rotate.${name}`)),
    );
    expect(rotated.map(({ body }) => body['currentVersion'])).toEqual(Array(20).fill(2));
    expect(await calls.must('GET', `/v1/keys/${name}`)).toMatchObject({ currentVersion: 2 });
    expect(await listed(`/v1/keys/${name}/versions`, 100)).toHaveLength(2);
  });
});

/** Guarantees that of many rotations at once each acknowledged one has a version of its own, without gaps; the others are conflicts. */
test('concurrent rotations', async () => {
  const { name } = await calls.createKey(unique());
  const rotations = await Promise.all(
    Array.from({ length: 40 }, () => service.call('POST', `/v1/keys/${name}/rotate`, {})),
  );
  const acknowledged = rotations
    .filter(({ status }) => status === 200)
    .map(({ body }) => Number(body['currentVersion']));
  const others = rotations.filter(({ status }) => status !== 200);
  expect(new Set(others.map(({ status, body }) => `${status} ${String(body['code'])}`))).toEqual(
    new Set(['409 key/conflict']),
  );
  expect(acknowledged.toSorted((a, b) => a - b)).toEqual(acknowledged.map((_, index) => index + 2));
  const versions = await listed(`/v1/keys/${name}/versions`, 100);
  expect(versions).toHaveLength(acknowledged.length + 1);
  expect(await calls.must('GET', `/v1/keys/${name}`)).toMatchObject({
    currentVersion: acknowledged.length + 1,
  });
});

const rotations = process.env['STATHERA_TEST_SCALE'] === 'nightly' ? 1_000 : 300;

/** Guarantees that one key can be rotated hundreds of times, nightly a thousand, and still opens what any version sealed. */
test(`${rotations} rotations`, { timeout: 120_000 }, async () => {
  const { name } = await calls.createKey(unique());
  const sealed: { ciphertext: Buffer; version: number }[] = [];
  for (let version = 1; version <= rotations + 1; version += 1) {
    if (version % (rotations / 10) === 1)
      sealed.push({ ciphertext: await calls.encrypt(name, Buffer.from(`${version}`)), version });
    if (version > rotations) break;
    await calls.must('POST', `/v1/keys/${name}/rotate`, {});
  }
  expect(sealed).toHaveLength(11);
  const opened = await calls.batch(
    sealed.map(({ ciphertext }) => ({ operation: 'decrypt', ciphertext: base64(ciphertext) })),
  );
  expect(
    opened.map(({ plaintext, keyVersion }) => [
      Buffer.from(plaintext ?? '', 'base64').toString(),
      keyVersion,
    ]),
  ).toEqual(sealed.map(({ version }) => [`${version}`, version]));
  const versions = await listed(`/v1/keys/${name}/versions`, rotations - 1);
  expect(versions.map(({ version }) => version)).toEqual(
    Array.from({ length: rotations + 1 }, (_, index) => rotations + 1 - index),
  );
});
