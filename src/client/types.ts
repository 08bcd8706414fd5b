import type * as access from '../access/routes-schemas.ts';
import type * as audit from '../audit/routes-schemas.ts';
import type * as coverage from '../coverage/routes-schemas.ts';
import type * as decryption from '../decryption/routes-schemas.ts';
import type * as envelope from '../envelope/routes-schemas.ts';
import type * as events from '../events/routes-schemas.ts';
import type * as exchange from '../exchange/routes-schemas.ts';
import type * as sealing from '../exchange/routes-schemas-sealing.ts';
import type * as fields from '../fields/routes-schemas.ts';
import type { listQuery } from '../http/validation.ts';
import type * as importing from '../importing/routes-schemas.ts';
import type * as jobs from '../jobs/routes-schemas.ts';
import type * as keys from '../keys/routes-schemas.ts';
import type * as lifecycle from '../lifecycle/routes-schemas.ts';
import type * as macs from '../macs/routes-schemas.ts';
import type * as signing from '../signing/routes-schemas.ts';
import type { CallOptions, ItemOf, List, Operation } from './type-parts.ts';
import type { Answered, Given } from './type-wire.ts';
import type { DatasetOperations } from './types-datasets.ts';
import type { RotationOperations } from './types-rotation.ts';

export type { CallOptions, ListOptions } from './type-parts.ts';
export type { Dataset, Epoch, Query, QueryEstimate } from './types-datasets.ts';
export type { RotationPolicy } from './types-rotation.ts';

// The members of each operation, from the schemas that the service checks them with. Only types: nothing of the
// service gets into a program that uses the client.

export type Key = Answered<typeof keys.keyAnswer>;
export type KeyVersion = Answered<typeof keys.versionAnswer>;
export type ImportParameters = Answered<typeof importing.parametersAnswer>;
export type Token = Answered<typeof access.tokenAnswer>;
export type Namespace = Answered<typeof access.namespaceAnswer>;
export type FieldSchema = Answered<typeof fields.schemaAnswer>;
export type FieldResults = Answered<typeof fields.fieldsAnswer>;
type SchemaParams = Given<typeof fields.schemaParams>;
export type CoverageReport = Answered<typeof coverage.reportAnswer>;
export type Job = Answered<typeof jobs.jobAnswer>;
export type AuditRecord = ItemOf<Answered<typeof audit.recordsAnswer>>;
export type BatchItem = Given<typeof envelope.batchItem>;

export type RewrapLine = Given<typeof envelope.rewrapLine>;
export type RewrapLineAnswer = Exclude<Answered<typeof envelope.rewrapLinesAnswer>, { end: unknown }>;

interface BatchAnswers {
  encrypt: Answered<typeof envelope.sealedAnswer>;
  decrypt: Answered<typeof envelope.openedAnswer>;
  rewrap: Answered<typeof envelope.sealedAnswer>;
  'data-keys': Answered<typeof envelope.dataKeysAnswer>;
  random: Answered<typeof envelope.randomAnswer>;
  mac: Answered<typeof macs.macAnswer>;
  'verify-mac': Answered<typeof macs.verifiedMacAnswer>;
  sign: Answered<typeof signing.signatureAnswer>;
  verify: Answered<typeof signing.verifiedSignatureAnswer>;
}

/** Of an item that failed. */
type BatchProblem = Extract<Answered<typeof envelope.batchAnswer>['results'][number], { problem: unknown }>;

/** It has a `problem`, or what the item's operation gives. */
export type BatchResult<Item extends BatchItem> =
  | BatchProblem
  | (Item extends unknown
      ? { id?: string | undefined; status: 200 } & BatchAnswers[Item['operation']]
      : never);

/** A page of the service that tells how it is. */
export interface Readiness {
  readonly status: 'ready' | 'unavailable' | 'draining';
  readonly checks: Readonly<Record<string, string>>;
}

type KeyParams = Given<typeof envelope.keyParams>;

/** Every operation of the service: path, query and body in one flat object. */
export interface Operations extends DatasetOperations, RotationOperations {
  createKey: Operation<Given<typeof keys.createBody>, Key>;
  listKeys: List<Given<typeof listQuery>, Answered<typeof keys.keysAnswer>>;
  getKey: Operation<KeyParams, Key>;
  updateKey: Operation<KeyParams & Given<typeof keys.updateBody>, Key>;
  rotateKey: Operation<KeyParams, Answered<typeof keys.rotateAnswer>>;
  listKeyVersions: List<KeyParams & Given<typeof listQuery>, Answered<typeof keys.versionsAnswer>>;
  updateKeyVersion: Operation<
    Given<typeof keys.versionParams> & Given<typeof keys.updateVersionBody>,
    KeyVersion
  >;

