import type { Caller } from '../access/caller.ts';
import { wipe } from '../core/bytes.ts';
import { decodeOaep, type OaepHash } from '../crypto/oaep.ts';
import { type Hsm, HsmRejected } from '../hsm/hsm.ts';
import { decryptionFailed, targetOf } from '../keys/key.ts';
import type { Keys } from '../keys/keys.ts';

export interface OaepRequest {
  readonly key: string;
  /** Ordinal; default: the current version. Ciphertexts of RSA do not name it. */
  readonly version?: number | undefined;
  readonly ciphertext: Uint8Array;
  /** Of OAEP and of its MGF1. */
  readonly hash: OaepHash;
  /** L of RFC 8017: the same on both sides. */
  readonly oaepLabel: Uint8Array;
}

export interface Decrypted {
  /** For whoever receives it to wipe. */
  readonly plaintext: Uint8Array;
  readonly keyId: string;
  readonly keyVersion: number;
}

/** Decryption of what others encrypted to a public key. Authorized, and recorded before the answer. */
export interface Decryption {
  /**
   * RSAES-OAEP (RFC 8017 §7.1.2): the private key works in the HSM, and the padding is taken off here, in constant time.
   * @throws envelope/decryption-failed for every reason; key/not-found, key/wrong-purpose, key/disabled,
   *   key/version-disabled, decided before any cryptography
   */
  oaep(caller: Caller, request: OaepRequest): Promise<Decrypted>;
}

export function createDecryption({ keys, hsm }: { keys: Keys; hsm: Hsm }): Decryption {
  return {
    oaep: (caller, { key: ref, version: ordinal, ciphertext, hash, oaepLabel }) =>
      keys.use(caller, 'decryption.oaep', ref, async (key, operation) => {
        const version = await keys.decryptingOaep(key, 'open', ordinal);
        operation.target({ ...targetOf(key), version: version.ordinal });
        const encoded = await hsm.decryptRsa(version.ref, ciphertext).catch(failedAlike);
        const plaintext = decodeOaep(hash, encoded, oaepLabel);
        wipe(encoded);
        if (plaintext === undefined) throw decryptionFailed();
        keys.touch(version);
        return { plaintext, keyId: key.id, keyVersion: version.ordinal };
      }),
  };
}

/** Another length, or a number not below the modulus: both are seen in the ciphertext itself. */
function failedAlike(error: unknown): never {
  throw error instanceof HsmRejected ? decryptionFailed() : error;
}
