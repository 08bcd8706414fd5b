import { datasetOperations } from './operations-datasets.ts';
import { eventOperations } from './operations-events.ts';
import { fieldOperations } from './operations-fields.ts';
import { importOperations } from './operations-import.ts';
import { lifecycleOperations } from './operations-lifecycle.ts';
import { queryOperations } from './operations-queries.ts';
import { rewrappingOperations } from './operations-rewrapping.ts';
import { rotationOperations } from './operations-rotation.ts';
import { sealingOperations } from './operations-sealing.ts';
import {
  jobAnswer,
  keyAnswer,
  made,
  namespaceAnswer,
  opened,
  pageOf,
  recordAnswer,
  type Shape,
  sealed,
  tokenAnswer,
  verified,
  versionAnswer,
} from './shapes.ts';

export interface OperationRow {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** Members named here go there; the others are the query of GET and the body of everything else. */
  readonly path: string;
  /** Members of the body, or of each line of it, that are bytes; `name?` may be absent. */
  readonly bytes?: readonly string[];
  /** The member that is the body, as bytes; there is no other. */
  readonly raw?: string;
  /**
   * `safe`: made twice it has done what it does once. `key`: it is, by an Idempotency-Key.
   * `never`: its answer is about this moment.
   */
  readonly retry: 'safe' | 'key' | 'never';
  /** Needs no token, and gets none. */
  readonly open?: true;
  /** Undefined: no content. */
  readonly answer?: Shape | 'text' | 'batch' | 'lines';
}

/**
 * Every operation of the service by its operationId. A member `name?` of an answer may be absent; members that are
 * not named here are taken as they come, for a newer service may have more.
 *
 * What changes nothing but counters and the audit log may be sent again when its answer was lost: it costs a use
 * and a record. An update and a revocation set what they set once more; a caller who still waits for the first
 * answer has not seen what others did in between. Creations and rotations are held together by their key.
 */
