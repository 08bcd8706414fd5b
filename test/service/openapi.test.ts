import { constants, publicEncrypt } from 'node:crypto';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { allRoutes } from '../../src/app.ts';
import { createClient, wrapKey } from '../../src/client/node/index.ts';
import { newId } from '../../src/core/ids.ts';
import { createMetrics } from '../../src/core/metrics.ts';
import { createHttpApp } from '../../src/http/server.ts';
import { freshName, makeKey, makeToken, plaintext, seal, waitingJob } from '../access/support.ts';
import { agesDataset, makeContributors } from '../aggregate/asking.ts';
import { epochKey, makeDataset, salaries, uploadFor } from '../aggregate/support.ts';
import { documentRequests, schemaOf } from '../fields/support.ts';
import { type CallOptions, startTestService, type TestService } from '../support/service.ts';
import { type Document, type Operation, readDocument } from './document.ts';

let service: TestService;
let document: Document;
let key: string;
let ciphertext: string;
let encapsulated: object;
let mac: unknown;
let encrypted: string;
const signers = { signing: 'ml-dsa-44', ecdsa: 'ecdsa-p256', rsa: 'rsa-pss-2048' };
let signatures: Readonly<Record<keyof typeof signers | 'mu', unknown>>;
const digest = Buffer.alloc(32).toString('base64');
const mu = Buffer.alloc(64).toString('base64');
let job: string;
/** A token that may do nothing but read the audit log, and one that may do nothing else. */
let dataset: string;
/** One that can be asked, and what was asked of it; made for the first who needs it. */
let asked: Promise<{ dataset: string; queryId: string }> | undefined;
function askable() {
  asked ??= makeAskable();
  return asked;
}
async function makeAskable() {
  const made = await agesDataset(service, await makeContributors(service, 5));
  const query = { statistic: 'histogram', column: 'age', epochs: [1], epsilon: 1, groupBy: ['department'] };
  const { body } = await service.call('POST', `/v1/datasets/${made}/queries`, query);
  return { dataset: made, queryId: String(body['id']) };
}
let kept: string;
let upload: Uint8Array;
let reader: string;
/** Reads neither keys nor the log. */
let watcher: string;
const readsTheLog = ['listAuditRecords', 'listDestructions', 'listEvents'];

beforeAll(async () => {
  service = await startTestService({ env: { STATHERA_JOBS_CONCURRENCY: '0' } });
  job = await waitingJob(service);
  document = readDocument((await service.call('GET', '/openapi.json', undefined, { token: null })).body);
  key = freshName('key');
  await makeKey(service, key);
  ciphertext = await seal(service, key);
  const made = { pair: 'x-wing', agreeing: 'x25519', mac: 'aes-128-cmac', ...signers };
  for (const [name, algorithm] of Object.entries(made))
    await service.call('POST', '/v1/keys', { name: `${key}-${name}`, algorithm });
  await service.call('POST', '/v1/keys', { name: `${key}-fields`, purpose: 'fields' });
  await service.call('POST', '/v1/fields/schemas', schemaOf(key, `${key}-fields`));
  const encapsulation = await service.call('POST', `/v1/keys/${key}-pair/encapsulate`, { info: 'AAAA' });
  const { ciphertext: text, confirmation } = encapsulation.body;
  encapsulated = { ciphertext: text, confirmation, info: 'AAAA', version: 1 };
  await service.call('POST', '/v1/keys', { name: `${key}-oaep`, algorithm: 'rsa-oaep-2048' });
  const { pem } = (await service.call('GET', `/v1/keys/${key}-oaep/public-key`)).body;
  const oaep = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
  encrypted = publicEncrypt({ key: String(pem), ...oaep }, Buffer.from('x')).toString('base64');
  for (const name of ['external', 'empty'])
    await service.call('POST', '/v1/keys', { name: `${key}-${name}`, origin: 'external' });
  mac = (await service.call('POST', `/v1/keys/${key}-mac/mac`, { message: plaintext, bytes: 8 })).body['mac'];
  const signed = async (name: string, body: object) =>
    (await service.call('POST', `/v1/keys/${key}-${name}/sign`, body)).body['signature'];
  signatures = {
    signing: await signed('signing', { message: 'AAAA', context: 'AAAA' }),
    mu: await signed('signing', { mu }),
    ecdsa: await signed('ecdsa', { digest }),
    rsa: await signed('rsa', { message: 'AAAA', hash: 'sha512' }),
  };
  dataset = await makeDataset(service);
  await service.call('POST', `/v1/datasets/${dataset}/epochs`, {});
  kept = await makeDataset(service);
  upload = await uploadFor(await epochKey(service, kept));
  reader = (await makeToken(service, { scopes: ['audit:read'] })).secret;
  watcher = (await makeToken(service, { scopes: ['jobs:read'] })).secret;
});
afterAll(() => service.dispose());

/** Calls and holds the answer against the document. @returns status and code */
async function checked(
  { operationId, method }: Operation,
  path: string,
  body?: unknown,
  options?: CallOptions,
): Promise<[number, unknown]> {
  const answer = await service.call(method, path, body, options);
  const faults = document.faults(operationId, {
    status: answer.status,
    headers: Object.fromEntries(answer.headers),
    text: answer.text,
  });
  expect([operationId, answer.status, faults]).toEqual([operationId, answer.status, []]);
  return [answer.status, answer.body['code']];
}

