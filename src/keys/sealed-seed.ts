import { concatBytes, equalBytes, wipe } from '../core/bytes.ts';
import { ServiceError } from '../core/errors.ts';
import type { Suite } from '../crypto/suites.ts';
import type { Hsm, KeyRef, SeedPlace } from '../hsm/hsm.ts';

/** Nonce, 32 bytes of seed, tag. */
const sealedBytes = 12 + 32 + 16;

/** The version that a seed belongs to. */
export interface SeedOwner {
  /** 16 bytes each. */
  readonly idBytes: { readonly id: Uint8Array; readonly keyId: Uint8Array; readonly namespaceId: Uint8Array };
  readonly suite: Pick<Suite, 'name'>;
}

/** A seed opens for this version of this key in this namespace, and for this algorithm. */
function placeOf({ idBytes: { namespaceId, keyId, id }, suite }: SeedOwner): SeedPlace {
  return [namespaceId, keyId, id, suite.name];
}

/** The two parts of what a `hsm-sealed` version's row holds, as `makeSeedBlob` joined them. */
export function splitSeedBlob(blob: Uint8Array): { wrappedKey: Uint8Array; sealedSeed: Uint8Array } {
  const at = Math.max(0, blob.length - sealedBytes);
  return { wrappedKey: blob.subarray(0, at), sealedSeed: blob.subarray(at) };
}

/**
 * Makes a seed, random from the HSM, and seals it by a new key in the HSM that is for nothing else. The blob may be
 * all there will be of it: it is opened once.
 * @param id the version's, by which the HSM knows its key
 * @returns the wrapped key and the sealed seed
 */
export async function makeSeedBlob(
  hsm: Hsm,
  { id, kek, owner }: { id: string; kek: KeyRef; owner: SeedOwner },
): Promise<Uint8Array> {
  const wrappedKey = await hsm.generate('aes-256', kek);
  const ref: KeyRef = { id, kind: 'aes-256', blob: wrappedKey, under: kek };
  const place = placeOf(owner);
  const seed = await hsm.random(32);
  let opened: Uint8Array | undefined;
  try {
    const sealedSeed = await hsm.sealSeed(ref, place, seed);
    opened = await hsm.openSeed(ref, place, sealedSeed);
    if (!equalBytes(opened, seed)) {
      throw new ServiceError('hsm/unavailable', 'The HSM sealed a seed that does not open again.');
    }
    return concatBytes(wrappedKey, sealedSeed);
  } finally {
    wipe(seed, opened);
  }
}

/** The seed of a `hsm-sealed` version, for the caller to wipe. @throws HsmRejected when it is not this version's */
export function openSeed(
  hsm: Hsm,
  version: SeedOwner & { readonly ref: KeyRef; readonly sealedSeed?: Uint8Array },
): Promise<Uint8Array> {
  return hsm.openSeed(version.ref, placeOf(version), version.sealedSeed ?? new Uint8Array(0));
}
