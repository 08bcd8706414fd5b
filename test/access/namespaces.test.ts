import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Answer, startTestService, type TestService } from '../support/service.ts';
import {
  auditRecords,
  comparable,
  freshName,
  makeKey,
  makeNamespace,
  member,
  plaintext,
  seal,
} from './support.ts';

const scopes = ['keys:admin', 'keys:encrypt', 'keys:decrypt', 'keys:rewrap', 'access:admin', 'audit:read'];

let service: TestService;
/** What belongs to namespace A, and the same forms of what never was. */
let theirs: Things;
let nothing: Things;
/** A token of namespace B with everything but service scopes. */
let outsider: string;
let own: { key: string; ciphertext: string };

interface Things {
  readonly keyName: string;
  readonly keyId: string;
  readonly ciphertext: string;
  readonly tokenId: string;
  readonly namespace: string;
  readonly requestId: string;
}

beforeAll(async () => {
  service = await startTestService();
  const a = await makeNamespace(service, scopes);
  const b = await makeNamespace(service, scopes);
  const keyName = 'key-of-a';
  const keyId = await makeKey(service, keyName, a.token.secret);
  await service.call('POST', `/v1/keys/${keyName}/rotate`, {}, { token: a.token.secret });
  const ciphertext = await seal(service, keyName, { token: a.token.secret });
  const requestId = 'request-of-a';
  await service.call('GET', `/v1/keys/${keyName}`, undefined, {
    token: a.token.secret,
    headers: { 'x-request-id': requestId },
  });
  theirs = { keyName, keyId, ciphertext, tokenId: a.token.id, namespace: a.name, requestId };
  // The same lengths and forms, the same time in the ids: only nobody ever made them.
  const never = (id: string) => id.slice(0, -4) + (id.endsWith('0000') ? 'ffff' : '0000');
  const foreign = Buffer.from(ciphertext, 'base64');
  const idAt = foreign.indexOf(Buffer.from(keyId.replaceAll('-', ''), 'hex'));
  if (idAt < 0) throw new Error('the ciphertext does not name its key');
  foreign.fill(0, idAt + 14, idAt + 16);
  nothing = {
    ...{ keyName: 'key-of-0', keyId: never(keyId), ciphertext: foreign.toString('base64') },
    ...{ tokenId: never(a.token.id), namespace: `${a.name}0`, requestId: 'request-of-0' },
  };
  outsider = b.token.secret;
  own = { key: freshName('own'), ciphertext: '' };
  await makeKey(service, own.key, outsider);
  own = { ...own, ciphertext: await seal(service, own.key, { token: outsider }) };
});
afterAll(() => service.dispose());

type Attempt = readonly [method: string, path: string, body?: unknown];