/** With every member that a field and an index may have. */
function everyTreatment(name: string) {
  const { fields, indexes, ...schema } = schemaOf(name, `${key}-fields`);
  const format = { treatment: 'format-preserving', separators: ' ', keepPrefix: 0, keepSuffix: 4 };
  return {
    ...schema,
    fields: [
      ...fields,
      { ...format, name: 'c', path: '/c', alphabet: 'digits', luhn: true, versionMember: 'cVersion' },
      { ...format, name: 'd', path: '/d', symbols: 'ab', keyVersion: 1, key: `${key}-fields` },
      { name: 'e', path: '/e', treatment: 'deterministic', joinGroup: 'g', reveal: { view: 'hash' } },
      {
        ...{ name: 'f', path: '/f', treatment: 'none' },
        reveal: { view: 'mask', keepPrefix: 1, keepSuffix: 1, separators: '-', symbol: '#' },
      },
    ],
    indexes: indexes.map((index) => ({
      ...{ ...index, expectedRows: 1_000 },
      fields: [{ name: 'a', normalize: ['trim'] }],
    })),
  };
}

const coverageReport = {
  place: { system: 'sqlite', database: 'd', table: 't', column: 'c', pointer: '/a' },
  ...{ currentVersion: 1, agreed: true, scanSeconds: 0 },
  ...{ rows: 0, nulls: 0, foreign: 0, unreadable: 0, versions: [] },
};
const peer = Buffer.alloc(32, 9).toString('base64');
const shared = { info: 'AAAA', psk: peer, pskId: 'AAAA' };

/** A body that imports a key. */
async function wrappedFor(name: string): Promise<object> {
  const client = createClient({ url: service.url, credentials: service.token });
  const parameters = await client.getImportParameters({ key: name });
  const { importId, wrappedKey, checkValue } = await wrapKey(
    parameters,
    Buffer.alloc(parameters.keyBytes, 7),
  );
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
  return { importId, wrappedKey: text(wrappedKey), checkValue: text(checkValue) };
}

/** Of the namespace's, the oldest, or a new one. */
async function webhook(): Promise<string> {
  const { body } = await service.call('GET', '/v1/webhooks');
  const [first] = body['items'] as { id: string }[];
  if (first) return first.id;
  const made = await service.call('POST', '/v1/webhooks', { url: 'https://hooks.example.com/' });
  return String(made.body['id']);
}

/** Of the key, one that nothing was encrypted with and that is superseded. */
async function unusedVersion(): Promise<unknown[]> {
  const { body } = await service.call('POST', `/v1/keys/${key}/rotate`, {});
  await service.call('POST', `/v1/keys/${key}/rotate`, {});
  return [body['currentVersion']];
}

/** For each operation, calls that succeed: all its parameters and members are used in at least one. */
const successes: Readonly<
  Record<string, () => Promise<readonly [status: number, path: string, body?: unknown][]>>
