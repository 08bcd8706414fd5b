import type { Clock } from '../core/clock.ts';
import { newId } from '../core/ids.ts';
import { publicKeyOf } from '../crypto/kem/pairs.ts';
import { schemes } from '../crypto/signatures/schemes.ts';
import { type Algorithm, suites } from '../crypto/suites.ts';
import type { Hsm, KeyRef } from '../hsm/hsm.ts';
import type { StoreTransaction } from '../store/store.ts';
import { versionIdBytes } from './key.ts';
import { makeSeedBlob, type SeedMaker } from './sealed-seed.ts';
import type { SystemKeys } from './system-keys.ts';

/** A version that exists in the HSM's wrapping and in memory, not yet in the store. */
export interface NewVersion {
  readonly id: string;
  /** Writes the version and its usage count. */
  insert(tx: StoreTransaction): Promise<void>;
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

export type MakeVersion = (key: OfKey, ordinal: number) => Promise<NewVersion>;

/**
 * Makes versions: generated in the HSM, wrapped under the namespace's KEK or sealed, rows authenticated. Nothing is
 * durable until `insert` commits; a crash before leaves nothing behind, in the token neither.
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
  ): Promise<{ blob: Uint8Array; publicKey?: Uint8Array }> {
    const suite = suites[key.algorithm];
    if (suite.purpose === 'sign' && suite.keyKind !== 'aes-256')
      return await hsm.generatePair(suite.keyKind, kek);
    if (suite.protection !== 'hsm-sealed') return { blob: await hsm.generate(suite.keyKind, kek) };
    const idBytes = versionIdBytes({ id, keyId: key.id, namespaceId: key.namespaceId });
    return await makeSeedBlob(hsm, { id, kek, owner: { idBytes, suite } }, seedMakerOf(suite));
  }

  return async (key, ordinal) => {
    const kek = await systemKeys.activeKek(key.namespaceId);
    const id = newId();
    const { purpose, protection } = suites[key.algorithm];
    const { blob, publicKey } = await makeBlob(key, id, kek);
    const version = await rows.seal('key_versions', {
      id,
      namespace_id: key.namespaceId,
      key_id: key.id,
      ordinal,
      algorithm: key.algorithm,
      usage: purpose,
      protection,
      exportable: 0,
      state: 'enabled',
      kek_id: kek.id,
      public_key: publicKey ?? null,
      blob,
      created_at: clock.now(),
      revision: 1,
    });
    const counter = await rows.seal('key_usage', {
      version_id: id,
      namespace_id: key.namespaceId,
      reserved: 0,
      revision: 1,
    });
    return {
      id,
      async insert(tx) {
        await tx.insertInto('key_versions').values(version).execute();
        await tx
          .insertInto('key_usage')
          .values({ ...counter, last_used_at: null })
          .execute();
      },
    };
  };
}
