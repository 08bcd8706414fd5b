import { createHash } from 'node:crypto';
import { equalBytes, wipe } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import { ed25519 } from '../crypto/signatures/ed25519.ts';
import type { Hsm, KeyRef } from '../hsm/hsm.ts';
import { versionIdBytes } from '../keys/key.ts';
import { makeSeedBlob, openSeed, type SeedOwner, splitSeedBlob } from '../keys/sealed-seed.ts';
import type { SystemKeys } from '../keys/system-keys.ts';
import type { DatasetEpochKeyRow, DatasetEpochRow, DatasetRow } from '../store/dataset-rows.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import type { Dataset } from './dataset.ts';
import type { MakeKeys } from './key-maker.ts';
import { signManifest } from './manifest.ts';
import type { SecretKeyPlace } from './secret-key.ts';

// Two internal keys, which no request can name. A dataset's signs the manifests of its epochs. An epoch's seals the 32
// bytes that its secret key is encrypted under: without its row the secret key is gone, whoever has the rest.
const signingSuite = { name: 'dataset/signing', keyBytes: 32 } as const;
const epochSuite = { name: 'dataset/epoch', keyBytes: 32 } as const;

/** A dataset, as far as an epoch's manifest is about it, and its signing key. */
export type DatasetWithSigner = Omit<Dataset, 'layout' | 'currentEpoch'> & {
  readonly signer: SignerRow;
};

/** Where a dataset's signing key is. */
type SignerRow = Pick<DatasetRow, 'id' | 'namespace_id' | 'kek_id' | 'signing_blob'>;

export interface NewEpoch {
  readonly row: DatasetEpochRow;
  /** The part that belongs into the transaction. */
  insert(tx: StoreTransaction): Promise<void>;
}

export interface Epochs {
  /** Makes the key that signs a dataset's manifests. */
  makeSigner(dataset: Pick<Dataset, 'id' | 'namespaceId'>): Promise<{
    readonly kekId: string;
    readonly signingBlob: Uint8Array;
    readonly verificationKey: Uint8Array;
  }>;
  /** The seed of a dataset's signing key, for the caller to wipe. */
  signerSeed(row: SignerRow): Promise<Uint8Array>;
  /** Makes an epoch's keys, which takes half a second. */
  make(dataset: DatasetWithSigner, ordinal: number): Promise<NewEpoch>;
  /** The public key, as the authenticated row has its hash. */
  publicKey(row: DatasetEpochRow): Promise<Uint8Array>;
  /**
   * What `openSecretKey` takes in the one process that decrypts: `seed` is for the caller to wipe.
   * @throws dataset/epoch-shredded
   */
  sealedSecretKey(
    dataset: Dataset,
    row: DatasetEpochRow,
  ): Promise<{
    readonly seed: Uint8Array;
    readonly place: SecretKeyPlace;
    readonly sealed: Uint8Array;
  }>;
}

