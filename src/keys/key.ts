import type { AuditTarget } from '../audit/entry.ts';
import { ServiceError } from '../core/errors.ts';
import { idBytes } from '../core/ids.ts';
import type { ImportWrapping } from '../crypto/import-wrapping.ts';
import type { ReuseLimits } from '../crypto/payload/data-keys.ts';
import {
  type Algorithm,
  type CipherSuite,
  type DecryptSuite,
  type ExchangeSuite,
  type FieldSuite,
  type MacSuite,
  type SignSuite,
  type Suite,
  suites,
} from '../crypto/suites.ts';
import type { KeyRef } from '../hsm/hsm.ts';
import type { KeyRow, KeyState, KeyVersionRow, VersionState } from '../store/schema.ts';
import type { RotateAfter } from './rotated.ts';
import { splitSeedBlob } from './sealed-seed.ts';

/** A key as its operations see it. */
export interface Key {
  readonly id: string;
  readonly namespaceId: string;
  readonly name: string;
  readonly suite: Suite;
  readonly state: KeyState;
  readonly currentVersionId: string;
  readonly currentOrdinal: number;
  /** Messages are encrypted under data keys that are used again; absent: by the version, or a data key each. */
  readonly dataKeyReuse?: ReuseLimits;
  /** Its versions are imported, none is made. */
  readonly external: boolean;
  /** Absent: nothing but the suite's limit counts its uses. */
  readonly rotateAfter?: RotateAfter;
}

/** A version of a key, ready for use in the HSM. */
export interface KeyVersion<Of extends Suite = Suite> {
  readonly id: string;
  readonly keyId: string;
  readonly namespaceId: string;
  readonly ordinal: number;
  readonly state: VersionState;
  readonly suite: Of;
  /** Its key in the token; where the suite is `hsm-sealed`, what seals the seed and nothing else. */
  readonly ref: KeyRef;
  readonly sealedSeed?: Uint8Array;
  /** From then on it may not be used. */
  readonly expiresAt?: number;
  /** Of a key pair, in its raw form. */
  readonly publicKey?: Uint8Array;
  /** Its ids as ciphertexts hold them, 16 bytes each: every operation needs them. */
  readonly idBytes: VersionIdBytes;
}

/** What encrypts and decrypts. */
export type CipherVersion = KeyVersion<CipherSuite>;

/** A key pair. */
export type ExchangeVersion = KeyVersion<ExchangeSuite> & { readonly publicKey: Uint8Array };

/** What keys of fields are derived from. */
export type FieldVersion = KeyVersion<FieldSuite>;

/** What makes MACs. */
export type MacVersion = KeyVersion<MacSuite>;

/** A key pair that signs. */
export type SignVersion = KeyVersion<SignSuite> & { readonly publicKey: Uint8Array };

/** A key pair that decrypts. */
export type DecryptVersion = KeyVersion<DecryptSuite> & { readonly publicKey: Uint8Array };

interface VersionIdBytes {
  readonly id: Uint8Array;
  readonly keyId: Uint8Array;
  readonly namespaceId: Uint8Array;
}

/** What is told of a key. Times in milliseconds. */
export interface KeyView {
  readonly id: string;
  readonly name: string;
  readonly algorithm: Algorithm;
  readonly purpose: string;
  readonly protection: string;
  readonly state: KeyState;
  readonly description: string;
  readonly tags: Readonly<Record<string, string>>;
  /** 0: none was imported yet. */
  readonly currentVersion: number;
  readonly origin: 'hsm' | 'external';
  readonly dataKeyReuse?: ReuseLimits;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly lastUsedAt?: number;
}

export interface KeyVersionView {
  readonly id: string;
  readonly version: number;
  readonly algorithm: Algorithm;
  readonly protection: string;
  readonly state: VersionState;
  /** `hsm`: made there; else how it came wrapped. */
  readonly origin: 'hsm' | ImportWrapping;
  readonly createdAt: number;
  readonly expiresAt?: number;
  readonly lastUsedAt?: number;
  /** Upper bound of the uses made: counted in reserved blocks. */
  readonly usesReserved: number;
}

/** What of a key's current version is used up. */
export interface KeyUsageView {
  readonly keyId: string;
  /** 0: none was imported yet. */
  readonly currentVersion: number;
  /** Upper bound of the uses made with it: counted in reserved blocks. */
  readonly usesReserved: number;
  /** Likewise, where a policy limits them: since it does. */
  readonly bytesReserved?: number;
  readonly rotateAfter?: RotateAfter;
  /** From then on it refuses; of a key that encrypts. */
  readonly usesLimit?: number;
  /** Of any version. Milliseconds. */
  readonly lastUsedAt?: number;
}

export function keyView(row: Omit<KeyRow, 'mac'>, lastUsedAt: number | undefined): KeyView {
  return {
    id: row.id,
    name: row.name,
    algorithm: row.algorithm as Algorithm,
    purpose: row.purpose,
    protection: row.protection,
    state: row.state,
    description: row.description,
    tags: JSON.parse(row.tags) as Record<string, string>,
    currentVersion: row.current_ordinal,
    origin: row.origin ?? 'hsm',
    ...reuseOf(row),
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    ...(lastUsedAt !== undefined && { lastUsedAt }),
  };
}

