import { constants, publicEncrypt } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient, wrapKey } from '../../src/client/node/index.ts';
import { newId } from '../../src/core/ids.ts';
import { makeDataset, salaries } from '../aggregate/support.ts';
import { documentRequests, schemaOf } from '../fields/support.ts';
import { type Answer, startTestService, type TestService } from '../support/service.ts';
import {
  auditRecords,
  freshName,
  type MadeToken,
  makeKey,
  makeNamespace,
  makeToken,
  plaintext,
  seal,
  waitingJob,
} from './support.ts';

const all = [
  'keys:admin',
  'keys:encrypt',
  'keys:decrypt',
  'keys:rewrap',
  'keys:sign',
  'keys:verify',
  'fields:admin',
  'fields:reveal',
  'fields:query',
  'datasets:admin',
  'datasets:contribute',
  'datasets:query',
  'access:admin',
  'jobs:read',
  'jobs:admin',
  'audit:read',
  'metrics:read',
  'service:admin',
] as const;
type Scope = (typeof all)[number];
const anyFields: readonly Scope[] = [
  ...(['keys:encrypt', 'keys:decrypt', 'keys:rewrap'] as const),
  ...(['fields:admin', 'fields:reveal', 'fields:query'] as const),
];
const anyDatasets: readonly Scope[] = all.filter((scope) => scope.startsWith('datasets:'));
const anyKeys: readonly Scope[] = all.filter((scope) => scope.startsWith('keys:'));

interface Row {
  readonly operationId: string;
  readonly action: string;
  /** The scopes of which each alone is enough. */
  readonly allowed: readonly Scope[];
  /** What a scope is answered that is neither enough nor plainly denied. */
  readonly otherwise?: Partial<Record<Scope, string>>;
  readonly status: number;
  request(): Promise<readonly [method: string, path: string, body?: unknown]>;
}

let service: TestService;
/** Things that operations are tried on. */
let key: string;
let ciphertext: string;
let pair: string;
let agreeing: string;
let signing: string;
let signature: unknown;
let encapsulated: { ciphertext: unknown; confirmation: unknown };
let sealed: { enc: unknown; ciphertext: unknown };
let decrypting: string;
let encrypted: string;
let authenticating: string;
let mac: unknown;
let dataset: string;
const notAnswered = {
  ...{ statistic: 'weighted-sum', column: 'salary', epochs: [1], epsilon: 0.1 },
  weights: { group: 'department', labels: { sales: 1 } },
};
let fieldSchema: string;
let otherNamespace: string;
/** Of the service itself: to see it takes service:admin beside a scope for jobs. */
let job: string;
const tokens = new Map<string, MadeToken>();

beforeAll(async () => {
  service = await startTestService({ env: { STATHERA_JOBS_CONCURRENCY: '0' } });
  job = await waitingJob(service);
  key = freshName('key');
  await makeKey(service, key);
  ciphertext = await seal(service, key);
  pair = freshName('pair');
  agreeing = freshName('agreeing');
  await service.call('POST', '/v1/keys', { name: pair, purpose: 'exchange' });
  await service.call('POST', '/v1/keys', { name: agreeing, algorithm: 'x25519' });
  signing = freshName('signing');
  await service.call('POST', '/v1/keys', { name: signing, algorithm: 'ed25519' });
  const signed = await service.call('POST', `/v1/keys/${signing}/sign`, { message: plaintext });
  signature = signed.body['signature'];
  const made = await service.call('POST', `/v1/keys/${pair}/encapsulate`, {});
  encapsulated = { ciphertext: made.body['ciphertext'], confirmation: made.body['confirmation'] };
  const message = await service.call('POST', `/v1/keys/${pair}/seal`, { plaintext });
  sealed = { enc: message.body['enc'], ciphertext: message.body['ciphertext'] };
  decrypting = freshName('oaep');
  await service.call('POST', '/v1/keys', { name: decrypting, algorithm: 'rsa-oaep-2048' });
  const { pem } = (await service.call('GET', `/v1/keys/${decrypting}/public-key`)).body;
  const oaep = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
  encrypted = publicEncrypt({ key: String(pem), ...oaep }, Buffer.from('x')).toString('base64');
  authenticating = freshName('mac');
  await service.call('POST', '/v1/keys', { name: authenticating, purpose: 'mac' });
  mac = (await service.call('POST', `/v1/keys/${authenticating}/mac`, { message: plaintext })).body['mac'];
  dataset = await makeDataset(service);
  fieldSchema = freshName('schema');
  await service.call('POST', '/v1/keys', { name: fieldSchema, purpose: 'fields' });
  await service.call('POST', '/v1/fields/schemas', schemaOf(fieldSchema, fieldSchema));
  await service.call('POST', `/v1/datasets/${dataset}/epochs`, {});
  otherNamespace = (await makeNamespace(service, ['keys:admin'])).name;
  for (const scope of all) tokens.set(scope, await makeToken(service, { scopes: [scope] }));
});
afterAll(() => service.dispose());