/** Every place of a request that could name something of another namespace. */
const attempts: Readonly<Record<string, (things: Things) => Attempt>> = {
  'getKey by name': ({ keyName }) => ['GET', `/v1/keys/${keyName}`],
  'getKey by id': ({ keyId }) => ['GET', `/v1/keys/${keyId}`],
  'updateKey by name': ({ keyName }) => ['PATCH', `/v1/keys/${keyName}`, { state: 'disabled' }],
  'updateKey by id': ({ keyId }) => ['PATCH', `/v1/keys/${keyId}`, { state: 'disabled' }],
  'rotateKey by name': ({ keyName }) => ['POST', `/v1/keys/${keyName}/rotate`, {}],
  'rotateKey by id': ({ keyId }) => ['POST', `/v1/keys/${keyId}/rotate`, {}],
  'listKeyVersions by name': ({ keyName }) => ['GET', `/v1/keys/${keyName}/versions`],
  'listKeyVersions by id': ({ keyId }) => ['GET', `/v1/keys/${keyId}/versions?limit=1`],
  'updateKeyVersion by name': ({ keyName }) => [
    'PATCH',
    `/v1/keys/${keyName}/versions/1`,
    { state: 'disabled' },
  ],
  'updateKeyVersion by id': ({ keyId }) => ['PATCH', `/v1/keys/${keyId}/versions/1`, { state: 'disabled' }],
  'listEvents of another': () => ['GET', '/v1/events?cursor=0'],
  'destroyKeyVersions by name': ({ keyName }) => ['POST', `/v1/keys/${keyName}/destroy`, { reason: 'x' }],
  'destroyKeyVersions by id': ({ keyId }) => ['POST', `/v1/keys/${keyId}/destroy`, { dryRun: true }],
  'restoreKeyVersions by name': ({ keyName }) => ['POST', `/v1/keys/${keyName}/restore`, {}],
  'restoreKeyVersions by id': ({ keyId }) => ['POST', `/v1/keys/${keyId}/restore`, { versions: [1] }],
  'listDestructions by name': ({ keyName }) => ['GET', `/v1/keys/${keyName}/destructions`],
  'listDestructions by id': ({ keyId }) => ['GET', `/v1/keys/${keyId}/destructions`],
  'getRetention by name': ({ keyName }) => ['GET', `/v1/keys/${keyName}/retention`],
  'getRetention by id': ({ keyId }) => ['GET', `/v1/keys/${keyId}/retention`],
  'setRetention by name': ({ keyName }) => ['POST', `/v1/keys/${keyName}/retention`, { keepLatest: 1 }],
  'setRetention by id': ({ keyId }) => ['POST', `/v1/keys/${keyId}/retention`, { keepLatest: 1 }],
  'removeRetention by name': ({ keyName }) => ['DELETE', `/v1/keys/${keyName}/retention`],
  'removeRetention by id': ({ keyId }) => ['DELETE', `/v1/keys/${keyId}/retention`],
  'encrypt by name': ({ keyName }) => ['POST', `/v1/keys/${keyName}/encrypt`, { plaintext }],
  'encrypt by id': ({ keyId }) => ['POST', `/v1/keys/${keyId}/encrypt`, { plaintext }],
  'decrypt of the ciphertext': ({ ciphertext }) => ['POST', '/v1/decrypt', { ciphertext }],
  'decryptWithKey by name': ({ keyName, ciphertext }) => [
    ...(['POST', `/v1/keys/${keyName}/decrypt`, { ciphertext }] as const),
  ],
  'decryptWithKey by id': ({ keyId, ciphertext }) => ['POST', `/v1/keys/${keyId}/decrypt`, { ciphertext }],
  'decryptWithKey by own key': ({ ciphertext }) => ['POST', `/v1/keys/${own.key}/decrypt`, { ciphertext }],
  'rewrap by name': ({ keyName, ciphertext }) => ['POST', `/v1/keys/${keyName}/rewrap`, { ciphertext }],
  'rewrap to a name': ({ keyName }) => [
    ...(['POST', `/v1/keys/${own.key}/rewrap`, { ciphertext: own.ciphertext, toKey: keyName }] as const),
  ],
  'rewrap to an id': ({ keyId }) => [
    ...(['POST', `/v1/keys/${own.key}/rewrap`, { ciphertext: own.ciphertext, toKey: keyId }] as const),
  ],
  'rewrap to the own key': ({ ciphertext }) => [
    ...(['POST', `/v1/keys/${own.key}/rewrap`, { ciphertext, toKey: own.key }] as const),
  ],
  'createDataKeys by name': ({ keyName }) => ['POST', `/v1/keys/${keyName}/data-keys`, { plaintext: true }],
  'createDataKeys by id': ({ keyId }) => ['POST', `/v1/keys/${keyId}/data-keys`, {}],
  batch: ({ keyName, keyId, ciphertext }) => [
    'POST',
    '/v1/batch',
    {
      operations: [
        { operation: 'encrypt', key: keyName, plaintext },
        { operation: 'encrypt', key: keyId, plaintext },
        { operation: 'decrypt', ciphertext },
        { operation: 'decrypt', key: keyId, ciphertext },
        { operation: 'rewrap', key: keyName, ciphertext },
        { operation: 'rewrap', key: own.key, ciphertext: own.ciphertext, toKey: keyId },
        { operation: 'data-keys', key: keyId, plaintext: true },
      ],
    },
  ],
  'listKeys after an id': ({ keyId }) => ['GET', `/v1/keys?cursor=${keyId}`],
  'listTokens after an id': ({ tokenId }) => ['GET', `/v1/access/tokens?cursor=${tokenId}`],
  'createToken in the namespace': ({ namespace }) => [
    ...(['POST', '/v1/access/tokens', { name: 'x', scopes: ['keys:admin'], namespace }] as const),
  ],
  'createNamespace of the name': ({ namespace }) => ['POST', '/v1/access/namespaces', { name: namespace }],
  listNamespaces: () => ['GET', '/v1/access/namespaces'],
  'revokeToken by id': ({ tokenId }) => ['DELETE', `/v1/access/tokens/${tokenId}`],
  'listAuditRecords of a key': ({ keyId }) => [
    ...(['GET', `/v1/audit/records?action=keys.create&target=${keyId}`] as const),
  ],
  'listAuditRecords of a key name': ({ keyName }) => [
    ...(['GET', `/v1/audit/records?action=keys.create&target=${keyName}`] as const),
  ],
  'listAuditRecords of a principal': ({ tokenId }) => ['GET', `/v1/audit/records?principalId=${tokenId}`],
  'listAuditRecords of a request': ({ requestId }) => ['GET', `/v1/audit/records?requestId=${requestId}`],
};