export function keyFromRow(row: KeyRow): Key {
  return {
    id: row.id,
    namespaceId: row.namespace_id,
    name: row.name,
    suite: suiteOf(row, row.purpose),
    state: row.state,
    currentVersionId: row.current_version_id,
    currentOrdinal: row.current_ordinal,
    external: row.origin === 'external',
    ...reuseOf(row),
    ...(row.rotate_after !== null && { rotateAfter: JSON.parse(row.rotate_after) as RotateAfter }),
  };
}

function reuseOf({ data_key_reuse: reuse }: Pick<KeyRow, 'data_key_reuse'>): { dataKeyReuse?: ReuseLimits } {
  return reuse === null ? {} : { dataKeyReuse: JSON.parse(reuse) as ReuseLimits };
}

/** @param kek the key the row's `kek_id` names */
export function versionFromRow(row: KeyVersionRow, kek: KeyRef): KeyVersion {
  const suite = suiteOf(row, row.usage);
  const { wrappedKey, sealedSeed } = partsOf(row.blob, suite);
  return {
    id: row.id,
    keyId: row.key_id,
    namespaceId: row.namespace_id,
    ordinal: row.ordinal,
    state: row.state,
    suite,
    ref: { id: row.id, kind: suite.keyKind, blob: wrappedKey, under: kek },
    ...(sealedSeed && { sealedSeed }),
    ...(row.expires_at !== null && { expiresAt: row.expires_at }),
    ...(row.public_key && { publicKey: row.public_key }),
    idBytes: versionIdBytes({ id: row.id, keyId: row.key_id, namespaceId: row.namespace_id }),
  };
}

export function versionIdBytes(ids: Pick<KeyVersion, 'id' | 'keyId' | 'namespaceId'>): VersionIdBytes {
  return { id: idBytes(ids.id), keyId: idBytes(ids.keyId), namespaceId: idBytes(ids.namespaceId) };
}

function partsOf(
  blob: Uint8Array,
  { protection, keyBytes }: Suite,
): { wrappedKey: Uint8Array; sealedSeed?: Uint8Array } {
  return protection === 'hsm-sealed' ? splitSeedBlob(blob, keyBytes) : { wrappedKey: blob };
}

function suiteOf(
  { algorithm, protection }: Pick<KeyRow, 'algorithm' | 'protection'>,
  purpose: string,
): Suite {
  const suite = (suites as Record<string, Suite>)[algorithm];
  if (suite?.protection !== protection || suite.purpose !== purpose) {
    throw new ServiceError('internal', 'A stored record names an unknown algorithm.', {
      cause: new Error('unknown algorithm in an authenticated row: written by newer software'),
    });
  }
  return suite;
}

/** Both rows are authenticated: a version of another purpose than its key's was written by other software. */
export function asCipher(version: KeyVersion): CipherVersion {
  if (isCipher(version)) return version;
  throw anotherPurpose();
}

export function asPair(version: KeyVersion): ExchangeVersion {
  if (isPair(version)) return version;
  throw anotherPurpose();
}

export function asField(version: KeyVersion): FieldVersion {
  if (isField(version)) return version;
  throw anotherPurpose();
}

export function asMac(version: KeyVersion): MacVersion {
  if (isMac(version)) return version;
  throw anotherPurpose();
}

export function asSigner(version: KeyVersion): SignVersion {
  if (isSigner(version)) return version;
  throw anotherPurpose();
}

function isCipher(version: KeyVersion): version is CipherVersion {
  return version.suite.purpose === 'encrypt';
}

function isPair(version: KeyVersion): version is ExchangeVersion {
  return version.suite.purpose === 'exchange' && version.publicKey !== undefined;
}

function isField(version: KeyVersion): version is FieldVersion {
  return version.suite.purpose === 'fields';
}

function isMac(version: KeyVersion): version is MacVersion {
  return version.suite.purpose === 'mac';
}

export function asDecrypter(version: KeyVersion): DecryptVersion {
  if (isDecrypter(version)) return version;
  throw anotherPurpose();
}

function isDecrypter(version: KeyVersion): version is DecryptVersion {
  return version.suite.purpose === 'decrypt' && version.publicKey !== undefined;
}

function isSigner(version: KeyVersion): version is SignVersion {
  return version.suite.purpose === 'sign' && version.publicKey !== undefined;
}

function anotherPurpose(): ServiceError {
  return new ServiceError('internal', 'A stored record does not fit another.', {
    cause: new Error('a version has another purpose than its key'),
  });
}

export function keyNotFound(): ServiceError {
  return new ServiceError('key/not-found', 'There is no such key.');
}

export function nothingImported(): ServiceError {
  return new ServiceError('key/nothing-imported', 'The key waits for its first import.');
}

/** Every failure to decrypt looks like this one: tampered, truncated, foreign, unknown or hidden key, context. */
export function decryptionFailed(): ServiceError {
  return new ServiceError(
    'envelope/decryption-failed',
    'The ciphertext cannot be decrypted with this key and context.',
  );
}

/** One refusal for every operation that a key is not for. */
export function wrongPurpose(): ServiceError {
  return new ServiceError('key/wrong-purpose', 'This key is not for this operation.');
}

export function targetOf(key: Key): AuditTarget {
  return { kind: 'key', id: key.id, name: key.name };
}