/** A body that imports a key: parameters that the bootstrap token asked for, and a key wrapped to them. */
async function wrappedFor(name: string): Promise<object> {
  const client = createClient({ url: service.url, credentials: service.token });
  const parameters = await client.getImportParameters({ key: name });
  const { importId, wrappedKey } = await wrapKey(parameters, Buffer.alloc(parameters.keyBytes, 7));
  return { importId, wrappedKey: Buffer.from(wrappedKey).toString('base64') };
}

/** Of a place without rows. */
const emptyReport = {
  place: { system: 'other', database: 'd', table: 't', column: 'c' },
  ...{ currentVersion: 1, agreed: true, scanSeconds: 0 },
  ...{ rows: 0, nulls: 0, foreign: 0, unreadable: 0, versions: [] },
};
async function removeWebhooks(): Promise<void> {
  const { body } = await service.call('GET', '/v1/webhooks');
  for (const { id } of body['items'] as { id: string }[]) await service.call('DELETE', `/v1/webhooks/${id}`);
}

/** A new one, in place of those before. */
async function webhook(): Promise<string> {
  await removeWebhooks();
  const { body } = await service.call('POST', '/v1/webhooks', { url: 'https://hooks.example.com/' });
  return String(body['id']);
}

/** A key with a version to restore. */
async function scheduled(): Promise<string> {
  const name = freshName('scheduled');
  await makeKey(service, name);
  await service.call('POST', `/v1/keys/${name}/rotate`, {});
  await service.call('POST', `/v1/keys/${name}/destroy`, { versions: [1] });
  return name;
}

function documentRows(): Row[] {
  const allowed: Readonly<Record<string, readonly [action: string, ...Scope[]]>> = {
    encryptFields: ['fields.encrypt', 'keys:encrypt'],
    decryptFields: ['fields.decrypt', 'keys:decrypt'],
    revealFields: ['fields.reveal', 'fields:reveal', 'keys:decrypt'],
    rewrapFields: ['fields.rewrap', 'keys:rewrap'],
    queryFieldTokens: ['fields.query-tokens', 'fields:query', 'keys:encrypt'],
  };
  return documentRequests('').map(([operationId, path, body]) => {
    const [action = '', ...scopes] = allowed[operationId] ?? [];
    return {
      ...{ operationId, action, allowed: scopes as Scope[], status: 200 },
      request: async () => ['POST', path, { ...body, schema: fieldSchema }],
    };
  });
}

