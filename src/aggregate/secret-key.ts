import { randomBytes } from 'node:crypto';
import { concatBytes, lengthPrefixed } from '../core/bytes.ts';
import { openMessage, sealMessage } from '../crypto/aead.ts';
import { labels } from '../crypto/labels.ts';

// An epoch's secret key is 98 KB: too long for the HSM, which seals the 32 bytes that it is encrypted under. Only the
// process that makes it and the one that decrypts ever see it.

const nonceBytes = 12;

/** The epoch that a secret key belongs to. */
export interface SecretKeyPlace {
  readonly namespaceId: string;
  readonly datasetId: string;
  readonly epochId: string;
  /** Name of the set of parameters. */
  readonly parameters: string;
}

/** @param seed 32 bytes, for this and nothing else. @returns nonce(12) ‖ ciphertext ‖ tag(16) */
export function sealSecretKey(seed: Uint8Array, place: SecretKeyPlace, secretKey: Uint8Array): Uint8Array {
  const nonce = randomBytes(nonceBytes);
  return concatBytes(
    nonce,
    sealMessage({ cipher: 'aes-256-gcm', key: seed, nonce }, aadOf(place), secretKey),
  );
}

/** @returns the secret key, for the caller to wipe; undefined when it is not this epoch's under this seed */
export function openSecretKey(
  seed: Uint8Array,
  place: SecretKeyPlace,
  sealed: Uint8Array,
): Uint8Array | undefined {
  const nonce = sealed.subarray(0, nonceBytes);
  if (nonce.length < nonceBytes) return undefined;
  return openMessage({ cipher: 'aes-256-gcm', key: seed, nonce }, aadOf(place), sealed.subarray(nonceBytes));
}

function aadOf({ namespaceId, datasetId, epochId, parameters }: SecretKeyPlace): Uint8Array {
  return lengthPrefixed(labels.datasetSecretKey, namespaceId, datasetId, epochId, parameters);
}
