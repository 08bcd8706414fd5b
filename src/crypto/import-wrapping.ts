import { lengthPrefixed, wipe } from '../core/bytes.ts';
import { openFrom, sealTo } from './hpke/hpke.ts';
import { hpkeKems } from './hpke/kem.ts';
import { hpkeSuite } from './hpke/suites.ts';
import { unwrapKey } from './key-wrap.ts';
import { labels } from './labels.ts';
import { decodeOaep } from './oaep.ts';
import type { CipherSuite, MacSuite, Suite } from './suites.ts';

/**
 * How a key comes wrapped. `hpke-x-wing`: sealed by HPKE to an X-Wing key. `rsa-aes-key-wrap-sha-256`: an AES key under
 * RSA-OAEP with SHA-256, and after it the key under that one by AES-KWP, which is PKCS#11's CKM_RSA_AES_KEY_WRAP.
 */
export const importWrappings = ['hpke-x-wing', 'rsa-aes-key-wrap-sha-256'] as const;

export type ImportWrapping = (typeof importWrappings)[number];

/** What may be imported: secrets, not key pairs. */
export function isImportable(suite: Suite): suite is CipherSuite | MacSuite {
  return suite.purpose === 'encrypt' || suite.purpose === 'mac';
}

export const importHpkeSuite = hpkeSuite('x-wing', 'aes-256-gcm');

/** The RSA modulus of the wrapping key. */
export const importModulusBytes = 512;

/** What one import is about: sealed with the key, so that it opens as nothing else. */
export interface ImportSubject {
  readonly importId: string;
  readonly keyId: string;
  readonly algorithm: string;
}

/** `info` of HPKE. */
export function importInfo({ importId, keyId, algorithm }: ImportSubject): Uint8Array {
  return lengthPrefixed(labels.importKey, importId, keyId, algorithm);
}

const nothing = new Uint8Array(0);

/** @returns enc ‖ ciphertext ‖ tag(16); undefined for what is no X-Wing public key */
export async function sealForImport(
  publicKey: Uint8Array,
  info: Uint8Array,
  key: Uint8Array,
): Promise<Uint8Array | undefined> {
  const recipient = hpkeKems['x-wing'].recipient(publicKey);
  if (recipient === undefined) return undefined;
  const sealed = await sealTo(importHpkeSuite, { recipient, info, aad: nothing, plaintext: key });
  return sealed && Buffer.concat([sealed.enc, sealed.ciphertext]);
}

/** @returns the key, for the caller to wipe; undefined when anything is wrong */
export async function openFromImport(
  recipient: { readonly seed: Uint8Array; readonly publicKey: Uint8Array },
  info: Uint8Array,
  wrapped: Uint8Array,
): Promise<Uint8Array | undefined> {
  const { encBytes } = hpkeKems['x-wing'];
  const [enc, ciphertext] = [wrapped.subarray(0, encBytes), wrapped.subarray(encBytes)];
  return await openFrom(importHpkeSuite, { recipient, enc, info, aad: nothing, ciphertext });
}

/**
 * Takes RSA's padding from what the token gave and unwraps with what was under it. Where the padding is wrong, a random
 * key takes its place: then the second step fails, as it does for every other reason.
 * @param encoded overwritten
 * @param instead 32 random bytes, overwritten
 * @returns the key, for the caller to wipe; undefined when anything is wrong
 */
export function unwrapImport(
  encoded: Uint8Array,
  wrapped: Uint8Array,
  instead: Uint8Array,
): Uint8Array | undefined {
  const transport = decodeOaep('sha256', encoded, nothing);
  const fits = transport !== undefined && [16, 24, 32].includes(transport.length);
  try {
    return unwrapKey(fits ? transport : instead, wrapped);
  } finally {
    wipe(transport, instead);
  }
}
