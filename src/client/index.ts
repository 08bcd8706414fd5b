export { type Client, type ClientOptions, createClient } from './client.ts';
export type { Credentials, CredentialsRequest } from './credentials.ts';
export { type ReuseSettings, reuseDefaults } from './data-keys.ts';
export { type ClientErrorCode, isStatheraError, StatheraError } from './errors.ts';
export type { AnswerEvent, Hooks, RequestEvent } from './hooks.ts';
export type {
  LocalEncryption,
  LocalService,
  LocalSettings,
  OpenStreamOptions,
  Place,
  RewrapInput,
} from './local.ts';
export type { RetrySettings } from './retries.ts';
export { createMemorySpool, type Spool, SpoolFull } from './spool.ts';
export type { ByteSource } from './streams.ts';
export type {
  AuditRecord,
  BatchItem,
  BatchResult,
  CallOptions,
  CoverageReport,
  Dataset,
  Epoch,
  ImportParameters,
  Job,
  Key,
  KeyVersion,
  ListOptions,
  Namespace,
  Query,
  QueryEstimate,
  Readiness,
  RewrapLine,
  RewrapLineAnswer,
  RotationPolicy,
  Token,
} from './types.ts';
export { createLocalEncryption } from './web-local.ts';