/** What each operation needs, written down here by itself: not taken from the code. */
const rows: readonly Row[] = [
  {
    ...{ operationId: 'createKey', action: 'keys.create', allowed: ['keys:admin'], status: 201 },
    request: async () => ['POST', '/v1/keys', { name: freshName('made') }],
  },
  {
    ...{ operationId: 'listKeys', action: 'keys.list', allowed: anyKeys, status: 200 },
    request: async () => ['GET', '/v1/keys'],
  },
  {
    ...{ operationId: 'getKey', action: 'keys.describe', allowed: anyKeys, status: 200 },
    request: async () => ['GET', `/v1/keys/${key}`],
  },
  {
    ...{ operationId: 'updateKey', action: 'keys.update', allowed: ['keys:admin'], status: 200 },
    request: async () => ['PATCH', `/v1/keys/${key}`, { description: 'changed' }],
  },
  {
    ...{ operationId: 'rotateKey', action: 'keys.rotate', allowed: ['keys:admin'], status: 200 },
    request: async () => ['POST', `/v1/keys/${key}/rotate`, {}],
  },
  {
    ...{ operationId: 'listKeyVersions', action: 'keys.list-versions', allowed: anyKeys, status: 200 },
    request: async () => ['GET', `/v1/keys/${key}/versions`],
  },
  {
    ...{ operationId: 'getKeyUsage', action: 'keys.usage', allowed: anyKeys, status: 200 },
    request: async () => ['GET', `/v1/keys/${key}/usage`],
  },
  {
    ...{ operationId: 'updateKeyVersion', action: 'keys.update', allowed: ['keys:admin'], status: 200 },
    request: async () => ['PATCH', `/v1/keys/${key}/versions/1`, { state: 'decrypt-only' }],
  },
  {
    ...{ operationId: 'getRotationPolicy', action: 'rotation.describe', allowed: anyKeys, status: 200 },
    request: async () => ['GET', `/v1/keys/${key}/rotation-policy`],
  },
  {
    ...{
      operationId: 'setRotationPolicy',
      action: 'rotation.set-policy',
      allowed: ['keys:admin'],
      status: 200,
    },
    request: async () => ['PATCH', `/v1/keys/${key}/rotation-policy`, { policy: { everyDays: 9 } }],
  },
  {
    ...{ operationId: 'planRotation', action: 'rotation.describe', allowed: anyKeys, status: 200 },
    request: async () => ['POST', `/v1/keys/${key}/rotation-plan`, {}],
  },
  {
    ...{ operationId: 'listRotations', action: 'rotation.history', allowed: anyKeys, status: 200 },
    request: async () => ['GET', `/v1/keys/${key}/rotations`],
  },
  {
    ...{ operationId: 'getDefaultRotationPolicy', action: 'rotation.describe-default', allowed: anyKeys },
    ...{ status: 200, request: async () => ['GET', '/v1/rotation/default-policy'] },
  },
  {
    ...{ operationId: 'setDefaultRotationPolicy', action: 'rotation.set-default', allowed: ['keys:admin'] },
    ...{ status: 200, request: async () => ['PATCH', '/v1/rotation/default-policy', { policy: null }] },
  },
  {
    ...{ operationId: 'listUpcomingRotations', action: 'rotation.list', allowed: anyKeys, status: 200 },
    request: async () => ['GET', '/v1/rotation/upcoming'],
  },
  {
    ...{ operationId: 'getRotationStatus', action: 'rotation.list', allowed: anyKeys, status: 200 },
    request: async () => ['GET', '/v1/rotation/status'],
  },
  {
    ...{
      operationId: 'listEvents',
      action: 'events.read',
      allowed: ['keys:admin', 'audit:read'],
      status: 200,
    },
    request: async () => ['GET', '/v1/events'],
  },
  {
    ...{ operationId: 'createWebhook', action: 'webhooks.create', allowed: ['keys:admin'], status: 201 },
    request: async () => {
      await removeWebhooks();
      return ['POST', '/v1/webhooks', { url: 'https://hooks.example.com/' }];
    },
  },
  {
    ...{ operationId: 'listWebhooks', action: 'webhooks.list', allowed: ['keys:admin'], status: 200 },
    request: async () => ['GET', '/v1/webhooks'],
  },
  {
    ...{ operationId: 'updateWebhook', action: 'webhooks.update', allowed: ['keys:admin'], status: 200 },
    request: async () => ['PATCH', `/v1/webhooks/${await webhook()}`, { state: 'disabled' }],
  },
  {
    ...{
      operationId: 'listDeliveries',
      action: 'webhooks.list-deliveries',
      allowed: ['keys:admin'],
      status: 200,
    },
    request: async () => ['GET', `/v1/webhooks/${await webhook()}/deliveries`],
  },
  {
    ...{ operationId: 'redeliver', action: 'webhooks.redeliver', allowed: ['keys:admin'], status: 200 },
    request: async () => ['POST', `/v1/webhooks/${await webhook()}/redeliver`, {}],
  },
  {
    ...{ operationId: 'removeWebhook', action: 'webhooks.remove', allowed: ['keys:admin'], status: 204 },
    request: async () => ['DELETE', `/v1/webhooks/${await webhook()}`],
  },
  {
    ...{
      operationId: 'destroyKeyVersions',
      action: 'keys.plan-destruction',
      allowed: ['keys:admin'],
      status: 200,
    },
    request: async () => ['POST', `/v1/keys/${key}/destroy`, { versions: [1], dryRun: true }],
  },
  {
    ...{ operationId: 'restoreKeyVersions', action: 'keys.restore', allowed: ['keys:admin'], status: 200 },
    request: async () => ['POST', `/v1/keys/${await scheduled()}/restore`, {}],
  },
  {
    ...{ operationId: 'listDestructions', action: 'keys.list-destructions', status: 200 },
    allowed: ['keys:admin', 'audit:read'],
    request: async () => ['GET', `/v1/keys/${key}/destructions`],
  },
  {
    ...{ operationId: 'getRetention', action: 'keys.read-retention', allowed: ['keys:admin'], status: 200 },
    request: async () => ['GET', `/v1/keys/${key}/retention`],
  },
  {
    ...{ operationId: 'setRetention', action: 'keys.set-retention', allowed: ['keys:admin'], status: 200 },
    request: async () => ['POST', `/v1/keys/${key}/retention`, { keepLatest: 1_000 }],
  },
  {
    ...{ operationId: 'removeRetention', action: 'keys.set-retention', allowed: ['keys:admin'], status: 204 },
    request: async () => ['DELETE', `/v1/keys/${key}/retention`],
  },
  {
    ...{
      operationId: 'getImportParameters',
      action: 'import.parameters',
      allowed: ['keys:admin'],
      status: 200,
    },
    request: async () => ['POST', `/v1/keys/${key}/import-parameters`, {}],
  },
  {
    ...{ operationId: 'importKey', action: 'import.key', allowed: ['keys:admin'], status: 200 },
    request: async () => ['POST', `/v1/keys/${key}/import`, await wrappedFor(key)],
  },
  {
    ...{ operationId: 'encrypt', action: 'envelope.encrypt', allowed: ['keys:encrypt'], status: 200 },
    request: async () => ['POST', `/v1/keys/${key}/encrypt`, { plaintext }],
  },
  {
    ...{ operationId: 'decryptWithKey', action: 'envelope.decrypt', allowed: ['keys:decrypt'], status: 200 },
    request: async () => ['POST', `/v1/keys/${key}/decrypt`, { ciphertext }],
  },
  {
    ...{ operationId: 'decrypt', action: 'envelope.decrypt', allowed: ['keys:decrypt'], status: 200 },
    request: async () => ['POST', '/v1/decrypt', { ciphertext }],
  },
  {
    ...{ operationId: 'rewrap', action: 'envelope.rewrap', allowed: ['keys:rewrap'], status: 200 },
    request: async () => ['POST', `/v1/keys/${key}/rewrap`, { ciphertext }],
  },
  {
    ...{ operationId: 'rewrapLines', action: 'envelope.rewrap-lines', allowed: ['keys:rewrap'], status: 200 },
    request: async () => ['POST', `/v1/keys/${key}/rewrap-lines`],
  },
  {
    ...{ operationId: 'reportCoverage', action: 'coverage.report', allowed: ['keys:rewrap'], status: 201 },
    request: async () => ['POST', `/v1/keys/${key}/coverage`, emptyReport],
  },
  {
    ...{ operationId: 'listCoverage', action: 'coverage.list', allowed: anyKeys, status: 200 },
    request: async () => ['GET', `/v1/keys/${key}/coverage`],
  },
  {
    ...{
      operationId: 'createDataKeys',
      action: 'envelope.data-keys',
      allowed: ['keys:encrypt'],
      status: 200,
    },
    request: async () => ['POST', `/v1/keys/${key}/data-keys`, { plaintext: true }],
  },
  {
    ...{ operationId: 'random', action: 'envelope.random', allowed: anyKeys, status: 200 },
    request: async () => ['POST', '/v1/random', { bytes: 8 }],
  },
  {
    ...{ operationId: 'batch', action: 'envelope.batch', allowed: anyKeys, status: 200 },
    request: async () => ['POST', '/v1/batch', { operations: [{ operation: 'random', bytes: 8 }] }],
  },
  {
    ...{ operationId: 'getPublicKey', action: 'keys.public-key', allowed: anyKeys, status: 200 },
    request: async () => ['GET', `/v1/keys/${pair}/public-key`],
  },
  {
    ...{ operationId: 'decryptOaep', action: 'decryption.oaep', allowed: ['keys:decrypt'], status: 200 },
    request: async () => ['POST', `/v1/keys/${decrypting}/decrypt-oaep`, { ciphertext: encrypted }],
  },
  {
    ...{ operationId: 'encapsulate', action: 'exchange.encapsulate', allowed: ['keys:encrypt'], status: 200 },
    request: async () => ['POST', `/v1/keys/${pair}/encapsulate`, {}],
  },
  {
    ...{ operationId: 'decapsulate', action: 'exchange.decapsulate', allowed: ['keys:decrypt'], status: 200 },
    request: async () => ['POST', `/v1/keys/${pair}/decapsulate`, encapsulated],
  },
  {
    ...{ operationId: 'confirm', action: 'exchange.confirm', allowed: ['keys:decrypt'], status: 200 },
    request: async () => ['POST', `/v1/keys/${pair}/confirm`, encapsulated],
  },
  {
    ...{ operationId: 'derive', action: 'exchange.derive', allowed: ['keys:decrypt'], status: 200 },
    request: async () => [
      'POST',
      `/v1/keys/${agreeing}/derive`,
      { peerPublicKey: Buffer.alloc(32, 9).toString('base64'), label: 'test' },
    ],
  },
  {
    ...{ operationId: 'seal', action: 'exchange.seal', allowed: ['keys:encrypt'], status: 200 },
    request: async () => ['POST', `/v1/keys/${pair}/seal`, { plaintext }],
  },
  {
    ...{ operationId: 'authSeal', action: 'exchange.auth-seal', allowed: ['keys:decrypt'], status: 200 },
    request: async () => [
      'POST',
      `/v1/keys/${agreeing}/auth-seal`,
      { plaintext, recipientPublicKey: Buffer.alloc(32, 9).toString('base64') },
    ],
  },
  {
    ...{ operationId: 'open', action: 'exchange.open', allowed: ['keys:decrypt'], status: 200 },
    request: async () => ['POST', `/v1/keys/${pair}/open`, sealed],
  },
  {
    ...{ operationId: 'sendExport', action: 'exchange.send-export', allowed: ['keys:encrypt'], status: 200 },
    request: async () => ['POST', `/v1/keys/${pair}/send-export`, {}],
  },
  {
    ...{ operationId: 'receiveExport', action: 'exchange.receive-export', allowed: ['keys:decrypt'] },
    status: 200,
    request: async () => ['POST', `/v1/keys/${pair}/receive-export`, { enc: sealed.enc }],
  },
  {
    ...{ operationId: 'mac', action: 'mac.generate', allowed: ['keys:sign'], status: 200 },
    request: async () => ['POST', `/v1/keys/${authenticating}/mac`, { message: plaintext }],
  },
  {
    ...{ operationId: 'verifyMac', action: 'mac.verify', allowed: ['keys:verify'], status: 200 },
    request: async () => ['POST', `/v1/keys/${authenticating}/verify-mac`, { message: plaintext, mac }],
  },
  {
    ...{ operationId: 'sign', action: 'signing.sign', allowed: ['keys:sign'], status: 200 },
    request: async () => ['POST', `/v1/keys/${signing}/sign`, { message: plaintext }],
  },
  {
    ...{ operationId: 'verify', action: 'signing.verify', allowed: ['keys:verify'], status: 200 },
    request: async () => ['POST', `/v1/keys/${signing}/verify`, { message: plaintext, signature }],
  },
  {
    ...{ operationId: 'signJws', action: 'signing.sign-jws', allowed: ['keys:sign'], status: 200 },
    request: async () => ['POST', `/v1/keys/${signing}/sign-jws`, { payload: plaintext }],
  },
  {
    ...{ operationId: 'createCsr', action: 'signing.csr', allowed: ['keys:sign'], status: 200 },
    request: async () => ['POST', `/v1/keys/${signing}/csr`, { subject: { commonName: 'a' } }],
  },
  {
    ...{ operationId: 'getJwks', action: 'signing.jwks', allowed: anyKeys, status: 200 },
    request: async () => ['GET', '/v1/keys/jwks.json'],
  },
  {
    ...{ operationId: 'createFieldSchema', action: 'fields.create-schema', status: 201 },
    allowed: ['fields:admin'],
    request: async () => ['POST', '/v1/fields/schemas', schemaOf(freshName('made'), fieldSchema)],
  },
  {
    ...{ operationId: 'listFieldSchemas', action: 'fields.list-schemas', allowed: anyFields, status: 200 },
    request: async () => ['GET', '/v1/fields/schemas'],
  },
  {
    ...{ operationId: 'getFieldSchema', action: 'fields.describe-schema', allowed: anyFields, status: 200 },
    request: async () => ['GET', `/v1/fields/schemas/${fieldSchema}`],
  },
  {
    ...{ operationId: 'addFieldSchemaVersion', action: 'fields.change-schema', status: 201 },
    allowed: ['fields:admin'],
    async request() {
      const { name: _, ...definition } = schemaOf('', fieldSchema);
      return ['POST', `/v1/fields/schemas/${fieldSchema}/versions`, definition];
    },
  },
  ...documentRows(),
  {
    ...{ operationId: 'createDataset', action: 'datasets.create', allowed: ['datasets:admin'], status: 201 },
    request: async () => ['POST', '/v1/datasets', { name: freshName('made'), ...salaries }],
  },
  {
    ...{ operationId: 'listDatasets', action: 'datasets.list', allowed: anyDatasets, status: 200 },
    request: async () => ['GET', '/v1/datasets'],
  },
  {
    ...{ operationId: 'getDataset', action: 'datasets.describe', allowed: anyDatasets, status: 200 },
    request: async () => ['GET', `/v1/datasets/${dataset}`],
  },
  {
    ...{ operationId: 'openEpoch', action: 'datasets.open-epoch', allowed: ['datasets:admin'], status: 201 },
    request: async () => ['POST', `/v1/datasets/${dataset}/epochs`, {}],
  },
  {
    ...{ operationId: 'listEpochs', action: 'datasets.list-epochs', allowed: anyDatasets, status: 200 },
    request: async () => ['GET', `/v1/datasets/${dataset}/epochs`],
  },
  {
    ...{
      operationId: 'shredEpoch',
      action: 'datasets.shred-epoch',
      allowed: ['datasets:admin'],
      status: 200,
    },
    request: async () => ['POST', `/v1/datasets/${dataset}/epochs/1/shred`, {}],
  },
  {
    ...{ operationId: 'getEpochKey', action: 'datasets.epoch-key', status: 200 },
    allowed: ['datasets:contribute'],
    request: async () => ['GET', `/v1/datasets/${dataset}/epoch-key`],
  },
  {
    // Nothing that anyone could have sent by chance: who may, is told what it is not.
    ...{ operationId: 'contribute', action: 'datasets.contribute', allowed: [], status: 201 },
    otherwise: { 'datasets:contribute': 'contribution/refused' },
    request: async () => ['POST', `/v1/datasets/${dataset}/epochs/1/contributions/1`, 'x'],
  },
  {
    // Of what the dataset does not answer: whoever may ask is told that.
    ...{ operationId: 'queryDataset', action: 'datasets.query', allowed: [], status: 201 },
    otherwise: { 'datasets:query': 'dataset/query-refused' },
    request: async () => ['POST', `/v1/datasets/${dataset}/queries`, notAnswered],
  },
  {
    ...{ operationId: 'estimateQuery', action: 'datasets.estimate', allowed: [], status: 200 },
    otherwise: { 'datasets:query': 'dataset/query-refused' },
    request: async () => ['POST', `/v1/datasets/${dataset}/queries/dry-run`, notAnswered],
  },
  {
    ...{ operationId: 'listQueries', action: 'datasets.list-queries', status: 200 },
    allowed: ['datasets:query'],
    request: async () => ['GET', `/v1/datasets/${dataset}/queries`],
  },
  {
    ...{ operationId: 'getQuery', action: 'datasets.read-query', allowed: [], status: 200 },
    otherwise: { 'datasets:query': 'dataset/query-not-found' },
    request: async () => ['GET', `/v1/datasets/${dataset}/queries/${newId()}`],
  },
  {
    ...{ operationId: 'getBudget', action: 'datasets.read-budget', status: 200 },
    allowed: ['datasets:query'],
    request: async () => ['GET', `/v1/datasets/${dataset}/budget`],
  },
  {
    ...{ operationId: 'createNamespace', action: 'access.create-namespace', allowed: ['service:admin'] },
    status: 201,
    request: async () => ['POST', '/v1/access/namespaces', { name: freshName('made') }],
  },
  {
    ...{ operationId: 'listNamespaces', action: 'access.list-namespaces', allowed: ['service:admin'] },
    status: 200,
    request: async () => ['GET', '/v1/access/namespaces'],
  },
  {
    ...{ operationId: 'createToken', action: 'access.create-token', allowed: ['access:admin'], status: 201 },
    request: async () => ['POST', '/v1/access/tokens', { name: freshName('made'), scopes: ['keys:encrypt'] }],
  },
  {
    // In another namespace.
    ...{ operationId: 'createToken', action: 'access.create-token', allowed: ['service:admin'], status: 201 },
    otherwise: { 'access:admin': 'access/namespace-not-found' },
    request: async () => [
      'POST',
      '/v1/access/tokens',
      { name: freshName('made'), scopes: ['keys:encrypt'], namespace: otherNamespace },
    ],
  },
  {
    ...{ operationId: 'listTokens', action: 'access.list-tokens', allowed: ['access:admin'], status: 200 },
    request: async () => ['GET', '/v1/access/tokens'],
  },
  {
    ...{ operationId: 'revokeToken', action: 'access.revoke-token', status: 204 },
    allowed: ['access:admin', 'service:admin'],
    request: async () => [
      'DELETE',
      `/v1/access/tokens/${(await makeToken(service, { scopes: ['keys:admin'] })).id}`,
    ],
  },
  {
    ...{ operationId: 'listJobs', action: 'jobs.list', allowed: ['jobs:read', 'jobs:admin'], status: 200 },
    request: async () => ['GET', '/v1/jobs'],
  },
  {
    ...{ operationId: 'getJob', action: 'jobs.describe', allowed: [], status: 200 },
    otherwise: { 'jobs:read': 'job/not-found', 'jobs:admin': 'job/not-found' },
    request: async () => ['GET', `/v1/jobs/${job}`],
  },
  {
    ...{ operationId: 'cancelJob', action: 'jobs.cancel', allowed: [], status: 200 },
    otherwise: { 'jobs:admin': 'job/not-found' },
    request: async () => ['POST', `/v1/jobs/${job}/cancel`, {}],
  },
  {
    ...{ operationId: 'listAuditRecords', action: 'audit.read', allowed: ['audit:read'], status: 200 },
    request: async () => ['GET', '/v1/audit/records?limit=1'],
  },
  {
    ...{ operationId: 'service.metrics', action: 'service.metrics', status: 200 },
    allowed: ['metrics:read', 'service:admin'],
    request: async () => ['GET', '/metrics'],
  },
];