export const operations = {
  createKey: { method: 'POST', path: '/v1/keys', retry: 'key', answer: keyAnswer },
  listKeys: { method: 'GET', path: '/v1/keys', retry: 'safe', answer: pageOf(keyAnswer) },
  getKey: { method: 'GET', path: '/v1/keys/{key}', retry: 'safe', answer: keyAnswer },
  updateKey: { method: 'PATCH', path: '/v1/keys/{key}', retry: 'safe', answer: keyAnswer },
  rotateKey: {
    method: 'POST',
    path: '/v1/keys/{key}/rotate',
    retry: 'key',
    answer: { ...keyAnswer, existing: 'string' },
  },
  listKeyVersions: {
    method: 'GET',
    path: '/v1/keys/{key}/versions',
    retry: 'safe',
    answer: pageOf(versionAnswer),
  },
  updateKeyVersion: {
    method: 'PATCH',
    path: '/v1/keys/{key}/versions/{version}',
    retry: 'safe',
    answer: versionAnswer,
  },

  ...lifecycleOperations,
  ...rotationOperations,

  ...importOperations,

  encrypt: {
    method: 'POST',
    path: '/v1/keys/{key}/encrypt',
    bytes: ['plaintext'],
    retry: 'safe',
    answer: sealed,
  },
  decryptWithKey: {
    method: 'POST',
    path: '/v1/keys/{key}/decrypt',
    bytes: ['ciphertext'],
    retry: 'safe',
    answer: opened,
  },
  decrypt: { method: 'POST', path: '/v1/decrypt', bytes: ['ciphertext'], retry: 'safe', answer: opened },
  rewrap: {
    method: 'POST',
    path: '/v1/keys/{key}/rewrap',
    bytes: ['ciphertext'],
    retry: 'safe',
    answer: sealed,
  },
  ...rewrappingOperations,
  createDataKeys: {
    method: 'POST',
    path: '/v1/keys/{key}/data-keys',
    retry: 'safe',
    answer: { items: [{ 'plaintext?': 'bytes', wrapped: 'bytes', keyVersion: 'integer' }] },
  },
  random: { method: 'POST', path: '/v1/random', retry: 'safe', answer: { bytes: 'bytes' } },
  batch: { method: 'POST', path: '/v1/batch', retry: 'safe', answer: 'batch' },

  ...fieldOperations,

  decryptOaep: {
    method: 'POST',
    path: '/v1/keys/{key}/decrypt-oaep',
    bytes: ['ciphertext', 'oaepLabel?'],
    retry: 'safe',
    answer: opened,
  },

  getPublicKey: {
    method: 'GET',
    path: '/v1/keys/{key}/public-key',
    retry: 'safe',
    answer: {
      ...made,
      algorithm: 'string',
      suite: 'string',
      publicKey: 'bytes',
      'pem?': 'string',
      'jwk?': 'strings',
    },
  },
  encapsulate: {
    method: 'POST',
    path: '/v1/keys/{key}/encapsulate',
    bytes: ['info?'],
    retry: 'safe',
    answer: {
      ...{ ciphertext: 'bytes', sharedSecret: 'bytes', confirmation: 'bytes' },
      ...{ expectedConfirmation: 'bytes', ...made },
    },
  },
  decapsulate: {
    method: 'POST',
    path: '/v1/keys/{key}/decapsulate',
    bytes: ['ciphertext', 'info?', 'confirmation?'],
    retry: 'safe',
    answer: { sharedSecret: 'bytes', confirmation: 'bytes', ...made },
  },
  confirm: {
    method: 'POST',
    path: '/v1/keys/{key}/confirm',
    bytes: ['ciphertext', 'info?', 'confirmation'],
    retry: 'safe',
    answer: { confirmation: 'bytes', ...made },
  },
  sign: {
    method: 'POST',
    path: '/v1/keys/{key}/sign',
    bytes: ['context?', 'digest?', 'message?', 'mu?'],
    retry: 'safe',
    answer: { signature: 'bytes', algorithm: 'string', ...made },
  },
  signJws: {
    method: 'POST',
    path: '/v1/keys/{key}/sign-jws',
    bytes: ['payload'],
    retry: 'safe',
    answer: { jws: 'string', ...made },
  },
  createCsr: {
    method: 'POST',
    path: '/v1/keys/{key}/csr',
    retry: 'safe',
    answer: { pem: 'string', ...made },
  },
  getJwks: {
    method: 'GET',
    path: '/v1/keys/jwks.json',
    retry: 'safe',
    answer: { keys: ['strings'] },
  },
  verify: {
    method: 'POST',
    path: '/v1/keys/{key}/verify',
    bytes: ['context?', 'digest?', 'message?', 'mu?', 'signature'],
    retry: 'safe',
    answer: verified,
  },
  derive: {
    method: 'POST',
    path: '/v1/keys/{key}/derive',
    bytes: ['peerPublicKey', 'info?'],
    retry: 'safe',
    answer: { derived: 'bytes', ...made },
  },

  ...sealingOperations,

  mac: {
    method: 'POST',
    path: '/v1/keys/{key}/mac',
    bytes: ['message'],
    retry: 'safe',
    answer: { mac: 'bytes', ...made },
  },
  verifyMac: {
    method: 'POST',
    path: '/v1/keys/{key}/verify-mac',
    bytes: ['mac', 'message'],
    retry: 'safe',
    answer: verified,
  },

  ...datasetOperations,
  ...queryOperations,

  createNamespace: {
    method: 'POST',
    path: '/v1/access/namespaces',
    retry: 'key',
    answer: namespaceAnswer,
  },
  listNamespaces: {
    method: 'GET',
    path: '/v1/access/namespaces',
    retry: 'safe',
    answer: pageOf(namespaceAnswer),
  },
  createToken: {
    method: 'POST',
    path: '/v1/access/tokens',
    retry: 'key',
    answer: { ...tokenAnswer, secret: 'string' },
  },
  listTokens: { method: 'GET', path: '/v1/access/tokens', retry: 'safe', answer: pageOf(tokenAnswer) },
  revokeToken: { method: 'DELETE', path: '/v1/access/tokens/{id}', retry: 'safe' },

  ...eventOperations,

  listJobs: { method: 'GET', path: '/v1/jobs', retry: 'safe', answer: pageOf(jobAnswer) },
  getJob: { method: 'GET', path: '/v1/jobs/{id}', retry: 'safe', answer: jobAnswer },
  cancelJob: { method: 'POST', path: '/v1/jobs/{id}/cancel', retry: 'safe', answer: jobAnswer },

  listAuditRecords: {
    method: 'GET',
    path: '/v1/audit/records',
    retry: 'safe',
    answer: pageOf(recordAnswer),
  },

  'system.health': {
    method: 'GET',
    path: '/healthz',
    retry: 'never',
    open: true,
    answer: { status: 'string' },
  },
  'system.ready': {
    method: 'GET',
    path: '/readyz',
    retry: 'never',
    open: true,
    answer: { status: 'string', checks: 'strings' },
  },
  'service.metrics': { method: 'GET', path: '/metrics', retry: 'safe', answer: 'text' },
} as const satisfies Record<string, OperationRow>;

export type OperationId = keyof typeof operations;

/** The operation that an item of a batch is, by its `operation`. */
export const batchOperations = {
  encrypt: operations.encrypt,
  decrypt: operations.decrypt,
  rewrap: operations.rewrap,
  'data-keys': operations.createDataKeys,
  random: operations.random,
  mac: operations.mac,
  'verify-mac': operations.verifyMac,
  sign: operations.sign,
  verify: operations.verify,
} as const satisfies Record<string, OperationRow>;
