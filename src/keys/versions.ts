import { concatBytes } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import { newId } from '../core/ids.ts';
import { isImportable } from '../crypto/import-wrapping.ts';
import { publicKeyOf } from '../crypto/kem/pairs.ts';
import { schemes } from '../crypto/signatures/schemes.ts';
import { type Algorithm, suites } from '../crypto/suites.ts';
import type { Hsm, KeyRef } from '../hsm/hsm.ts';
import type { KeyUsageRow, KeyVersionRow } from '../store/schema.ts';
import type { StoreTransaction } from '../store/store.ts';
import { versionIdBytes } from './key.ts';
import { makeSeedBlob, type SeedMaker } from './sealed-seed.ts';
import type { SystemKeys } from './system-keys.ts';

/** A version that exists in the HSM's wrapping and in memory, not yet in the store. */
export interface NewVersion {
  readonly id: string;
  readonly row: KeyVersionRow;
  readonly counter: KeyUsageRow;
}

/** Writes versions and their usage counts. */
export async function insertVersions(tx: StoreTransaction, made: readonly NewVersion[]): Promise<void> {
  if (made.length === 0) return;
  await tx
    .insertInto('key_versions')
    .values(made.map(({ row }) => row))
    .execute();
  await tx
    .insertInto('key_usage')
    .values(made.map(({ counter }) => counter))
    .execute();
}

interface OfKey {
  readonly id: string;
  readonly namespaceId: string;
  readonly algorithm: Algorithm;
}

/** Of a key pair's suite: how its seed is drawn, and what public key it gives. */
function seedMakerOf(suite: (typeof suites)[Algorithm]): SeedMaker {
  if (suite.purpose === 'exchange') return { publicKeyOf: (seed) => publicKeyOf(suite.name, seed) };
  if (suite.purpose !== 'sign') return {};
  const scheme = schemes[suite.name];
  return scheme.kind === 'seed' ? scheme : {};
}

/** A key that was made elsewhere. */
export interface Material {
  /** Of the algorithm's length; for whoever gives it to wipe. */
  readonly value: Uint8Array;
  readonly origin: string;
  readonly expiresAt: number | null;
}

/** @param material absent: the HSM makes the key */
export type MakeVersion = (key: OfKey, ordinal: number, material?: Material) => Promise<NewVersion>;

/**
 * Makes versions: generated in the HSM, wrapped under the namespace's KEK or sealed, rows authenticated. Nothing is
 * durable until `insertVersions` commits; a crash before leaves nothing behind, in the token neither.
 */
export function createVersionMaker({
  hsm,
  systemKeys,
  clock,
}: {
  hsm: Hsm;
  systemKeys: SystemKeys;
  clock: Clock;
}): MakeVersion {
  const { rows } = systemKeys;

  async function makeBlob(
    key: OfKey,
    id: string,
    kek: KeyRef,
    material: Material | undefined,
  ): Promise<{ blob: Uint8Array; publicKey?: Uint8Array }> {
    const suite = suites[key.algorithm];
    if (material !== undefined) return { blob: await importBlob(key, id, kek, material) };
    if (suite.purpose === 'decrypt' || (suite.purpose === 'sign' && suite.keyKind !== 'aes-256'))
      return await hsm.generatePair(suite.keyKind, kek);
    if (suite.protection !== 'hsm-sealed') return { blob: await hsm.generate(suite.keyKind, kek) };
    const idBytes = versionIdBytes({ id, keyId: key.id, namespaceId: key.namespaceId });
    return await makeSeedBlob(hsm, { id, kek, owner: { idBytes, suite } }, seedMakerOf(suite));
  }

  async function importBlob(key: OfKey, id: string, kek: KeyRef, { value }: Material): Promise<Uint8Array> {
    const suite = suites[key.algorithm];
    if (!isImportable(suite)) throw new TypeError('only symmetric keys are imported');
    if (suite.protection !== 'hsm-sealed') return await hsm.importSecret(suite.keyKind, value, kek);
    const idBytes = versionIdBytes({ id, keyId: key.id, namespaceId: key.namespaceId });
    // What is drawn is wiped, once it is sealed.
    const draw = async () => concatBytes(value);
    return (await makeSeedBlob(hsm, { id, kek, owner: { idBytes, suite } }, { draw })).blob;
  }

  return async (key, ordinal, material) => {
    const kek = await systemKeys.activeKek(key.namespaceId);
    const id = newId();
    const { purpose, protection } = suites[key.algorithm];
    const { blob, publicKey } = await makeBlob(key, id, kek, material);
    const row = await rows.seal('key_versions', {
      id,
      namespace_id: key.namespaceId,
      key_id: key.id,
      ordinal,
      algorithm: key.algorithm,
      usage: purpose,
      protection,
      exportable: 0,
      state: 'enabled' as const,
      kek_id: kek.id,
      public_key: publicKey ?? null,
      blob,
      origin: material?.origin ?? null,
      expires_at: material?.expiresAt ?? null,
      created_at: clock.now(),
      revision: 1,
    });
    const counter = await rows.seal('key_usage', {
      ...{ version_id: id, namespace_id: key.namespaceId, reserved: 0, reserved_bytes: null, revision: 1 },
    });
    return { id, row, counter: { ...counter, last_used_at: null } };
  };
}