async function attempt(row: Row, token: MadeToken, requestId: string): Promise<Answer> {
  const [method, path, body] = await row.request();
  return await service.call(method, path, body, {
    token: token.secret,
    headers: {
      'x-request-id': requestId,
      ...(row.operationId === 'contribute' && { 'content-type': 'application/octet-stream' }),
    },
  });
}

/** Guarantees that no operation of the interface is missing from the table above. */
test('the table has every operation', async () => {
  const { body } = await service.call('GET', '/openapi.json');
  const paths = body['paths'] as Record<
    string,
    Record<string, { operationId: string; security?: unknown[] }>
  >;
  const guarded = Object.values(paths)
    .flatMap((methods) => Object.values(methods))
    .filter(({ security }) => security === undefined)
    .map(({ operationId }) => operationId);
  expect(guarded.toSorted()).toEqual([...new Set(rows.map(({ operationId }) => operationId))].toSorted());
});

/** Guarantees that each scope alone allows what the table says and nothing else, and that each try is on record once. */
test.for(all)('%s allows what it is for', { timeout: 60_000 }, async (scope) => {
  const token = tokens.get(scope);
  if (!token) throw new Error('no token');
  const expected: unknown[] = [];
  for (const [index, row] of rows.entries()) {
    const requestId = `${scope.replace(':', '-')}.${index}`;
    const answer = await attempt(row, token, requestId);
    const code = row.allowed.includes(scope) ? undefined : (row.otherwise?.[scope] ?? 'access/denied');
    const got = { operation: row.operationId, code: answer.body['code'] };
    expect(got).toEqual({ operation: row.operationId, code });
    if (code === undefined) expect([row.operationId, answer.status]).toEqual([row.operationId, row.status]);
    if (code === 'access/denied') expect(answer.status).toBe(403);
    const outcome = code === undefined ? 'allowed' : 'refused';
    expected.push({ requestId, action: row.action, outcome, code, by: token.id });
  }
  const records = await auditRecords(service, { principalId: token.id });
  const recorded = records.toReversed().map(({ requestId, action, outcome, code, principal }) => ({
    ...{ requestId, action, outcome, code, by: principal.id },
  }));
  expect(recorded).toEqual(expected);
});