> = {
  createKey: async () => [
    [201, '/v1/keys', { name: freshName('made') }],
    [
      ...([201, '/v1/keys'] as const),
      {
        name: freshName('made'),
        algorithm: 'aes-128-gcm',
        purpose: 'encrypt',
        description: 'é',
        tags: { a: 'b' },
      },
    ],
  ],
  listKeys: async () => [
    [200, '/v1/keys?limit=1'],
    [200, '/v1/keys'],
  ],
  getKey: async () => [[200, `/v1/keys/${key}`]],
  updateKey: async () => [
    [200, `/v1/keys/${key}`, {}],
    [200, `/v1/keys/${key}`, { description: 'new', tags: {}, state: 'enabled' }],
  ],
  rotateKey: async () => [[200, `/v1/keys/${key}/rotate`, {}]],
  listKeyVersions: async () => [
    [200, `/v1/keys/${key}/versions?limit=1`],
    [200, `/v1/keys/${key}/versions?cursor=2`],
  ],
  updateKeyVersion: async () => [[200, `/v1/keys/${key}/versions/1`, { state: 'decrypt-only' }]],
  listEvents: async () => [
    [200, '/v1/events'],
    [200, '/v1/events?limit=1&cursor=0&types=destruction.scheduled,destruction.done'],
  ],
  createWebhook: async () => [
    [201, '/v1/webhooks', { url: `https://hooks.example.com/${freshName('hook')}` }],
    [
      ...([201, '/v1/webhooks'] as const),
      { url: 'https://hooks.example.com/', description: 'é', types: ['rotation.due'] },
    ],
  ],
  listWebhooks: async () => [
    [200, '/v1/webhooks?limit=1'],
    [200, `/v1/webhooks?cursor=${newId()}`],
  ],
  updateWebhook: async () => [[200, `/v1/webhooks/${await webhook()}`, { state: 'enabled' }]],
  listDeliveries: async () => [
    [200, `/v1/webhooks/${await webhook()}/deliveries?state=dead&limit=1&cursor=${newId()}`],
  ],
  redeliver: async () => [
    [200, `/v1/webhooks/${await webhook()}/redeliver`, {}],
    [200, `/v1/webhooks/${await webhook()}/redeliver`, { deliveries: [newId()] }],
  ],
  removeWebhook: async () => [[204, `/v1/webhooks/${await webhook()}`]],
  destroyKeyVersions: async () => {
    const versions = await unusedVersion();
    return [
      [...([200, `/v1/keys/${key}/destroy`] as const), { versions, windowSeconds: 604_800, reason: 'tried' }],
      [200, `/v1/keys/${key}/destroy`, { versions, dryRun: true }],
    ];
  },
  restoreKeyVersions: async () => {
    const versions = await unusedVersion();
    await service.call('POST', `/v1/keys/${key}/destroy`, { versions });
    return [[200, `/v1/keys/${key}/restore`, { versions }]];
  },
  listDestructions: async () => [
    [200, `/v1/keys/${key}/destructions?limit=1`],
    [200, `/v1/keys/${key}/destructions?cursor=${newId()}`],
  ],
  getRetention: async () => [[200, `/v1/keys/${key}/retention`]],
  setRetention: async () => [
    [
      ...([200, `/v1/keys/${key}/retention`] as const),
      { retireAfterSeconds: 86_400, finally: 'destroy', windowSeconds: 604_800, reason: 'tried' },
    ],
    [200, `/v1/keys/${key}/retention`, { keepLatest: 1_000, dryRun: true }],
  ],
  removeRetention: async () => [[204, `/v1/keys/${key}/retention`]],
  decryptOaep: async () => [
    [200, `/v1/keys/${key}-oaep/decrypt-oaep`, { ciphertext: encrypted }],
    [
      ...([200, `/v1/keys/${key}-oaep/decrypt-oaep`] as const),
      { ciphertext: encrypted, hash: 'sha256', oaepLabel: '', version: 1 },
    ],
  ],
  getKeyUsage: async () => [[200, `/v1/keys/${key}/usage`]],
  getRotationPolicy: async () => [[200, `/v1/keys/${key}/rotation-policy`]],
  setRotationPolicy: async () => [
    [200, `/v1/keys/${key}/rotation-policy`, { paused: true }],
    [200, `/v1/keys/${key}/rotation-policy`, { policy: { everySeconds: 86_400 }, paused: false }],
    [
      200,
      `/v1/keys/${key}/rotation-policy`,
      {
        policy: {
          cron: { expression: '0 3 1 * *', timeZone: 'Europe/Berlin' },
          after: { encryptions: 1_000_000, bytes: 1_000_000_000 },
          jitterSeconds: 60,
          windows: { timeZone: 'UTC', opens: [{ days: ['sat', 'sun'], at: '01:00', minutes: 120 }] },
        },
      },
    ],
    [200, `/v1/keys/${key}/rotation-policy`, { policy: null }],
    [200, `/v1/keys/${key}/rotation-policy`, { policy: { everyDays: 30 } }],
  ],
  planRotation: async () => [
    [200, `/v1/keys/${key}/rotation-plan`, { policy: { everyDays: 30 }, days: 400 }],
  ],
  listRotations: async () => [
    [200, `/v1/keys/${key}/rotations?limit=1`],
    [200, `/v1/keys/${key}/rotations?cursor=2`],
  ],
  getDefaultRotationPolicy: async () => [[200, '/v1/rotation/default-policy']],
  setDefaultRotationPolicy: async () => [
    [200, '/v1/rotation/default-policy', { policy: null, purposes: ['sign'], existingKeys: true }],
    [200, '/v1/rotation/default-policy', { policy: { everyDays: 30 } }],
  ],
  listUpcomingRotations: async () => [[200, '/v1/rotation/upcoming?limit=1&days=999']],
  getRotationStatus: async () => [[200, '/v1/rotation/status']],
  getImportParameters: async () => [
    [200, `/v1/keys/${key}/import-parameters`, {}],
    [200, `/v1/keys/${key}/import-parameters`, { wrapping: 'hpke-x-wing', expiresInSeconds: 60 }],
  ],
  importKey: async () => [
    [200, `/v1/keys/${key}/import`, await wrappedFor(key)],
    [
      200,
      `/v1/keys/${key}-external/import`,
      { ...(await wrappedFor(`${key}-external`)), expiresAt: '2099-01-01T00:00:00Z' },
    ],
  ],
  encrypt: async () => [
    [200, `/v1/keys/${key}/encrypt`, { plaintext: '' }],
    [200, `/v1/keys/${key}/encrypt`, { plaintext, context: { a: 'b' } }],
  ],
  decryptWithKey: async () => [[200, `/v1/keys/${key}/decrypt`, { ciphertext, context: {} }]],
  decrypt: async () => [[200, '/v1/decrypt', { ciphertext }]],
  reportCoverage: async () => [[201, `/v1/keys/${key}/coverage`, coverageReport]],
  listCoverage: async () => [[200, `/v1/keys/${key}/coverage`]],
  rewrapLines: async () => [[200, `/v1/keys/${key}/rewrap-lines`]],
  rewrap: async () => [
    [200, `/v1/keys/${key}/rewrap`, { ciphertext }],
    [200, `/v1/keys/${key}/rewrap`, { ciphertext, context: {}, toKey: key, toContext: { a: 'b' } }],
  ],
  createDataKeys: async () => [
    [200, `/v1/keys/${key}/data-keys`, {}],
    [200, `/v1/keys/${key}/data-keys`, { count: 2, bytes: 64, context: { a: 'b' }, plaintext: true }],
  ],
  random: async () => [[200, '/v1/random', { bytes: 65_536 }]],
  batch: async () => [
    [
      ...([200, '/v1/batch'] as const),
      {
        operations: [
          { id: 'a', operation: 'encrypt', key, plaintext },
          { operation: 'decrypt', ciphertext },
          { operation: 'decrypt', ciphertext: 'AAAA' },
          { operation: 'rewrap', key, ciphertext },
          { operation: 'data-keys', key, count: 2 },
          { id: 'b', operation: 'data-keys', key, plaintext: true },
          { operation: 'random', bytes: 1 },
          { operation: 'mac', key: `${key}-mac`, message: plaintext },
          { operation: 'verify-mac', key: `${key}-mac`, message: plaintext, mac, bytes: 8 },
          { operation: 'verify-mac', key: `${key}-mac`, message: plaintext, mac },
        ],
      },
    ],
  ],
  getPublicKey: async () => [
    [200, `/v1/keys/${key}-pair/public-key`],
    [200, `/v1/keys/${key}-agreeing/public-key?version=1`],
    [200, `/v1/keys/${key}-signing/public-key`],
  ],
  sign: async () => [
    [200, `/v1/keys/${key}-signing/sign`, { message: 'AAAA', context: 'AAAA' }],
    [200, `/v1/keys/${key}-signing/sign`, { mu }],
    [200, `/v1/keys/${key}-ecdsa/sign`, { digest, encoding: 'p1363' }],
    [200, `/v1/keys/${key}-rsa/sign`, { message: 'AAAA', hash: 'sha512' }],
  ],
  verify: async () => [
    [
      ...([200, `/v1/keys/${key}-signing/verify`] as const),
      { message: 'AAAA', context: 'AAAA', signature: signatures.signing, version: 1 },
    ],
    [200, `/v1/keys/${key}-signing/verify`, { mu, signature: signatures.mu }],
    [200, `/v1/keys/${key}-ecdsa/verify`, { digest, encoding: 'der', signature: signatures.ecdsa }],
    [
      ...([200, `/v1/keys/${key}-rsa/verify`] as const),
      { message: 'AAAA', hash: 'sha512', signature: signatures.rsa },
    ],
  ],
  signJws: async () => [
    [200, `/v1/keys/${key}-ecdsa/sign-jws`, { payload: 'AAAA' }],
    [200, `/v1/keys/${key}-ecdsa/sign-jws`, { payload: 'AAAA', typ: 'JWT', cty: 'text/plain' }],
  ],
  createCsr: async () => [
    [200, `/v1/keys/${key}-ecdsa/csr`, { subject: {} }],
    [
      ...([200, `/v1/keys/${key}-ecdsa/csr`] as const),
      {
        subject: {
          ...{ country: 'AT', state: 'a', locality: 'b', organization: 'c' },
          ...{ organizationalUnit: 'd', commonName: 'e' },
        },
        ...{ dnsNames: ['a.example'], emails: ['a@a.example'] },
      },
    ],
  ],
  getJwks: async () => [
    [200, '/v1/keys/jwks.json'],
    [200, `/v1/keys/jwks.json?key=${key}-ecdsa`],
  ],
  encapsulate: async () => [
    [200, `/v1/keys/${key}-pair/encapsulate`, {}],
    [200, `/v1/keys/${key}-pair/encapsulate`, { info: 'AAAA' }],
  ],
  decapsulate: async () => [[200, `/v1/keys/${key}-pair/decapsulate`, encapsulated]],
  confirm: async () => [[200, `/v1/keys/${key}-pair/confirm`, encapsulated]],
  derive: async () => [
    [200, `/v1/keys/${key}-agreeing/derive`, { peerPublicKey: peer, label: 'a' }],
    [
      ...([200, `/v1/keys/${key}-agreeing/derive`] as const),
      { peerPublicKey: peer, label: 'a', version: 1, info: 'AAAA', bytes: 16 },
    ],
  ],
  seal: async () => [
    [200, `/v1/keys/${key}-pair/seal`, { plaintext }],
    [200, `/v1/keys/${key}-pair/seal`, { plaintext, aad: 'AAAA', aead: 'aes-128-gcm', ...shared }],
  ],
  authSeal: async () => [
    [200, `/v1/keys/${key}-agreeing/auth-seal`, { plaintext, recipientPublicKey: peer }],
    [
      ...([200, `/v1/keys/${key}-agreeing/auth-seal`] as const),
      {
        ...{ plaintext, aad: '', aead: 'chacha20-poly1305', version: 1, recipientPublicKey: peer },
        ...shared,
      },
    ],
  ],
  open: async () => {
    const publicKey = (await service.call('GET', `/v1/keys/${key}-agreeing/public-key`)).body['publicKey'];
    const body = { plaintext, aad: 'AAAA', aead: 'aes-256-gcm', recipientPublicKey: publicKey, ...shared };
    const made = await service.call('POST', `/v1/keys/${key}-agreeing/auth-seal`, body);
    const { enc, ciphertext: sealed } = made.body;
    const { aad, aead } = body;
    return [
      [
        ...([200, `/v1/keys/${key}-agreeing/open`] as const),
        { enc, ciphertext: sealed, version: 1, aad, aead, senderPublicKey: publicKey, ...shared },
      ],
    ];
  },
  sendExport: async () => [
    [200, `/v1/keys/${key}-pair/send-export`, {}],
    [
      ...([200, `/v1/keys/${key}-pair/send-export`] as const),
      { aead: 'aes-256-gcm', exporterContext: 'AAAA', bytes: 16, ...shared },
    ],
  ],
  receiveExport: async () => [
    [
      ...([200, `/v1/keys/${key}-agreeing/receive-export`] as const),
      { enc: peer, version: 1, aead: 'export-only', exporterContext: 'AAAA', bytes: 16, ...shared },
    ],
  ],
  mac: async () => [
    [200, `/v1/keys/${key}-mac/mac`, { message: '' }],
    [200, `/v1/keys/${key}-mac/mac`, { message: plaintext, bytes: 12 }],
  ],
  verifyMac: async () => [
    [200, `/v1/keys/${key}-mac/verify-mac`, { message: plaintext, mac, bytes: 8 }],
    [200, `/v1/keys/${key}-mac/verify-mac`, { message: plaintext, mac, bytes: 8, version: 1 }],
  ],
  createDataset: async () => [
    [201, '/v1/datasets', { name: freshName('made'), ...salaries }],
    [
      ...([201, '/v1/datasets'] as const),
      {
        ...{ name: freshName('made'), description: 'é', parameters: 'bgv-4096-109' },
        definition: { columns: [{ name: 'a', lower: -1, upper: 5, edges: [0, 5] }] },
        policy: {
          ...salaries.policy,
          ...{ statistics: ['histogram'], contributionsPerContributor: 2, minimumCohort: 5 },
          ...{ budget: { epsilon: 0.5, delta: 1e-6 }, neighbouring: 'row', partitioned: true },
          retentionSeconds: 86_400,
        },
      },
    ],
  ],
  createFieldSchema: async () => [[201, '/v1/fields/schemas', everyTreatment(freshName('made'))]],
  listFieldSchemas: async () => [[200, '/v1/fields/schemas?limit=1']],
  getFieldSchema: async () => [[200, `/v1/fields/schemas/${key}?version=1`]],
  addFieldSchemaVersion: async () => {
    const { name: _, ...definition } = everyTreatment('');
    return [[201, `/v1/fields/schemas/${key}/versions`, definition]];
  },
  ...Object.fromEntries(
    documentRequests('').map(([operationId, path, body]) => [
      operationId,
      async () => [
        [200, path, { ...body, schema: key }] as const,
        ...(operationId === 'encryptFields'
          ? [[200, path, { schema: key, documents: [{ document: { a: 'sf1.' } }] }] as const]
          : []),
      ],
    ]),
  ),
  listDatasets: async () => [
    [200, '/v1/datasets?limit=1'],
    [200, '/v1/datasets'],
  ],
  getDataset: async () => [[200, `/v1/datasets/${dataset}`]],
  openEpoch: async () => [[201, `/v1/datasets/${dataset}/epochs`, {}]],
  listEpochs: async () => [
    [200, `/v1/datasets/${dataset}/epochs?limit=1`],
    [200, `/v1/datasets/${dataset}/epochs?cursor=2`],
  ],
  shredEpoch: async () => [[200, `/v1/datasets/${dataset}/epochs/1/shred`, {}]],
  getEpochKey: async () => [[200, `/v1/datasets/${dataset}/epoch-key`]],
  contribute: async () => [[201, `/v1/datasets/${kept}/epochs/1/contributions/1`, upload]],
  queryDataset: async () => [
    [
      201,
      `/v1/datasets/${(await askable()).dataset}/queries`,
      { statistic: 'count', epochs: [1], epsilon: 1 },
    ],
    [
      ...([201, `/v1/datasets/${(await askable()).dataset}/queries`] as const),
      {
        ...{ statistic: 'weighted-sum', column: 'age', epochs: [1], epsilon: 0.5, byEpoch: true },
        ...{ where: { department: ['legal', 'sales'] }, groupBy: ['department'] },
        weights: { group: 'department', labels: { sales: 2, legal: -1 } },
      },
    ],
  ],
  estimateQuery: async () => [
    [
      ...([200, `/v1/datasets/${(await askable()).dataset}/queries/dry-run`] as const),
      { statistic: 'variance', column: 'age', epochs: [1], epsilon: 1 },
    ],
  ],
  listQueries: async () => [
    [200, `/v1/datasets/${(await askable()).dataset}/queries?limit=1`],
    [200, `/v1/datasets/${(await askable()).dataset}/queries`],
  ],
  getQuery: async () => [
    [200, `/v1/datasets/${(await askable()).dataset}/queries/${(await askable()).queryId}`],
  ],
  getBudget: async () => [[200, `/v1/datasets/${(await askable()).dataset}/budget`]],
  createNamespace: async () => [
    [201, '/v1/access/namespaces', { name: freshName('made') }],
    [201, '/v1/access/namespaces', { name: freshName('made'), region: 'eu-1' }],
  ],
  listNamespaces: async () => [[200, '/v1/access/namespaces?limit=1']],
  createToken: async () => [
    [201, '/v1/access/tokens', { name: freshName('made'), scopes: ['audit:read'] }],
    [
      ...([201, '/v1/access/tokens'] as const),
      {
        ...{ name: freshName('made'), scopes: ['keys:admin'], keys: ['a*'], namespace: 'default' },
        expiresAt: '2099-01-01T00:00:00Z',
      },
    ],
  ],
  listTokens: async () => [
    [200, '/v1/access/tokens?limit=1'],
    [200, '/v1/access/tokens?limit=1000'],
  ],
  revokeToken: async () => [
    [204, `/v1/access/tokens/${(await makeToken(service, { scopes: ['keys:admin'] })).id}`],
  ],
  listJobs: async () => [
    [200, '/v1/jobs'],
    [200, '/v1/jobs?service=true&limit=5&state=queued&kind=jobs.housekeeping'],
  ],
  getJob: async () => [[200, `/v1/jobs/${job}`]],
  cancelJob: async () => [
    [200, `/v1/jobs/${job}/cancel`, {}],
    [200, `/v1/jobs/${job}/cancel`, {}],
  ],
  listAuditRecords: async () => [
    [200, '/v1/audit/records?limit=1000'],
    [200, '/v1/audit/records?limit=5&outcome=refused&from=2020-01-01T00:00:00Z&to=2099-01-01T00:00:00Z'],
    [200, '/v1/audit/records?limit=5&action=keys.create&target=none&principalId=none&requestId=none'],
  ],
  'system.health': async () => [[200, '/healthz']],
  'system.ready': async () => [[200, '/readyz']],
  'service.metrics': async () => [[200, '/metrics']],
};