const call = ([method, path, body]: Attempt): Promise<Answer> =>
  service.call(method, path, body, { token: outsider, headers: { 'x-request-id': 'same' } });

/** Guarantees that a caller of another namespace is told the same of what is there as of what never was, byte for byte. */
test.for(Object.keys(attempts))('%s', async (what) => {
  const attempt = attempts[what];
  if (!attempt) throw new Error('no attempt');
  const answer = await call(attempt(theirs));
  expect(comparable(await call(attempt(nothing)))).toBe(comparable(answer));
  for (const name of [theirs.keyId, theirs.tokenId, theirs.namespace])
    expect(answer.text).not.toContain(name);
});

/** Guarantees that what the outsider tried left no trace: the owner finds everything as it was. */
test('leaves everything as it was', async () => {
  const { body } = await service.call('GET', '/v1/access/namespaces?limit=1000');
  const found = body['items'] as { id: string; name: string }[];
  expect(found.map(({ name }) => name)).toEqual(expect.arrayContaining(['default', theirs.namespace]));
  const owner = await service.call('POST', '/v1/access/tokens', {
    ...{ name: 'owner', namespace: theirs.namespace, scopes },
  });
  const token = member(owner, 'secret') ?? '';
  const key = await service.call('GET', `/v1/keys/${theirs.keyName}`, undefined, { token });
  expect(key.body).toMatchObject({ id: theirs.keyId, state: 'enabled', currentVersion: 2 });
  const opened = await service.call('POST', '/v1/decrypt', { ciphertext: theirs.ciphertext }, { token });
  expect(opened.body['plaintext']).toBe(plaintext);
  // Nor does the log of A know of the outsider, or the log of B of A.
  const tokenB = await auditRecords(service, {}, outsider);
  expect(tokenB.length).toBeGreaterThan(0);
  expect(tokenB.filter(({ principal }) => principal.id === theirs.tokenId)).toEqual([]);
  const tokenA = await auditRecords(service, {}, token);
  expect(tokenA.filter(({ requestId }) => requestId === theirs.requestId)).toHaveLength(1);
  expect(tokenA.filter(({ requestId }) => requestId === 'same')).toEqual([]);
});

/** Guarantees that names are each namespace's own: the same name is free in another one and means another key. */
test('keeps names apart', async () => {
  const id = await makeKey(service, theirs.keyName, outsider);
  expect(id).not.toBe(theirs.keyId);
  const ciphertext = await seal(service, theirs.keyName, { token: outsider });
  const at = `/v1/keys/${theirs.keyName}`;
  const opened = await service.call('POST', `${at}/decrypt`, { ciphertext }, { token: outsider });
  expect(opened.body).toMatchObject({ keyId: id, plaintext });
  const foreign = await service.call(
    'POST',
    `${at}/decrypt`,
    { ciphertext: theirs.ciphertext },
    { token: outsider },
  );
  expect([foreign.status, foreign.body['code']]).toEqual([400, 'envelope/decryption-failed']);
});

/** Guarantees that an Idempotency-Key of one namespace gives no answer to another. */
test('keeps idempotent answers apart', async () => {
  const c = await makeNamespace(service, scopes);
  const headers = { 'idempotency-key': 'shared' };
  const create = (token: string) =>
    service.call('POST', '/v1/keys', { name: 'same-name' }, { token, headers });
  const first = await create(outsider);
  const second = await create(c.token.secret);
  expect([first.status, second.status]).toEqual([201, 201]);
  expect(second.body['id']).not.toBe(first.body['id']);
  expect((await create(c.token.secret)).text).toBe(second.text);
});
