import type { Clock } from '../core/clock.ts';
import type { Prf } from '../crypto/kdf.ts';
import type { Store } from '../store/store.ts';
import type { AuditFiles } from './files.ts';

/** Where the log says what an operator must know. Fields hold file names, counts and error codes alone. */
export type AuditLogger = (level: 'info' | 'warn' | 'error', event: string, fields: object) => void;

export interface AuditLimits {
  /** Records waiting, and changes under way; more are refused with service/overloaded. */
  readonly queuedRecords: number;
  readonly groupRecords: number;
  /** A group takes no further record beyond this; a larger record goes alone. */
  readonly groupBytes: number;
  /** A segment at least this long is sealed and the next begun. */
  readonly segmentBytes: number;
  /** How long a group waits for its MAC before it is written without. */
  readonly macMilliseconds: number;
  /** How long a group may take in all before its callers, and all that wait, are refused. */
  readonly stallMilliseconds: number;
  /** After a failure nothing is tried for so long; then one record at a time until one succeeds. */
  readonly retryMilliseconds: number;
  /** How often refusals are written. */
  readonly refusalMilliseconds: number;
  /** Sources counted apart in one interval; the rest are counted as `other`. */
  readonly refusalSources: number;
  /** How often all processes together look for what ended ones left. */
  readonly adoptMilliseconds: number;
  /** How long a process may be silent until another finishes its part of a log in PostgreSQL. */
  readonly silentMilliseconds: number;
  /** Lines and bytes a page of records reads before it ends with the group it is in. */
  readonly pageLines: number;
  readonly pageBytes: number;
}

const defaultLimits: AuditLimits = {
  queuedRecords: 10_000,
  groupRecords: 128,
  groupBytes: 1024 * 1024,
  segmentBytes: 64 * 1024 * 1024,
  macMilliseconds: 500,
  stallMilliseconds: 900,
  retryMilliseconds: 250,
  refusalMilliseconds: 10_000,
  refusalSources: 1024,
  adoptMilliseconds: 2_000,
  silentMilliseconds: 10_000,
  pageLines: 20_000,
  pageBytes: 16 * 1024 * 1024,
};

export interface AuditLogOptions {
  /** Of the segments where they are files; created (0700) when the log is opened for the first time, never after that. */
  readonly directory: string;
  readonly store: Store;
  /** HMAC-SHA-256 under the audit key, in the HSM; may reject while that is down. */
  readonly mac: Prf;
  readonly clock: Clock;
  /** Reads what was changed in the store; before each group that has decisions to check. */
  readonly sync?: () => Promise<void>;
  readonly log?: AuditLogger;
  readonly limits?: Partial<AuditLimits>;
  /** The slot this process writes to: `[a-z0-9][a-z0-9-]{0,31}`. Default: the first free one of `w1`, `w2`, … */
  readonly writer?: string;
  /** The file system; for tests. */
  readonly files?: AuditFiles;
}

export function limitsOf({ limits }: Pick<AuditLogOptions, 'limits'>): AuditLimits {
  return { ...defaultLimits, ...limits };
}