/** Guarantees that a token with every scope but those an operation needs is denied it. */
test('all other scopes together are not enough', { timeout: 60_000 }, async () => {
  for (const [index, row] of rows.entries()) {
    const scopes = all.filter(
      (scope) => !row.allowed.includes(scope) && row.otherwise?.[scope] === undefined,
    );
    const token = await makeToken(service, { scopes });
    const answer = await attempt(row, token, `complement.${index}`);
    expect([row.operationId, answer.status, answer.body['code']]).toEqual([
      ...[row.operationId, 403, 'access/denied'],
    ]);
  }
});

/** Guarantees that a refusal came before the work: nothing was made, changed, rotated or revoked. */
test('a refused operation has no effect', async () => {
  const name = freshName('untouched');
  await makeKey(service, name);
  const victim = await makeToken(service, { scopes: ['keys:admin'] });
  const before = await service.call('GET', `/v1/keys/${name}`);
  const token = await makeToken(service, { scopes: ['keys:encrypt', 'audit:read'] });
  const made = freshName('never-made');
  for (const [method, path, body] of [
    ['POST', `/v1/keys/${name}/rotate`, {}],
    ['PATCH', `/v1/keys/${name}`, { state: 'disabled', description: 'x' }],
    ['PATCH', `/v1/keys/${name}/versions/1`, { state: 'disabled' }],
    ['POST', '/v1/keys', { name: made }],
    ['POST', '/v1/access/namespaces', { name: made }],
    ['POST', '/v1/access/tokens', { name: made, scopes: ['keys:admin'] }],
    ['DELETE', `/v1/access/tokens/${victim.id}`],
  ] as const) {
    const headers = { 'idempotency-key': `refused-${path.length}` };
    const answer = await service.call(method, path, body, { token: token.secret, headers });
    expect([path, answer.status]).toEqual([path, 403]);
  }
  const after = await service.call('GET', `/v1/keys/${name}`);
  expect(after.text).toBe(before.text);
  for (const path of ['/v1/keys', '/v1/access/namespaces', '/v1/access/tokens']) {
    expect((await service.call('GET', `${path}?limit=1000`)).text).not.toContain(`"${made}"`);
  }
  expect((await service.call('GET', '/v1/keys', undefined, { token: victim.secret })).status).toBe(200);
});