/** Guarantees that every operation of the document is called by the test below, and no other is. */
test('knows every operation', () => {
  expect(document.operations.map(({ operationId }) => operationId).toSorted()).toEqual(
    Object.keys(successes).toSorted(),
  );
});

/** Guarantees that each operation answers success as the document says, to the last member. */
test('answers as described', { timeout: 60_000 }, async () => {
  for (const operation of document.operations) {
    for (const [status, path, body] of (await successes[operation.operationId]?.()) ?? []) {
      if (operation.body) expect(document.bodyFaults(operation.operationId, body)).toEqual([]);
      expect(await checked(operation, path, body)).toEqual([status, undefined]);
    }
  }
  // Revoked tokens and expiry dates, which only a list shows.
  const list = document.operations.find(({ operationId }) => operationId === 'listTokens');
  if (list) expect(await checked(list, '/v1/access/tokens?limit=1000')).toEqual([200, undefined]);
});

/** Where it is not the key of the first example. */
const keysOfExamples: Readonly<Record<string, string>> = {
  ...{
    encapsulate: 'inbox',
    seal: 'inbox',
    sendExport: 'inbox',
    mac: 'receipts',
    sign: 'releases',
    signJws: 'releases',
    createCsr: 'releases',
  },
};

/** What the dataset's policy does not have. */
const notAllowed = {
  ...{ statistic: 'weighted-sum', column: 'salary', epochs: [1], epsilon: 0.1 },
  weights: { group: 'department', labels: { sales: 1 } },
};

