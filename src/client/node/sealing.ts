import { createHash } from 'node:crypto';
import type { Psk } from '../../crypto/hpke/context.ts';
import { type Sealed, sealTo as sealHpke } from '../../crypto/hpke/hpke.ts';
import { hpkeKems, type Recipient } from '../../crypto/hpke/kem.ts';
import { type HpkeCipher, hpkeSuite } from '../../crypto/hpke/suites.ts';
import { isSealingAlgorithm, type SealingAlgorithm } from '../../crypto/payload/sealed-format.ts';
import { suites } from '../../crypto/suites.ts';

/** What `getPublicKey` answers, or `stathera keys public-key` printed. */
export interface PublicKeyAnswer {
  readonly algorithm: string;
  readonly suite: string;
  readonly publicKey: Uint8Array;
  readonly keyId: string;
  readonly keyVersion: number;
}

/** A public key of the service that is ready to be sealed to. */
export interface SealingKey {
  readonly algorithm: SealingAlgorithm;
  readonly keyId: string;
  readonly keyVersion: number;
  /** SHA-256 of the raw public key, in hex. */
  readonly fingerprint: string;
  readonly recipient: Recipient;
}

const idForm = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** SHA-256 of a raw public key, in hex: what two people compare over another way than the key came. */
export function fingerprintOf(publicKey: Uint8Array): string {
  return createHash('sha256').update(publicKey).digest('hex');
}

/**
 * Takes a public key over, checked. Whoever gave it could have given another, whose private key they have: compare its
 * fingerprint with the one that its owner tells.
 * @param expected the fingerprints it may have; without, any
 * @throws TypeError for what is no public key to seal to, or has another fingerprint
 */
export function sealingKey(
  { algorithm, suite, publicKey, keyId, keyVersion }: PublicKeyAnswer,
  expected?: string | readonly string[],
): SealingKey {
  if (!isSealingAlgorithm(algorithm) || suites[algorithm].id !== suite)
    throw new TypeError('the key is of an algorithm, or a draft of it, that nothing is sealed to here');
  const recipient = hpkeKems[algorithm].recipient(Uint8Array.from(publicKey));
  if (recipient === undefined || !idForm.test(keyId) || !isOrdinal(keyVersion))
    throw new TypeError('the public key is none of its algorithm, or not of the service');
  const fingerprint = fingerprintOf(publicKey);
  if (expected !== undefined && ![expected].flat().some((each) => each.toLowerCase() === fingerprint))
    throw new TypeError('the public key has another fingerprint than was expected: it is somebody else’s');
  return { algorithm, keyId, keyVersion, fingerprint, recipient };
}

function isOrdinal(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= 999_999_999;
}

export interface SealToOptions {
  /** Of the application; `open` needs the same. Default none. */
  readonly info?: Uint8Array;
  /** Authenticated with the message, not encrypted; `open` needs the same. Default none. */
  readonly aad?: Uint8Array;
  /** Default `aes-256-gcm`. */
  readonly aead?: HpkeCipher;
  /** A secret of 32 bytes or more that both sides have, and its name. */
  readonly psk?: Psk;
}

const none = new Uint8Array();

/**
 * Seals one message by HPKE, without the service, whose `open` opens it. The bytes are neither changed nor kept.
 * @returns what `open` takes, with the key and version that it is for
 * @throws TypeError for a public key that gives no secret, as a point of low order
 */
export async function sealTo(
  key: SealingKey,
  plaintext: Uint8Array,
  { info = none, aad = none, aead = 'aes-256-gcm', psk }: SealToOptions = {},
): Promise<Sealed & { readonly key: string; readonly version: number }> {
  const suite = hpkeSuite(key.algorithm, aead);
  const sealed = await sealHpke(suite, { recipient: key.recipient, info, aad, plaintext, psk });
  if (sealed === undefined) throw new TypeError('the public key gives no secret: it is none');
  return { ...sealed, key: key.keyId, version: key.keyVersion };
}