/** Guarantees that the items of a batch need the scopes of the operations they are. */
test('each item of a batch is allowed on its own', async () => {
  const operations = [
    { operation: 'encrypt', key, plaintext },
    { operation: 'decrypt', ciphertext },
    { operation: 'rewrap', key, ciphertext },
    { operation: 'data-keys', key },
    { operation: 'random', bytes: 8 },
    { operation: 'mac', key: authenticating, message: plaintext },
    { operation: 'verify-mac', key: authenticating, message: plaintext, mac },
  ];
  const allowed: Readonly<Record<string, readonly boolean[]>> = {
    'keys:admin': [false, false, false, false, true, false, false],
    'keys:encrypt': [true, false, false, true, true, false, false],
    'keys:decrypt': [false, true, false, false, true, false, false],
    'keys:rewrap': [false, false, true, false, true, false, false],
    'keys:sign': [false, false, false, false, true, true, false],
    'keys:verify': [false, false, false, false, true, false, true],
  };
  for (const scope of anyKeys) {
    const token = tokens.get(scope);
    if (!token) throw new Error('no token');
    const { body } = await service.call('POST', '/v1/batch', { operations }, { token: token.secret });
    const results = body['results'] as { status: number; problem?: { code: string } }[];
    expect([scope, results.map(({ status }) => status)]).toEqual([
      scope,
      allowed[scope]?.map((may) => (may ? 200 : 403)),
    ]);
    for (const { problem } of results) if (problem) expect(problem.code).toBe('access/denied');
  }
});
