import type { Caller } from '../access/caller.ts';
import type { Operations } from '../access/operations.ts';
import type { ServiceError } from '../core/errors.ts';
import type { Hsm } from '../hsm/hsm.ts';
import type { Keys } from '../keys/keys.ts';
import type { MacWork } from '../macs/macs.ts';
import type { SigningWork } from '../signing/work.ts';
import { type BatchItem, type BatchResult, runBatch } from './batch.ts';
import { type ItemResult, runItems } from './items.ts';
import {
  createWork,
  type DataKey,
  type DataKeysRequest,
  type DecryptRequest,
  type EncryptRequest,
  type Opened,
  type Renewed,
  type RenewRequest,
  type RewrapRequest,
  type Sealed,
} from './work.ts';

/** One of many ciphertexts to move, or why it is none. */
export type RenewItem = Omit<RenewRequest, 'key'> | { readonly error: ServiceError };

/** Envelope encryption by keys in the HSM. Every operation is authorized, and recorded before its answer. */
export interface Envelopes {
  /**
   * Encrypts under the key's current version.
   * @returns ciphertext as ./README.md lays it out
   * @throws key/not-found (also when hidden from the caller), key/disabled, key/version-disabled,
   *   key/usage-exhausted, key/conflict
   * @see NIST SP 800-38D §8.2.2
   */
  encrypt(caller: Caller, request: EncryptRequest): Promise<Sealed>;
  /**
   * Opens what `encrypt` or `dataKeys` made; the ciphertext names its key and version.
   * @throws envelope/decryption-failed for every reason; key/disabled, key/version-disabled only to a caller
   *   who may see the key, decided before any cryptography
   */
  decrypt(caller: Caller, request: DecryptRequest): Promise<Opened>;
  /** Moves a ciphertext to the current version, another key or another context. @throws as `decrypt` and `encrypt` */
  rewrap(caller: Caller, request: RewrapRequest): Promise<Sealed>;
  /**
   * Moves ciphertexts of one key to its newest version: each succeeds or fails alone, one record lists them all.
   * @param items what could not be understood is answered and recorded as refused
   * @throws key/not-found (also when hidden from the caller)
   */
  renew(caller: Caller, key: string, items: readonly RenewItem[]): Promise<ItemResult<Renewed>[]>;
  /** Fresh data keys from the HSM, wrapped by the key's current version. @throws as `encrypt` */
  dataKeys(caller: Caller, request: DataKeysRequest): Promise<DataKey[]>;
  /** @param bytes 1–65,536 */
  random(caller: Caller, bytes: number): Promise<Uint8Array>;
  /** Several operations over several keys: each item succeeds or fails alone, one record lists them all. */
  batch(caller: Caller, items: readonly BatchItem[]): Promise<BatchResult[]>;
}

export function createEnvelopes({
  operations,
  keys,
  hsm,
  macWork,
  signingWork,
}: {
  operations: Operations;
  keys: Keys;
  hsm: Hsm;
  macWork: MacWork;
  signingWork: SigningWork;
}): Envelopes {
  const work = createWork({ keys, hsm });
  const batchWork = { ...work, ...macWork, ...signingWork };
  return {
    encrypt: (caller, request) =>
      operations.run(caller, 'envelope.encrypt', { kind: 'key', name: request.key }, ({ target }) =>
        work.encrypt(caller.principal, request, target),
      ),
    decrypt: (caller, request) =>
      operations.run(caller, 'envelope.decrypt', named(request.key), ({ target }) =>
        work.decrypt(caller.principal, request, target),
      ),
    rewrap: (caller, request) =>
      operations.run(caller, 'envelope.rewrap', named(request.key), ({ target }) =>
        work.rewrap(caller.principal, request, target),
      ),
    renew: (caller, key, items) =>
      keys.use(caller, 'envelope.rewrap-lines', key, (_found, operation) =>
        runItems(
          items,
          {
            weightOf: () => 1,
            actionOf: () => 'envelope.rewrap',
            perform: async (item, note) => {
              if ('error' in item) throw item.error;
              return await work.renew(caller.principal, { key, ...item }, note);
            },
          },
          operation,
        ),
      ),
    dataKeys: (caller, request) =>
      operations.run(caller, 'envelope.data-keys', { kind: 'key', name: request.key }, ({ target }) =>
        work.dataKeys(caller.principal, request, target),
      ),
    random: (caller, bytes) => operations.run(caller, 'envelope.random', undefined, () => work.random(bytes)),
    batch: (caller, items) =>
      operations.run(caller, 'envelope.batch', undefined, (operation) =>
        runBatch({ caller, items, work: batchWork, operation }),
      ),
  };
}

function named(key: string | undefined): { kind: 'key'; name?: string } {
  return { kind: 'key', ...(key !== undefined && { name: key }) };
}