/** Counts over one epoch. */
const countOf = (epoch: number, epsilon = 1) => ({ statistic: 'count', epochs: [epoch], epsilon });

/** The first example's key is there by now, and the example's dataset has analysts of its own. */
const refusedExamples: Readonly<Record<string, string>> = {
  ...{ createKey: 'key/exists', queryDataset: 'access/denied', estimateQuery: 'access/denied' },
};

/** Guarantees that the examples of the document can be sent as they are. */
test('examples work', async () => {
  await makeKey(service, 'payments');
  await service.call('POST', '/v1/keys', { name: 'inbox', purpose: 'exchange' });
  await service.call('POST', '/v1/keys', { name: 'receipts', purpose: 'mac' });
  await service.call('POST', '/v1/keys', { name: 'releases', purpose: 'sign' });
  await service.call('POST', '/v1/keys', { name: 'people', purpose: 'fields' });
  let sent = 0;
  for (const operation of document.operations.filter(({ example }) => example !== undefined)) {
    const example = keysOfExamples[operation.operationId] ?? 'payments';
    const path = operation.path
      .replace('{key}', example)
      .replace('{version}', '1')
      .replace('/webhooks/{id}', `/webhooks/${await webhook()}`)
      .replace('{schema}', 'people')
      .replace('{dataset}', 'salaries')
      .replace('{epoch}', '1');
    // An example disables the key; the key of the first example is there by now.
    await service.call('PATCH', '/v1/keys/payments', { state: 'enabled' });
    const [status, code] = await checked(operation, path, operation.example);
    const refusal = refusedExamples[operation.operationId];
    if (refusal !== undefined) expect(code).toBe(refusal);
    else expect([operation.operationId, status < 300]).toEqual([operation.operationId, true]);
    expect(document.bodyFaults(operation.operationId, operation.example)).toEqual([]);
    sent += 1;
  }
  expect(sent).toBeGreaterThan(7);
});