  /** What it schedules can be restored until its time has come. */
  destroyKeyVersions: Operation<
    KeyParams & Given<typeof lifecycle.destroyBody>,
    Answered<typeof lifecycle.planAnswer>
  >;
  restoreKeyVersions: Operation<
    KeyParams & Given<typeof lifecycle.restoreBody>,
    Answered<typeof lifecycle.restoredAnswer>
  >;
  listDestructions: List<KeyParams & Given<typeof listQuery>, Answered<typeof lifecycle.destructionsAnswer>>;
  getRetention: Operation<KeyParams, Answered<typeof lifecycle.retentionAnswer>>;
  setRetention: Operation<
    KeyParams & Given<typeof lifecycle.retentionBody>,
    Answered<typeof lifecycle.retentionAnswer>
  >;
  removeRetention: Operation<KeyParams, void>;
  /** For one import: what `wrapKey` of `stathera-kms/client` on Node takes. */
  getImportParameters: Operation<KeyParams & Given<typeof importing.parametersBody>, ImportParameters>;
  importKey: Operation<
    KeyParams & Given<typeof importing.importBody>,
    Answered<typeof importing.importedAnswer>
  >;

  /** Up to 4 KiB inside the HSM, up to 720 KiB under a data key in the service. */
  encrypt: Operation<KeyParams & Given<typeof envelope.encryptBody>, Answered<typeof envelope.sealedAnswer>>;
  /** Of this key, and of no other. */
  decryptWithKey: Operation<
    KeyParams & Given<typeof envelope.decryptBody>,
    Answered<typeof envelope.openedAnswer>
  >;
  /** Of whichever key the ciphertext names. */
  decrypt: Operation<Given<typeof envelope.decryptBody>, Answered<typeof envelope.openedAnswer>>;
  rewrap: Operation<KeyParams & Given<typeof envelope.rewrapBody>, Answered<typeof envelope.sealedAnswer>>;
  /**
   * Any number of ciphertexts of a key, each moved to the newest version or left when it is of that already; answers
   * stand in the order of the lines. It takes up to 500 lines ahead, and so many are in memory.
   */
  rewrapLines(
    input: KeyParams & { readonly lines: AsyncIterable<RewrapLine> | Iterable<RewrapLine> },
    options?: CallOptions,
  ): AsyncGenerator<RewrapLineAnswer, void, undefined>;
  createDataKeys: Operation<
    KeyParams & Given<typeof envelope.dataKeysBody>,
    Answered<typeof envelope.dataKeysAnswer>
  >;
  random: Operation<Given<typeof envelope.randomBody>, Answered<typeof envelope.randomAnswer>>;
  /** Up to 1,000 items; `results` stand in their order, each with a status and what its operation gives. */
  batch<const Items extends readonly BatchItem[]>(
    input: { readonly operations: Items },
    options?: CallOptions,
  ): Promise<{ results: { -readonly [At in keyof Items]: BatchResult<Items[At]> } }>;

  /** What a scan of one place found. */
  reportCoverage: Operation<KeyParams & Given<typeof coverage.reportBody>, CoverageReport>;
  listCoverage: List<
    KeyParams & Given<typeof coverage.coverageQuery>,
    Answered<typeof coverage.reportsAnswer>
  >;

  /** Which fields of documents are treated, and how. */
  createFieldSchema: Operation<Given<typeof fields.createSchemaBody>, FieldSchema>;
  listFieldSchemas: List<Given<typeof listQuery>, Answered<typeof fields.schemasAnswer>>;
  getFieldSchema: Operation<SchemaParams & Given<typeof fields.describeQuery>, FieldSchema>;
  addFieldSchemaVersion: Operation<SchemaParams & Given<typeof fields.schemaVersionBody>, FieldSchema>;
  /** Up to 10,000 documents; `results` stand in their order, each with a status. Numbers stay as they are written. */
  encryptFields: Operation<Given<typeof fields.fieldsBody>, FieldResults>;
  decryptFields: Operation<Given<typeof fields.fieldsBody>, FieldResults>;
  revealFields: Operation<Given<typeof fields.fieldsBody>, FieldResults>;
  rewrapFields: Operation<Given<typeof fields.rewrapFieldsBody>, FieldResults>;
  queryFieldTokens: Operation<
    Given<typeof fields.queryTokensBody>,
    Answered<typeof fields.queryTokensAnswer>
  >;

  /** Of what was encrypted to the public key of an RSA key. */
  decryptOaep: Operation<
    KeyParams & Given<typeof decryption.oaepBody>,
    Answered<typeof decryption.oaepAnswer>
  >;

  /** Raw, and as PEM and JWK where the algorithm has them. */
  getPublicKey: Operation<
    KeyParams & Given<typeof keys.publicKeyQuery>,
    Answered<typeof keys.publicKeyAnswer>
  >;
  encapsulate: Operation<
    KeyParams & Given<typeof exchange.encapsulateBody>,
    Answered<typeof exchange.encapsulatedAnswer>
  >;
  /** With the other side's `confirmation`, or a changed ciphertext gives another secret. */
  decapsulate: Operation<
    KeyParams & Given<typeof exchange.decapsulateBody>,
    Answered<typeof exchange.decapsulatedAnswer>
  >;
  confirm: Operation<
    KeyParams & Given<typeof exchange.confirmBody>,
    Answered<typeof exchange.confirmedAnswer>
  >;
  derive: Operation<KeyParams & Given<typeof exchange.deriveBody>, Answered<typeof exchange.derivedAnswer>>;