export function createEpochs({
  hsm,
  store,
  systemKeys,
  clock,
  makeKeys,
}: {
  hsm: Hsm;
  store: Store;
  systemKeys: SystemKeys;
  clock: Clock;
  makeKeys: MakeKeys;
}): Epochs {
  const { rows } = systemKeys;

  async function makeBlob(
    id: string,
    kek: KeyRef,
    owner: SeedOwner,
    publicKeyOf?: typeof ed25519.publicKeyOf,
  ) {
    try {
      return await makeSeedBlob(hsm, { id, kek, owner }, { ...(publicKeyOf && { publicKeyOf }) });
    } finally {
      // It is used once more for an epoch, and then not for days.
      await hsm.evict(id);
    }
  }

  async function open(id: string, kekId: string, blob: Uint8Array, owner: SeedOwner): Promise<Uint8Array> {
    const under = await systemKeys.kek(kekId);
    const { wrappedKey, sealedSeed } = splitSeedBlob(blob, owner.suite.keyBytes);
    const ref: KeyRef = { id, kind: 'aes-256', blob: wrappedKey, under };
    try {
      return await openSeed(hsm, { ...owner, ref, sealedSeed });
    } finally {
      await hsm.evict(id);
    }
  }

  async function signerSeed(row: SignerRow): Promise<Uint8Array> {
    const owner = { idBytes: ownerIds(row.id, row.id, row.namespace_id), suite: signingSuite };
    return await open(row.id, row.kek_id, row.signing_blob, owner);
  }

  async function keysOf(row: DatasetEpochRow): Promise<DatasetEpochKeyRow> {
    const found = await store.db
      .selectFrom('dataset_epoch_keys')
      .selectAll()
      .where('epoch_id', '=', row.id)
      .executeTakeFirst();
    if (found && equalBytes(sha256(found.public_key), row.public_key_hash)) return found;
    throw altered();
  }

  return {
    async makeSigner({ id, namespaceId }) {
      const kek = await systemKeys.activeKek(namespaceId);
      const owner = { idBytes: ownerIds(id, id, namespaceId), suite: signingSuite };
      const { blob, publicKey } = await makeBlob(id, kek, owner, ed25519.publicKeyOf);
      if (publicKey === undefined) throw new TypeError('a seed without a public key');
      return { kekId: kek.id, signingBlob: blob, verificationKey: publicKey };
    },

    signerSeed,

    async make(dataset, ordinal) {
      const { namespaceId, id: datasetId, parameters } = dataset;
      const id = newId();
      const kek = await systemKeys.activeKek(namespaceId);
      const owner = { idBytes: ownerIds(id, datasetId, namespaceId), suite: epochSuite };
      const { blob } = await makeBlob(id, kek, owner);
      const seed = await open(id, kek.id, blob, owner);
      const place = { namespaceId, datasetId, epochId: id, parameters: parameters.name };
      const keys = await makeKeys({ parameters: parameters.name, seed, place }).finally(() => wipe(seed));
      const openedAt = clock.now();
      const publicKeyHash = sha256(keys.publicKey);
      const manifest = signManifest(await signerSeed(dataset.signer), dataset, {
        ...{ id, ordinal, openedAt, publicKeyHash },
      });
      const sealed = await rows.seal('dataset_epochs', {
        ...{ id, namespace_id: namespaceId, dataset_id: datasetId, ordinal, state: 'open' as const },
        ...{ kek_id: kek.id, sealing_blob: blob, public_key_hash: publicKeyHash },
        ...{ secret_key_hash: sha256(keys.sealedSecretKey), manifest, opened_at: openedAt },
        ...{ closed_at: null, retained_until: null, revision: 1 },
      });
      const row = { ...sealed, contributions: 0 };
      return {
        row,
        async insert(tx) {
          await tx.insertInto('dataset_epochs').values(row).execute();
          await tx
            .insertInto('dataset_epoch_keys')
            .values({
              ...{ epoch_id: id, namespace_id: namespaceId, public_key: keys.publicKey },
              secret_key: keys.sealedSecretKey,
            })
            .execute();
        },
      };
    },

    publicKey: async (row) => (await keysOf(row)).public_key,

    async sealedSecretKey({ id: datasetId, namespaceId, parameters }, row) {
      const { secret_key: sealed } = await keysOf(row);
      if (row.sealing_blob === null || sealed === null) throw shredded();
      if (!equalBytes(sha256(sealed), row.secret_key_hash)) throw altered();
      const owner = { idBytes: ownerIds(row.id, datasetId, namespaceId), suite: epochSuite };
      const seed = await open(row.id, row.kek_id, row.sealing_blob, owner);
      const place = { namespaceId, datasetId, epochId: row.id, parameters: parameters.name };
      return { seed, place, sealed };
    },
  };
}

function ownerIds(id: string, keyId: string, namespaceId: string): SeedOwner['idBytes'] {
  return versionIdBytes({ id, keyId, namespaceId });
}

function sha256(bytes: Uint8Array): Uint8Array {
  return createHash('sha256').update(bytes).digest();
}

function altered(): ServiceError {
  return new ServiceError('internal', 'A stored record failed its authentication.', {
    cause: Object.assign(new Error('a row was altered outside the service'), {
      code: 'altered-row/dataset_epoch_keys',
    }),
  });
}

export function shredded(): ServiceError {
  return new ServiceError('dataset/epoch-shredded', 'The epoch was shredded: nothing of it can be read.');
}