/** Of bodies that may be larger than 1 MiB. */
const bodyMebibytes: Readonly<Record<string, number>> = {
  ...{ encryptFields: 32, decryptFields: 32, revealFields: 32, rewrapFields: 32 },
  batch: 8,
  decrypt: 2,
  decryptWithKey: 2,
  rewrap: 2,
};

/** Guarantees that the refusals every operation has are answered as described, each for its reason. */
test('refuses as described', { timeout: 60_000 }, async () => {
  for (const operation of document.operations.filter(({ open }) => !open)) {
    const { operationId, method } = operation;
    const [row] = (await successes[operationId]?.()) ?? [];
    if (!row) throw new Error(operationId);
    const [, path, body] = row;
    const refused = async (status: number, code: string, at: string, sent?: unknown, options?: CallOptions) =>
      expect([operationId, ...(await checked(operation, at, sent, options))]).toEqual([
        operationId,
        status,
        code,
      ]);

    await refused(401, 'access/unauthenticated', path, body, { token: null });
    await refused(403, 'access/denied', path, body, {
      token: readsTheLog.includes(operationId) ? watcher : reader,
    });
    // Metrics takes requests as scrapers send them.
    if (operationId === 'service.metrics') continue;
    const unknownQuery = `${path}${path.includes('?') ? '&' : '?'}unknown=1`;
    await refused(400, 'request/invalid', unknownQuery, body);
    if (operation.raw) {
      await refused(415, 'request/unsupported-media-type', path, {});
      await refused(413, 'request/too-large', path, new Uint8Array(3 * 1024 * 1024));
      continue;
    }
    if (operation.path.includes('{key}'))
      await refused(400, 'request/invalid', path.replace(key, 'UPPER'), body);
    if (method === 'GET' || operation.body === undefined) {
      // A body in lines may be of any length.
      if (operationId === 'rewrapLines') await refused(415, 'request/unsupported-media-type', path, {});
      else if (method !== 'GET') await refused(413, 'request/too-large', path, {});
      continue;
    }
    await refused(400, 'request/invalid', path);
    await refused(400, 'request/invalid', path, '{');
    await refused(400, 'request/invalid', path, { ...(body as object), unknown: 1 });
    await refused(400, 'request/digest-mismatch', path, body, {
      headers: { 'content-digest': 'sha-256=:AA==:' },
    });
    await refused(415, 'request/unsupported-media-type', path, body, {
      headers: { 'content-type': 'text/plain' },
    });
    const mebibytes = bodyMebibytes[operationId] ?? 1;
    await refused(413, 'request/too-large', path, `"${' '.repeat(mebibytes * 1024 * 1024)}"`);
    if (!operation.idempotent) continue;
    const headers = { 'idempotency-key': freshName('conflict') };
    await service.call(method, path, body, { headers });
    await refused(422, 'request/idempotency-conflict', path, `${JSON.stringify(body)} `, { headers });
    await refused(400, 'request/invalid', path, body, { headers: { 'idempotency-key': 'not visible' } });
  }
});

