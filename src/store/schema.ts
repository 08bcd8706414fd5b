import type { Generated } from 'kysely';
import type { AuditSegmentBytesRow, AuditWriterRow } from './audit-rows.ts';
import type { CoverageReportRow } from './coverage-rows.ts';
import type {
  ContributionCiphertextRow,
  ContributionRow,
  DatasetEpochKeyRow,
  DatasetEpochRow,
  DatasetRow,
} from './dataset-rows.ts';
import type { DeliveryRow, EventRow, WebhookRow } from './event-rows.ts';
import type { FieldSchemaRow } from './field-rows.ts';
import type { JobChunkRow, JobRow } from './job-rows.ts';
import type { DestructionRow, RetentionRow } from './lifecycle-rows.ts';
import type { DatasetBudgetRow, DatasetQueryRow } from './query-rows.ts';
import type { RotationDefaultRow, RotationRow, RotationScheduleRow } from './rotation-rows.ts';

/**
 * The tables as the code sees them: one schema for every database. Ids are UUID text, times are
 * milliseconds since the epoch, `mac` authenticates the row (./rows.ts), `revision` counts a row's changes
 * and is what an update compares. Every table names a namespace; what belongs to the service itself has the
 * nil one.
 */
export interface Schema {
  schema_migrations: {
    number: number;
    name: string;
    /** The lowest schema number whose code may still use a database with this migration. */
    oldest_code: number;
    namespace_id: string;
    applied_at: number;
  };
  roots: { id: string; namespace_id: string; token_label: string; created_at: number };
  system_keys: SystemKeyRow;
  system_key_wrappings: SystemKeyWrappingRow;
  root_transport_keys: RootTransportKeyRow;
  system_key_transports: SystemKeyTransportRow;
  namespaces: NamespaceRow;
  keys: KeyRow;
  key_versions: KeyVersionRow;
  key_usage: KeyUsageRow;
  tokens: TokenRow;
  idempotency: IdempotencyRow;
  changes: ChangeRow;
  audit_segments: AuditSegmentRow;
  audit_outbox: AuditOutboxRow;
  audit_writers: AuditWriterRow;
  audit_segment_bytes: AuditSegmentBytesRow;
  leases: LeaseRow;
  import_wrapping_keys: ImportWrappingKeyRow;
  jobs: JobRow;
  job_chunks: JobChunkRow;
  coverage_reports: CoverageReportRow;
  field_schemas: FieldSchemaRow;
  version_destructions: DestructionRow;
  key_retention: RetentionRow;
  datasets: DatasetRow;
  dataset_epochs: DatasetEpochRow;
  dataset_epoch_keys: DatasetEpochKeyRow;
  contributions: ContributionRow;
  contribution_ciphertexts: ContributionCiphertextRow;
  rotation_schedules: RotationScheduleRow;
  rotation_defaults: RotationDefaultRow;
  rotations: RotationRow;
  dataset_queries: DatasetQueryRow;
  dataset_budgets: DatasetBudgetRow;
  events: EventRow;
  webhooks: WebhookRow;
  webhook_deliveries: DeliveryRow;
}

/** Keys under the root: `kek` wraps a namespace's key versions, `record` authenticates rows, `audit` the log. */
export interface SystemKeyRow {
  id: string;
  namespace_id: string;
  purpose: 'kek' | 'record' | 'audit';
  generation: number;
  state: 'active' | 'retired';
  created_at: number;
  revision: number;
  mac: Uint8Array;
}

/** A system key wrapped for one token: AES-KWP under that token's root. */
export interface SystemKeyWrappingRow {
  system_key_id: string;
  root_id: string;
  namespace_id: string;
  blob: Uint8Array;
  mac: Uint8Array;
}

/** An enrolled token's public key, by which other nodes hand system keys over to it. */
export interface RootTransportKeyRow {
  root_id: string;
  namespace_id: string;
  /** RSAPublicKey (RFC 8017 A.1.1) in DER. */
  public_key: Uint8Array;
  created_at: number;
  revision: number;
  mac: Uint8Array;
}

/** A system key on its way to a token: RSAES-OAEP under that token's transport key. Gone when it has a wrapping. */
export interface SystemKeyTransportRow {
  system_key_id: string;
  root_id: string;
  namespace_id: string;
  blob: Uint8Array;
  mac: Uint8Array;
}

export interface NamespaceRow {
  id: string;
  /** Its own id, so that every table is cut the same way. */
  namespace_id: string;
  name: string;
  region: string;
  created_at: number;
  revision: number;
  mac: Uint8Array;
}