  /** To the key, by HPKE: only the key opens it. */
  seal: Operation<KeyParams & Given<typeof sealing.sealBody>, Answered<typeof sealing.sealedMessageAnswer>>;
  /** As the key, to the public key of another. */
  authSeal: Operation<
    KeyParams & Given<typeof sealing.authSealBody>,
    Answered<typeof sealing.sealedMessageAnswer>
  >;
  open: Operation<KeyParams & Given<typeof sealing.openBody>, Answered<typeof sealing.openedMessageAnswer>>;
  sendExport: Operation<
    KeyParams & Given<typeof sealing.sendExportBody>,
    Answered<typeof sealing.sentExportAnswer>
  >;
  receiveExport: Operation<
    KeyParams & Given<typeof sealing.receiveExportBody>,
    Answered<typeof sealing.receivedExportAnswer>
  >;

  mac: Operation<KeyParams & Given<typeof macs.generateMacBody>, Answered<typeof macs.macAnswer>>;
  /** Rejects with `mac/invalid` unless the MAC is the message's. */
  verifyMac: Operation<KeyParams & Given<typeof macs.verifyMacBody>, Answered<typeof macs.verifiedMacAnswer>>;

  /** Of `message`, `digest` and `mu` one. */
  sign: Operation<KeyParams & Given<typeof signing.signBody>, Answered<typeof signing.signatureAnswer>>;
  /** Rejects with `signature/invalid` unless the signature is the message's. */
  verify: Operation<
    KeyParams & Given<typeof signing.verifyBody>,
    Answered<typeof signing.verifiedSignatureAnswer>
  >;
  /** In compact serialization. */
  signJws: Operation<KeyParams & Given<typeof signing.jwsBody>, Answered<typeof signing.jwsAnswer>>;
  /** PKCS #10, in PEM. */
  createCsr: Operation<KeyParams & Given<typeof signing.csrBody>, Answered<typeof signing.csrAnswer>>;
  /** The public keys that signatures verify with now. */
  getJwks(
    input?: Given<typeof signing.jwksQuery>,
    options?: CallOptions,
  ): Promise<Answered<typeof signing.jwksAnswer>>;

  createNamespace: Operation<Given<typeof access.createNamespaceBody>, Namespace>;
  listNamespaces: List<Given<typeof listQuery>, Answered<typeof access.namespacesAnswer>>;
  /** The secret is in this answer and nowhere else. */
  createToken: Operation<Given<typeof access.createTokenBody>, Answered<typeof access.madeTokenAnswer>>;
  listTokens: List<Given<typeof listQuery>, Answered<typeof access.tokensAnswer>>;
  revokeToken: Operation<Given<typeof access.tokenParams>, void>;

  /** What happened to keys, oldest first. The service streams it, too, to whoever asks for server-sent events. */
  listEvents: List<Given<typeof events.eventsQuery>, Answered<typeof events.eventsAnswer>>;
  /** The secret is in this answer and nowhere else. */
  createWebhook: Operation<Given<typeof events.webhookBody>, Answered<typeof events.madeWebhookAnswer>>;
  listWebhooks: List<Given<typeof listQuery>, Answered<typeof events.webhooksAnswer>>;
  updateWebhook: Operation<
    Given<typeof events.webhookParams> & Given<typeof events.updateWebhookBody>,
    Answered<typeof events.webhookAnswer>
  >;
  removeWebhook: Operation<Given<typeof events.webhookParams>, void>;
  listDeliveries: List<
    Given<typeof events.webhookParams> & Given<typeof events.deliveriesQuery>,
    Answered<typeof events.deliveriesAnswer>
  >;
  redeliver: Operation<
    Given<typeof events.webhookParams> & Given<typeof events.redeliverBody>,
    Answered<typeof events.redeliveredAnswer>
  >;

  listJobs: List<Given<typeof jobs.jobsQuery>, Answered<typeof jobs.jobsAnswer>>;
  getJob: Operation<Given<typeof jobs.jobParams>, Job>;
  /** Once this is answered, nothing of the job takes effect any more; what it did stays. */
  cancelJob: Operation<Given<typeof jobs.jobParams>, Job>;

  listAuditRecords: List<Given<typeof audit.recordsQuery>, Answered<typeof audit.recordsAnswer>>;

  system: {
    health(options?: CallOptions): Promise<{ status: string }>;
    /** Answers what the parts say, also while they are not ready. */
    ready(options?: CallOptions): Promise<Readiness>;
  };
  service: {
    /** Prometheus' text format. */
    metrics(options?: CallOptions): Promise<string>;
  };
}
