import { concatBytes, equalBytes, wipe } from '../core/bytes.ts';
import { ServiceError } from '../core/errors.ts';
import type { Hsm, KeyRef, SeedPlace } from '../hsm/hsm.ts';

/** A nonce before the seed, a tag behind it. */
const sealBytes = 12 + 16;
/** More than enough: of the algorithms' seeds one in 2^32 is no private key, or fewer. */
const draws = 4;

/** What is known of an algorithm's seeds. */
export interface SeedMaker {
  /** Absent: random bytes from the HSM. */
  readonly draw?: () => Promise<Uint8Array>;
  /** Of a key pair: undefined where the seed is no private key. */
  readonly publicKeyOf?: (seed: Uint8Array) => Uint8Array | undefined;
}

/** The version that a seed belongs to. */
export interface SeedOwner {
  /** 16 bytes each. */
  readonly idBytes: { readonly id: Uint8Array; readonly keyId: Uint8Array; readonly namespaceId: Uint8Array };
  readonly suite: { readonly name: string; readonly keyBytes: number };
}

/** A seed opens for this version of this key in this namespace, and for this algorithm. */
function placeOf({ idBytes: { namespaceId, keyId, id }, suite }: SeedOwner): SeedPlace {
  return [namespaceId, keyId, id, suite.name];
}

/** The two parts of what a `hsm-sealed` version's row holds, as `makeSeedBlob` joined them. */
export function splitSeedBlob(
  blob: Uint8Array,
  seedBytes: number,
): { wrappedKey: Uint8Array; sealedSeed: Uint8Array } {
  const at = Math.max(0, blob.length - sealBytes - seedBytes);
  return { wrappedKey: blob.subarray(0, at), sealedSeed: blob.subarray(at) };
}

/**
 * Makes a seed, random from the HSM unless the algorithm draws its own, and seals it by a new key in the HSM that is
 * for nothing else. The blob may be all there will be of it: it is opened once.
 * @param id the version's, by which the HSM knows its key
 * @param maker its public key is that of what was opened
 * @returns the wrapped key and the sealed seed, and of a key pair the public key
 */
export async function makeSeedBlob(
  hsm: Hsm,
  { id, kek, owner }: { id: string; kek: KeyRef; owner: SeedOwner },
  maker: SeedMaker = {},
): Promise<{ blob: Uint8Array; publicKey?: Uint8Array }> {
  const wrappedKey = await hsm.generate('aes-256', kek);
  const ref: KeyRef = { id, kind: 'aes-256', blob: wrappedKey, under: kek };
  const place = placeOf(owner);
  const seed = await drawSeed(hsm, owner.suite.keyBytes, maker);
  let opened: Uint8Array | undefined;
  try {
    const sealedSeed = await hsm.sealSeed(ref, place, seed);
    opened = await hsm.openSeed(ref, place, sealedSeed);
    if (!equalBytes(opened, seed)) {
      throw new ServiceError('hsm/unavailable', 'The HSM sealed a seed that does not open again.');
    }
    const publicKey = maker.publicKeyOf?.(opened);
    return { blob: concatBytes(wrappedKey, sealedSeed), ...(publicKey && { publicKey }) };
  } finally {
    wipe(seed, opened);
  }
}

async function drawSeed(
  hsm: Hsm,
  bytes: number,
  { draw = () => hsm.random(bytes), publicKeyOf }: SeedMaker,
): Promise<Uint8Array> {
  for (let drawn = 0; drawn < draws; drawn += 1) {
    const seed = await draw();
    if (publicKeyOf === undefined || publicKeyOf(seed) !== undefined) return seed;
    wipe(seed);
  }
  throw new ServiceError('hsm/unavailable', 'The HSM gave no random bytes that are a private key.');
}

/** The seed of a `hsm-sealed` version, for the caller to wipe. @throws HsmRejected when it is not this version's */
export function openSeed(
  hsm: Hsm,
  version: SeedOwner & { readonly ref: KeyRef; readonly sealedSeed?: Uint8Array },
): Promise<Uint8Array> {
  return hsm.openSeed(version.ref, placeOf(version), version.sealedSeed ?? new Uint8Array(0));
}
