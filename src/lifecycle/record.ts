import { equalBytes, lengthPrefixed } from '../core/bytes.ts';
import type { Prf } from '../crypto/kdf.ts';
import { labels } from '../crypto/labels.ts';

/** What was destroyed, when, on whose word, and what that means. Times are RFC 3339. */
export interface DestructionFacts {
  readonly destructionId: string;
  readonly namespaceId: string;
  readonly keyId: string;
  readonly keyName: string;
  readonly versionId: string;
  readonly version: number;
  readonly algorithm: string;
  /** The key that the version was wrapped under. */
  readonly kekId: string;
  /** SHA-256 of the wrapped key that was removed, in hex: what a copy in a backup can be told by. */
  readonly wrappedKeySha256: string;
  readonly requestedBy: string;
  readonly scheduledAt: string;
  readonly destroyAt: string;
  readonly destroyedAt: string;
  /** Absent: there was none. */
  readonly coverage?: { readonly found: number; readonly remaining: number; readonly report: string };
  /** Why it went on without full coverage; absent where that was there. */
  readonly forcedFor?: string;
}

/** A record as it is kept and handed out. */
export type DestructionRecord = DestructionFacts & {
  readonly format: typeof format;
  readonly claims: typeof claims;
  /** HMAC-SHA-256 by the audit key, in hex, over the record without it: see `signedText`. */
  readonly tag: string;
};

const format = 'stathera/destruction/v1';

/** The words are part of what is signed: a record of this format has these and no others. */
const claims = {
  destroyed:
    'No live copy: the wrapped key was removed from its row when this record was made, and every process drops what ' +
    'it holds of it within the staleness bound. The service does not open anything by this version again.',
  unrecoverable: false,
  notClaimed:
    'Backups, replicas, write-ahead logs and old pages of the database may hold the wrapped key, and the ' +
    'key-encryption key that opens it exists.',
} as const;

/** @param mac HMAC-SHA-256 under the audit key, in the HSM */
export async function signRecord(mac: Prf, facts: DestructionFacts): Promise<DestructionRecord> {
  const record = { format, ...facts, claims } as const;
  return { ...record, tag: Buffer.from(await mac(signedText(record))).toString('hex') };
}

/** Whether this service's audit key signed the record as it stands. @param record as it was parsed */
export async function isSigned(mac: Prf, record: unknown): Promise<boolean> {
  if (typeof record !== 'object' || record === null) return false;
  const { tag, ...rest } = record as Record<string, unknown>;
  if (typeof tag !== 'string' || !/^[0-9a-f]{64}$/.test(tag) || rest['format'] !== format) return false;
  return equalBytes(Buffer.from(tag, 'hex'), await mac(signedText(rest)));
}

/** Label and JSON with its members in the order of their names, no spaces; numbers are whole ones. */
function signedText(record: object): Uint8Array {
  return lengthPrefixed(labels.destructionRecord, JSON.stringify(sorted(record)));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).toSorted(([one], [other]) => (one < other ? -1 : 1));
  return Object.fromEntries(members.map(([name, member]) => [name, sorted(member)]));
}