/** Guarantees that the refusals of single operations are answered as described. */
test('refuses each in its way', async () => {
  const disabled = freshName('disabled');
  const stale = freshName('stale');
  for (const name of [disabled, stale]) await makeKey(service, name);
  const lost = { [disabled]: await seal(service, disabled), [stale]: await seal(service, stale) };
  await service.call('PATCH', `/v1/keys/${disabled}`, { state: 'disabled' });
  await service.call('PATCH', `/v1/keys/${stale}/versions/1`, { state: 'disabled' });
  await service.call('POST', '/v1/access/namespaces', { name: 'taken' });
  const once = { headers: { 'idempotency-key': freshName('once') } };
  await service.call('POST', '/v1/access/tokens', { name: 'once', scopes: ['audit:read'] }, once);
  const cases: [
    operationId: string,
    status: number,
    code: string,
    path: string,
    body?: unknown,
    options?: CallOptions,
  ][] = [
    ['createKey', 409, 'key/exists', '/v1/keys', { name: key }],
    ['createNamespace', 409, 'access/namespace-exists', '/v1/access/namespaces', { name: 'taken' }],
    ['encrypt', 409, 'key/wrong-purpose', `/v1/keys/${key}-pair/encrypt`, { plaintext }],
    ['encapsulate', 409, 'key/wrong-purpose', `/v1/keys/${key}/encapsulate`, {}],
    ['derive', 409, 'key/wrong-purpose', `/v1/keys/${key}-pair/derive`, { peerPublicKey: peer, label: 'a' }],
    ['decapsulate', 400, 'exchange/refused', `/v1/keys/${key}-pair/decapsulate`, { ciphertext: 'AAAA' }],
    ['mac', 409, 'key/wrong-purpose', `/v1/keys/${key}/mac`, { message: '' }],
    ['mac', 400, 'request/invalid', `/v1/keys/${key}-mac/mac`, { message: '', bytes: 32 }],
    ['verifyMac', 400, 'mac/invalid', `/v1/keys/${key}-mac/verify-mac`, { message: '', mac: 'AAAA' }],
    ['decryptOaep', 409, 'key/wrong-purpose', `/v1/keys/${key}/decrypt-oaep`, { ciphertext: encrypted }],
    [
      'decryptOaep',
      400,
      'envelope/decryption-failed',
      `/v1/keys/${key}-oaep/decrypt-oaep`,
      { ciphertext: 'AAAA' },
    ],
    ['rotateKey', 409, 'key/external', `/v1/keys/${key}-external/rotate`, {}],
    ['encrypt', 409, 'key/nothing-imported', `/v1/keys/${key}-empty/encrypt`, { plaintext }],
    ['getImportParameters', 409, 'key/wrong-purpose', `/v1/keys/${key}-pair/import-parameters`, {}],
    [
      'importKey',
      404,
      'import/not-found',
      `/v1/keys/${key}/import`,
      { importId: newId(), wrappedKey: 'AAAA' },
    ],
    [
      ...(['importKey', 400, 'import/refused', `/v1/keys/${key}/import`] as const),
      { ...(await wrappedFor(key)), wrappedKey: 'AAAA' },
    ],
    ['createDataset', 409, 'dataset/exists', '/v1/datasets', { name: dataset, ...salaries }],
    ['getDataset', 404, 'dataset/not-found', '/v1/datasets/none'],
    ['shredEpoch', 404, 'dataset/epoch-not-found', `/v1/datasets/${dataset}/epochs/999/shred`, {}],
    ['shredEpoch', 409, 'dataset/conflict', `/v1/datasets/${kept}/epochs/1/shred`, {}],
    [
      ...(['contribute', 409, 'contribution/too-many'] as const),
      `/v1/datasets/${kept}/epochs/1/contributions/2`,
      upload,
    ],
    [
      ...(['contribute', 422, 'contribution/refused'] as const),
      `/v1/datasets/${kept}/epochs/1/contributions/1`,
      new Uint8Array(9),
    ],
    [
      'getQuery',
      404,
      'dataset/query-not-found',
      `/v1/datasets/${(await askable()).dataset}/queries/${newId()}`,
    ],
    ['queryDataset', 403, 'dataset/query-refused', `/v1/datasets/${dataset}/queries`, notAllowed],
    [
      'queryDataset',
      409,
      'dataset/epoch-open',
      `/v1/datasets/${(await askable()).dataset}/queries`,
      countOf(2),
    ],
    [
      'estimateQuery',
      400,
      'request/invalid',
      `/v1/datasets/${(await askable()).dataset}/queries/dry-run`,
      countOf(1, 101),
    ],
    ['getJob', 404, 'job/not-found', '/v1/jobs/none'],
    ['cancelJob', 404, 'job/not-found', '/v1/jobs/none/cancel', {}],
    ['listJobs', 400, 'request/invalid', '/v1/jobs?cursor=x'],
    ['revokeToken', 404, 'access/token-not-found', '/v1/access/tokens/none'],
    ['updateKeyVersion', 404, 'key/not-found', `/v1/keys/${key}/versions/99`, { state: 'disabled' }],
    ['createWebhook', 400, 'webhook/address-refused', '/v1/webhooks', { url: 'https://10.0.0.1/' }],
    ['updateWebhook', 404, 'webhook/not-found', '/v1/webhooks/none', { state: 'disabled' }],
    ['removeWebhook', 404, 'webhook/not-found', '/v1/webhooks/none'],
    ['listDeliveries', 404, 'webhook/not-found', '/v1/webhooks/none/deliveries'],
    ['redeliver', 404, 'webhook/not-found', '/v1/webhooks/none/redeliver', {}],
    ['destroyKeyVersions', 409, 'key/version-state', `/v1/keys/${key}-pair/destroy`, { reason: 'x' }],
    [
      ...(['destroyKeyVersions', 409, 'key/version-in-use'] as const),
      ...([`/v1/keys/${disabled}/destroy`, { versions: [1] }] as const),
    ],
    ['restoreKeyVersions', 409, 'key/version-state', `/v1/keys/${stale}/restore`, {}],
    ['listDestructions', 400, 'request/invalid', `/v1/keys/${key}/destructions?cursor=x`],
    ['setRetention', 400, 'request/invalid', `/v1/keys/${key}/retention`, {}],
    ['listKeyVersions', 400, 'request/invalid', `/v1/keys/${key}/versions?cursor=x`],
    ['listAuditRecords', 400, 'request/invalid', '/v1/audit/records?cursor=x'],
    ['decrypt', 400, 'envelope/decryption-failed', '/v1/decrypt', { ciphertext: 'AAAA' }],
    ['decryptWithKey', 400, 'envelope/decryption-failed', '/v1/keys/none/decrypt', { ciphertext }],
    ['decryptWithKey', 409, 'key/disabled', `/v1/keys/${disabled}/decrypt`, { ciphertext: lost[disabled] }],
    ['decrypt', 409, 'key/version-disabled', '/v1/decrypt', { ciphertext: lost[stale] }],
    ['rewrap', 409, 'key/disabled', `/v1/keys/${disabled}/rewrap`, { ciphertext: lost[disabled] }],
    ['rewrap', 404, 'key/not-found', `/v1/keys/${key}/rewrap`, { ciphertext, toKey: 'none' }],
    ['encrypt', 409, 'key/disabled', `/v1/keys/${disabled}/encrypt`, { plaintext }],
    ['encrypt', 409, 'key/version-disabled', `/v1/keys/${stale}/encrypt`, { plaintext }],
    ['createDataKeys', 409, 'key/version-disabled', `/v1/keys/${stale}/data-keys`, {}],
    ...(['getKey', 'updateKey', 'rotateKey', 'encrypt', 'createDataKeys'] as const).map(
      (operationId): (typeof cases)[number] => {
        const at = {
          getKey: '',
          updateKey: '',
          rotateKey: '/rotate',
          encrypt: '/encrypt',
          createDataKeys: '/data-keys',
        };
        const body = {
          getKey: undefined,
          updateKey: {},
          rotateKey: {},
          encrypt: { plaintext },
          createDataKeys: {},
        };
        return [operationId, 404, 'key/not-found', `/v1/keys/none${at[operationId]}`, body[operationId]];
      },
    ),
    ['listKeyVersions', 404, 'key/not-found', '/v1/keys/none/versions'],
    [
      ...(['createToken', 404, 'access/namespace-not-found', '/v1/access/tokens'] as const),
      { name: 'x', scopes: ['audit:read'], namespace: 'none' },
    ],
    [
      ...(['createToken', 409, 'request/already-completed', '/v1/access/tokens'] as const),
      { name: 'once', scopes: ['audit:read'] },
      once,
    ],
  ];
  for (const [operationId, status, code, path, body, options] of cases) {
    const operation = document.operations.find((each) => each.operationId === operationId);
    if (!operation) throw new Error(operationId);
    expect([operationId, ...(await checked(operation, path, body, options))]).toEqual([
      operationId,
      status,
      code,
    ]);
  }
});

