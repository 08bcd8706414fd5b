import type { Caller } from '../access/caller.ts';
import { equalBytes, toBase64, wipe } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import { checkValue } from '../crypto/check-value.ts';
import { type ImportWrapping, importHpkeSuite, importInfo, isImportable } from '../crypto/import-wrapping.ts';
import { type Key, type KeyView, targetOf, wrongPurpose } from '../keys/key.ts';
import type { Keys } from '../keys/keys.ts';
import type { SystemKeys } from '../keys/system-keys.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { ImportWrappingKeyRow } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import type { WrappingKeys } from './wrapping-keys.ts';

export interface ParametersRequest {
  readonly key: string;
  readonly wrapping: ImportWrapping;
  /** 1–86,400 */
  readonly expiresInSeconds: number;
}

/** For one import of one key: plain JSON, as it is kept for repeated requests, bytes as base64. */
export interface ImportParameters {
  readonly importId: string;
  readonly keyId: string;
  readonly algorithm: string;
  readonly keyBytes: number;
  readonly wrapping: ImportWrapping;
  /** Of X-Wing in raw form, of RSA SubjectPublicKeyInfo in DER. */
  readonly publicKey: string;
  /** `hpke-x-wing` alone: HPKE's suite and its `info`. */
  readonly suite?: string;
  readonly info?: string;
  readonly expiresAt: number;
}

export interface ImportRequest {
  readonly key: string;
  readonly importId: string;
  readonly wrappedKey: Uint8Array;
  readonly checkValue?: Uint8Array | undefined;
  /** Milliseconds: from then on the version may not be used. */
  readonly expiresAt?: number | undefined;
}

/** `checkValue` in base64. */
export type ImportedKey = KeyView & { readonly checkValue: string };

/** Keys made elsewhere become versions here: wrapped to a public key that is for one import. */
export interface Imports {
  /**
   * What the next import of the key is to be wrapped to. Parameters given before are replaced.
   * @throws key/not-found, key/wrong-purpose
   */
  parameters(caller: Caller, request: ParametersRequest): Promise<ImportParameters>;
  /**
   * Makes the wrapped key the current version. The parameters are spent with it, in one transaction.
   * @throws import/not-found, import/refused; request/invalid for a key of another length or check value
   */
  importKey(caller: Caller, request: ImportRequest): Promise<ImportedKey>;
  /** Deletes expired parameters; to be called about once a minute. */
  sweep(): Promise<void>;
}

export function createImports({
  keys,
  store,
  systemKeys,
  clock,
  wrappingKeys,
}: {
  keys: Keys;
  store: Store;
  systemKeys: SystemKeys;
  clock: Clock;
  wrappingKeys: WrappingKeys;
}): Imports {
  const { rows } = systemKeys;

  async function openParameters(key: Key, importId: string): Promise<ImportWrappingKeyRow> {
    const row: ImportWrappingKeyRow | undefined = await store.db
      .selectFrom('import_wrapping_keys')
      .selectAll()
      .where('id', '=', importId)
      .where('key_id', '=', key.id)
      .executeTakeFirst();
    if (!row) throw noImport();
    await rows.verify('import_wrapping_keys', row);
    if (row.expires_at === null || clock.now() >= row.expires_at) throw noImport();
    return row;
  }

  return {
    parameters: (caller, { key: ref, wrapping, expiresInSeconds }) =>
      keys.use(caller, 'import.parameters', ref, async (key, operation) => {
        if (!isImportable(key.suite)) throw wrongPurpose();
        const importId = newId();
        const made = await wrappingKeys.make(importId, key, wrapping);
        const expiresAt = clock.now() + expiresInSeconds * 1000;
        const row = await sealOpen(rows, { ...made, id: importId, key, wrapping, clock, expiresAt });
        return await operation.change(async (tx) => {
          await tx.deleteFrom('import_wrapping_keys').where('key_id', '=', key.id).execute();
          await tx.insertInto('import_wrapping_keys').values(row).execute();
          return {
            ...{ importId, keyId: key.id, algorithm: key.suite.name, keyBytes: key.suite.keyBytes, wrapping },
            ...{ publicKey: toBase64(made.publicKey), expiresAt },
            ...(wrapping === 'hpke-x-wing' && {
              suite: importHpkeSuite.name,
              info: toBase64(infoOf(key, importId)),
            }),
          };
        });
      }),

    importKey: (caller, request) =>
      keys.use(caller, 'import.key', request.key, async (key, operation) => {
        if (!isImportable(key.suite)) throw wrongPurpose();
        if (request.expiresAt !== undefined && request.expiresAt <= clock.now())
          throw invalid('/expiresAt', 'must be in the future');
        const row = await openParameters(key, request.importId);
        const value = await wrappingKeys.open(row, infoOf(key, row.id), request.wrappedKey);
        if (value === undefined) throw refused();
        try {
          const check = checked(key, value, request.checkValue);
          const origin = row.wrapping;
          const material = { value, origin, expiresAt: request.expiresAt ?? null };
          operation.target(targetOf(key));
          return await keys.importVersion(operation, key, {
            material,
            async also(tx) {
              const spent = await tx
                .deleteFrom('import_wrapping_keys')
                .where('id', '=', row.id)
                .executeTakeFirst();
              if (spent.numDeletedRows !== 1n) throw noImport();
              return { checkValue: toBase64(check) };
            },
          });
        } finally {
          wipe(value);
        }
      }),

    async sweep() {
      await store.db.deleteFrom('import_wrapping_keys').where('expires_at', '<=', clock.now()).execute();
    },
  };
}

/** The row of parameters that are given out. */
function sealOpen(
  rows: RowAuthenticator,
  of: {
    id: string;
    key: Key;
    wrapping: ImportWrapping;
    kekId: string;
    publicKey: Uint8Array;
    blob: Uint8Array;
    clock: Clock;
    expiresAt: number;
  },
): Promise<ImportWrappingKeyRow> {
  return rows.seal('import_wrapping_keys', {
    id: of.id,
    namespace_id: of.key.namespaceId,
    key_id: of.key.id,
    wrapping: of.wrapping,
    kek_id: of.kekId,
    public_key: of.publicKey,
    blob: of.blob,
    created_at: of.clock.now(),
    expires_at: of.expiresAt,
    revision: 1,
  });
}

/** What opened is whole and meant for this import: that it has another length is told. */
function checked({ suite }: Key, value: Uint8Array, given: Uint8Array | undefined): Uint8Array {
  if (value.length !== suite.keyBytes)
    throw invalid('/wrappedKey', `must hold a key of ${suite.keyBytes} bytes`);
  const check = checkValue(value);
  if (given !== undefined && !equalBytes(given, check))
    throw invalid('/checkValue', 'is not that of the key that was wrapped');
  return check;
}

function infoOf(key: Key, importId: string): Uint8Array {
  return importInfo({ importId, keyId: key.id, algorithm: key.suite.name });
}

function invalid(pointer: string, detail: string): ServiceError {
  return new ServiceError('request/invalid', 'The request breaks the rules listed in errors.', {
    errors: [{ pointer, detail }],
  });
}

function noImport(): ServiceError {
  return new ServiceError('import/not-found', 'There is no such import for this key.');
}

function refused(): ServiceError {
  return new ServiceError('import/refused', 'The wrapped key is refused.');
}