export type KeyState = 'enabled' | 'disabled';
export type VersionState = 'enabled' | 'decrypt-only' | 'disabled' | 'destroy-scheduled' | 'destroyed';

export interface KeyRow {
  id: string;
  namespace_id: string;
  name: string;
  algorithm: string;
  purpose: string;
  protection: string;
  exportable: number;
  state: KeyState;
  description: string;
  /** JSON object of strings. */
  tags: string;
  current_version_id: string;
  current_ordinal: number;
  /** JSON object of `messages`, `bytes`, `seconds`; null where every message has a data key of its own. */
  data_key_reuse: string | null;
  /** `external`: its versions are imported, none is made; null where the HSM makes them. */
  origin: 'external' | null;
  /** JSON object of `encryptions`, `bytes`: a version is replaced after so many. */
  rotate_after: string | null;
  created_at: number;
  updated_at: number;
  revision: number;
  mac: Uint8Array;
}

export interface KeyVersionRow {
  id: string;
  namespace_id: string;
  key_id: string;
  ordinal: number;
  algorithm: string;
  usage: string;
  protection: string;
  exportable: number;
  state: VersionState;
  kek_id: string;
  public_key: Uint8Array | null;
  /** Empty once it is destroyed. */
  blob: Uint8Array;
  /** How an imported version came wrapped; null for one that the HSM made. */
  origin: string | null;
  /** From then on it may not be used. */
  expires_at: number | null;
  created_at: number;
  revision: number;
  mac: Uint8Array;
}

/** A key pair that one import is wrapped to: deleted by the import, and of no use once it expired. */
export interface ImportWrappingKeyRow {
  id: string;
  namespace_id: string;
  /** Null while it is ready and nobody has asked for it. */
  key_id: string | null;
  wrapping: string;
  kek_id: string;
  public_key: Uint8Array;
  blob: Uint8Array;
  created_at: number;
  expires_at: number | null;
  revision: number;
  mac: Uint8Array;
}

export interface KeyUsageRow {
  version_id: string;
  namespace_id: string;
  /** Uses handed out in blocks so far: an upper bound of those made. */
  reserved: number;
  /** Bytes handed out likewise; null while nothing asks for their count. */
  reserved_bytes: number | null;
  revision: number;
  mac: Uint8Array;
  /** Informational, written in bulk, not covered by the MAC. */
  last_used_at: number | null;
}

export interface TokenRow {
  id: string;
  namespace_id: string;
  name: string;
  /** SHA-256 of the 32 random bytes of the secret. */
  secret_hash: Uint8Array;
  /** JSON arrays of strings; `key_patterns` null: every key of the namespace. */
  scopes: string;
  key_patterns: string | null;
  created_at: number;
  expires_at: number | null;
  revoked_at: number | null;
  revision: number;
  mac: Uint8Array;
}

export interface IdempotencyRow {
  namespace_id: string;
  principal_id: string;
  idempotency_key: string;
  operation: string;
  /** SHA-256 of the request it stands for. */
  fingerprint: Uint8Array;
  /** JSON of the answer; null when it held a secret. */
  answer: string | null;
  expires_at: number;
}

/** What a transaction touched, for processes that keep rows in memory; the newest 100,000 are kept. */
export interface ChangeRow {
  revision: Generated<number>;
  namespace_id: string;
  /** JSON array of ids. */
  subjects: string;
  created_at: number;
}

export interface AuditSegmentRow {
  id: string;
  namespace_id: string;
  writer: string;
  /** From 1, without gaps for a writer. */
  number: number;
  file: string;
  first_sequence: number;
  /** The chain's head before the first record: 32 bytes. */
  first_head: Uint8Array;
  /** Set when the segment is sealed. */
  last_sequence: number | null;
  last_head: Uint8Array | null;
  created_at: number;
  /** An operator accepted that this file is gone. */
  loss_accepted_at: Generated<number | null>;
}

/** A change's audit record, committed with the change and moved to the log before the answer. */
export interface AuditOutboxRow {
  id: string;
  namespace_id: string;
  entry: string;
  created_at: number;
}

/** Who does a work that one does at a time. It decides who tries, never what may be done: no MAC. */
export interface LeaseRow {
  name: string;
  namespace_id: string;
  /** One process's leases; null when nobody has it. */
  holder: string | null;
  /** Grows by one with each claim. */
  fence: number;
  /** Changes with each renewal. */
  beat: number;
  /** Others may take it once they have seen it unchanged for so long. */
  quiet_milliseconds: number;
}