/** The pages that describe the interface are no part of it. */
const describing = ['/openapi.json', '/docs', '/docs/problems', '/docs/start.js', '/docs/pages.css'];

/** Guarantees that nothing is mounted that the document does not tell of, and that every page that describes is served. */
test('tells of every route', async () => {
  const unused = {} as never;
  const { hono } = createHttpApp({
    routes: allRoutes({
      keys: unused,
      coverage: unused,
      envelopes: unused,
      exchanges: unused,
      sealings: unused,
      macs: unused,
      publicKeys: unused,
      signing: unused,
      imports: unused,
      ...{ fields: unused, fieldSchemas: unused },
      lifecycle: unused,
      aggregation: unused,
      rotation: unused,
      rotationDefaults: unused,
      rotationOverview: unused,
      queries: unused,
      events: unused,
      decryption: unused,
      namespaces: unused,
      jobs: unused,
      tokens: unused,
      audit: unused,
      operations: unused,
    }),
    authenticate: async () => unused,
    onRefused: () => undefined,
    ready: async () => ({ ready: true, checks: {} }),
    metricsHandler: async () => '',
    metrics: createMetrics(),
    log: pino({ level: 'silent' }),
    version: '0',
  });
  const mounted = hono.routes.map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')}`);
  const told = document.operations.map(({ method, path }) => `${method} ${path}`);
  const pages = mounted.filter((route) => !told.includes(route)).map((route) => route.replace('GET ', ''));
  expect(pages.toSorted()).toEqual(
    [...describing, '/docs/swagger-ui-bundle.js', '/docs/swagger-ui.css'].toSorted(),
  );
  expect(told.filter((route) => !mounted.includes(route))).toEqual([]);
  for (const path of pages) {
    expect((await service.call('GET', path, undefined, { token: null })).status).toBe(200);
  }
});

/** Guarantees that the check above can fail: answers that differ in one place from the document are reported. */
test('a false answer is noticed', async () => {
  const answer = await service.call('GET', `/v1/keys/${key}`);
  const headers = Object.fromEntries(answer.headers);
  const faults = (body: object, status = 200, sent: Record<string, string> = headers) =>
    document.faults('getKey', { status, headers: sent, text: JSON.stringify(body) }).length;
  expect(faults(answer.body)).toBe(0);
  expect(faults({ ...answer.body, more: 1 })).toBeGreaterThan(0);
  expect(faults({ ...answer.body, id: undefined })).toBeGreaterThan(0);
  expect(faults({ ...answer.body, state: 'other' })).toBeGreaterThan(0);
  expect(faults({ ...answer.body, createdAt: 'yesterday' })).toBeGreaterThan(0);
  expect(faults(answer.body, 418)).toBeGreaterThan(0);
  expect(faults(answer.body, 200, { ...headers, 'content-type': 'text/html' })).toBeGreaterThan(0);
  expect(faults(answer.body, 200, { 'content-type': 'application/json' })).toBeGreaterThan(0);
  const random = { status: 200, headers, text: '{"bytes":"AAA"}' };
  expect(document.faults('random', random).length).toBeGreaterThan(0);
});
