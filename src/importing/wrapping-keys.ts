import { createPublicKey } from 'node:crypto';
import { wipe } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import { newId } from '../core/ids.ts';
import {
  type ImportWrapping,
  importModulusBytes,
  openFromImport,
  unwrapImport,
} from '../crypto/import-wrapping.ts';
import { publicKeyOf } from '../crypto/kem/pairs.ts';
import { type Hsm, HsmRejected } from '../hsm/hsm.ts';
import { type Key, versionIdBytes } from '../keys/key.ts';
import { makeSeedBlob, openSeed, splitSeedBlob } from '../keys/sealed-seed.ts';
import type { SystemKeys } from '../keys/system-keys.ts';
import type { ImportWrappingKeyRow } from '../store/schema.ts';
import type { Store } from '../store/store.ts';

interface Made {
  readonly kekId: string;
  /** Of X-Wing in raw form, of RSA SubjectPublicKeyInfo in DER. */
  readonly publicKey: Uint8Array;
  readonly blob: Uint8Array;
}

/** The key pairs that imports are wrapped to: an X-Wing seed, sealed by the HSM, or RSA-4096 in it. */
export interface WrappingKeys {
  /** RSA takes seconds where none is ready. */
  make(importId: string, key: Key, wrapping: ImportWrapping): Promise<Made>;
  /** @returns what was wrapped, for the caller to wipe; undefined when anything is wrong */
  open(row: ImportWrappingKeyRow, info: Uint8Array, wrapped: Uint8Array): Promise<Uint8Array | undefined>;
  /** Makes an RSA pair for the namespace in the background, unless one is ready or on its way. */
  prepare(namespaceId: string): void;
}

const rsaKind = 'rsa-4096-decrypt';
const rsaWrapping: ImportWrapping = 'rsa-aes-key-wrap-sha-256';
/** Names the seed's use: none of a version's opens in its place. */
const seedSuite = { name: 'import/x-wing', keyBytes: 32 } as const;

export function createWrappingKeys({
  hsm,
  store,
  systemKeys,
  clock,
  onFailed,
}: {
  hsm: Hsm;
  store: Store;
  systemKeys: SystemKeys;
  clock: Clock;
  /** Told when no pair could be made ahead: the next import that needs one makes it. */
  onFailed: (error: unknown) => void;
}): WrappingKeys {
  const { rows } = systemKeys;
  /** Namespaces for which a pair is being made. */
  const preparing = new Set<string>();

  async function makePair(namespaceId: string): Promise<Made> {
    const kek = await systemKeys.activeKek(namespaceId);
    const { blob, publicKey } = await hsm.generatePair(rsaKind, kek);
    const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'pkcs1' });
    return { kekId: kek.id, blob, publicKey: new Uint8Array(key.export({ format: 'der', type: 'spki' })) };
  }

  function ready(namespaceId: string) {
    return store.db
      .selectFrom('import_wrapping_keys')
      .selectAll()
      .where('namespace_id', '=', namespaceId)
      .where('key_id', 'is', null);
  }

  /** A pair that is ready, taken from the store: nobody else gets it. */
  async function take(namespaceId: string): Promise<Made | undefined> {
    const row: ImportWrappingKeyRow | undefined = await ready(namespaceId).executeTakeFirst();
    if (!row) return undefined;
    await rows.verify('import_wrapping_keys', row);
    const taken = await store.db
      .deleteFrom('import_wrapping_keys')
      .where('id', '=', row.id)
      .executeTakeFirst();
    if (taken.numDeletedRows !== 1n) return undefined;
    return { kekId: row.kek_id, publicKey: row.public_key, blob: row.blob };
  }

  async function prepareOne(namespaceId: string): Promise<void> {
    if (await ready(namespaceId).executeTakeFirst()) return;
    const { kekId, publicKey, blob } = await makePair(namespaceId);
    const row = await rows.seal('import_wrapping_keys', {
      ...{ id: newId(), namespace_id: namespaceId, key_id: null, wrapping: rsaWrapping, kek_id: kekId },
      ...{ public_key: publicKey, blob, created_at: clock.now(), expires_at: null, revision: 1 },
    });
    await store.db.insertInto('import_wrapping_keys').values(row).execute();
  }

  function prepare(namespaceId: string): void {
    if (preparing.has(namespaceId)) return;
    preparing.add(namespaceId);
    prepareOne(namespaceId)
      .catch(onFailed)
      .finally(() => preparing.delete(namespaceId));
  }

  async function makeSeed(importId: string, key: Key): Promise<Made> {
    const kek = await systemKeys.activeKek(key.namespaceId);
    const idBytes = versionIdBytes({ id: importId, keyId: key.id, namespaceId: key.namespaceId });
    const owner = { idBytes, suite: seedSuite };
    const maker = { publicKeyOf: (seed: Uint8Array) => publicKeyOf('x-wing', seed) };
    const { blob, publicKey } = await makeSeedBlob(hsm, { id: importId, kek, owner }, maker);
    if (publicKey === undefined) throw new TypeError('a seed without a public key');
    return { kekId: kek.id, publicKey, blob };
  }

  async function openHpke(row: ImportWrappingKeyRow, info: Uint8Array, wrapped: Uint8Array) {
    const under = await systemKeys.kek(row.kek_id);
    const { wrappedKey, sealedSeed } = splitSeedBlob(row.blob, seedSuite.keyBytes);
    const keyId = row.key_id ?? '';
    const seed = await openSeed(hsm, {
      idBytes: versionIdBytes({ id: row.id, keyId, namespaceId: row.namespace_id }),
      suite: seedSuite,
      ref: { id: row.id, kind: 'aes-256', blob: wrappedKey, under },
      sealedSeed,
    });
    try {
      return await openFromImport({ seed, publicKey: row.public_key }, info, wrapped);
    } finally {
      wipe(seed);
    }
  }

  async function openRsa(row: ImportWrappingKeyRow, wrapped: Uint8Array) {
    const under = await systemKeys.kek(row.kek_id);
    const ref = { id: row.id, kind: rsaKind, blob: row.blob, under } as const;
    const encoded = await hsm
      .decryptRsa(ref, wrapped.subarray(0, importModulusBytes))
      .catch((error: unknown) => {
        // Too short, or a number not below the modulus: both are seen in the bytes themselves.
        if (error instanceof HsmRejected) return undefined;
        throw error;
      });
    const instead = await hsm.random(32);
    return encoded && unwrapImport(encoded, wrapped.subarray(importModulusBytes), instead);
  }

  return {
    async make(importId, key, wrapping) {
      if (wrapping === 'hpke-x-wing') return await makeSeed(importId, key);
      const made = (await take(key.namespaceId)) ?? (await makePair(key.namespaceId));
      prepare(key.namespaceId);
      return made;
    },
    async open(row, info, wrapped) {
      try {
        return row.wrapping === rsaWrapping
          ? await openRsa(row, wrapped)
          : await openHpke(row, info, wrapped);
      } finally {
        await hsm.evict(row.id);
      }
    },
    prepare,
  };
}
