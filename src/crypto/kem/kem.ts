/** A key-encapsulation mechanism over bytes. What does not fit is undefined, whatever is wrong with it. */
export interface Kem {
  readonly publicKeyBytes: number;
  readonly ciphertextBytes: number;
  /** @returns undefined for what is no public key of this mechanism */
  publicKey(raw: Uint8Array): Encapsulator | undefined;
  /** @param seed neither changed nor kept. @throws RangeError unless it has the suite's length */
  privateKey(seed: Uint8Array): Decapsulator;
}

export interface Encapsulator {
  /** @returns undefined when the public key, as only now is seen, gives no secret. The secret is the caller's to wipe. */
  encapsulate(): Encapsulated | undefined;
}

export interface Encapsulated {
  readonly ciphertext: Uint8Array;
  /** 32 bytes. */
  readonly sharedSecret: Uint8Array;
}

export interface Decapsulator {
  /** Computed when it is asked for. */
  readonly publicKey: Uint8Array;
  /**
   * ML-KEM rejects implicitly (FIPS 203 §6.3): a ciphertext that was changed gives another secret, not a refusal.
   * @returns 32 bytes for the caller to wipe; undefined for a ciphertext that no encapsulation gives
   */
  decapsulate(ciphertext: Uint8Array): Uint8Array | undefined;
}

export type MlKemName = 'ml-kem-512' | 'ml-kem-768' | 'ml-kem-1024';

/** FIPS 203, table 3: bytes. */
export const mlKemSizes: Readonly<Record<MlKemName, { publicKeyBytes: number; ciphertextBytes: number }>> = {
  'ml-kem-512': { publicKeyBytes: 800, ciphertextBytes: 768 },
  'ml-kem-768': { publicKeyBytes: 1184, ciphertextBytes: 1088 },
  'ml-kem-1024': { publicKeyBytes: 1568, ciphertextBytes: 1568 },
};

/** d ‖ z, FIPS 203 §7.1. */
export const mlKemSeedBytes = 64;

/** What this process was given instead of what it was made for would be another key. */
export function requireBytes(name: string, value: Uint8Array, bytes: number): void {
  if (value.length !== bytes) throw new RangeError(`${name} must be ${bytes} bytes`);
}
