/**
 * The port to the HSM: exactly the calls the service makes. Adapters: `pkcs11/` (any PKCS#11 module).
 * Key bytes never cross it except wrapped; a key is named by a `KeyRef`, and the adapter unwraps it into
 * the token when it is first used and keeps a bounded number of handles.
 */
export type KeyKind = SecretKind | PairKind;
export type SecretKind = 'kek' | 'aes-128' | 'aes-256' | MacKind;
/** Keys that make MACs and nothing else: HMAC over SHA-2 of so many bits, AES-CMAC under AES of so many. */
export type MacKind = 'hmac-256' | 'hmac-384' | 'hmac-512' | 'cmac-128' | 'cmac-256';
/** The private key of a pair, for signatures and nothing else, or for decryption and nothing else. */
export type PairKind = (typeof pairKinds)[number] | DecryptionKind;
export type DecryptionKind = (typeof decryptionKinds)[number];
export const decryptionKinds = ['rsa-2048-decrypt', 'rsa-3072-decrypt', 'rsa-4096-decrypt'] as const;
export const pairKinds = [
  ...(['ec-p256', 'ec-p384', 'ec-p521', 'ec-secp256k1'] as const),
  ...(['rsa-2048', 'rsa-3072', 'rsa-4096'] as const),
] as const;

/** How a token signs: ECDSA over a digest, RSASSA-PKCS1-v1_5 over a DigestInfo, RSASSA-PSS over a digest. */
export type SignatureMechanism = 'ecdsa' | 'rsa-pkcs1' | 'rsa-pss';

/** The token's root: AES-256, never leaves it, wraps and unwraps only. */
export const root = 'root';

/** Of the RSA key by which a token is handed other tokens' keys. */
export const transportKeyBits = 4096;

/** Everything an adapter needs to bring a key into the token: immutable, and the same for one `id` for ever. */
export interface KeyRef {
  /** Unique over all keys (a UUID): what handles are cached by. */
  readonly id: string;
  readonly kind: KeyKind;
  /** AES-KWP (RFC 5649) of the key under `under`. */
  readonly blob: Uint8Array;
  readonly under: KeyRef | typeof root;
}

/** A message for AES-GCM: 12-byte nonce, AAD, and plaintext or ciphertext ‖ 16-byte tag (up to 65,536 bytes). */
export interface GcmInput {
  readonly nonce: Uint8Array;
  readonly aad: Uint8Array;
  readonly data: Uint8Array;
}

export type SeedPlace = readonly (Uint8Array | string)[];

export interface HsmStatus {
  readonly state: 'ready' | 'unavailable' | 'closed';
  readonly module: string;
  readonly tokenLabel: string;
  readonly manufacturer: string;
  readonly model: string;
  /** Grows by one at every re-initialize: handles of an older generation are never used. */
  readonly generation: number;
  readonly handles: { readonly cached: number; readonly limit: number; readonly misses: number };
  readonly queued: number;
}

/**
 * The device refused this input: a bad tag, a blob that does not unwrap. A known-answer probe has told
 * it apart from a failing device. Carries no reason on purpose.
 */
export class HsmRejected extends Error {
  constructor() {
    super('the HSM refused the input');
    this.name = 'HsmRejected';
  }
}

/**
 * Every method: rejects with ServiceError `hsm/unavailable` when the device fails or the adapter is closed,
 * `service/overloaded` when its queue is full, with HsmRejected when a key's blob does not unwrap. Inputs are
 * copied before the call returns.
 */
export interface Hsm {
  /** The stable id of the token's root (from the token): wrappings are stored by it. */
  readonly rootId: string;

  /** Makes a key inside the token and gives it wrapped under `under`; nothing of it stays in the token. */
  generate(kind: SecretKind, under: KeyRef | typeof root): Promise<Uint8Array>;

  /**
   * Makes a key pair inside the token, proves that it signs as its public key verifies, and gives the private key
   * wrapped under `under`. RSA takes a second, more on a slow machine; nothing but other pairs waits for it.
   * @returns publicKey: an uncompressed point (SEC 1 §2.3.3); of RSA the RSAPublicKey of RFC 8017 A.1.1 in DER
   */
  generatePair(kind: PairKind, under: KeyRef): Promise<{ blob: Uint8Array; publicKey: Uint8Array }>;

  /**
   * Wraps a key anew: out of `key.under`, under `to`, through a handle with no other usage that is
   * destroyed at once. @throws HsmRejected when the blob does not unwrap
   */
  rewrap(key: KeyRef, to: KeyRef | typeof root): Promise<Uint8Array>;

  /**
   * Wraps a secret key for another token: RSAES-OAEP (RFC 8017 §7.1, SHA-1) under that one's transport key, inside this
   * token, through a handle with no other usage that is destroyed at once.
   * @param publicKey RSAPublicKey of RFC 8017 A.1.1 in DER, of `transportKeyBits`
   */
  transport(key: KeyRef, publicKey: Uint8Array): Promise<Uint8Array>;

  /**
   * Takes a key that `transport` wrapped under this token's transport key, and gives it wrapped under the root.
   * @throws HsmRejected when it does not open, or is of another length than its kind
   */
  receive(kind: SecretKind, transported: Uint8Array): Promise<Uint8Array>;

  /** AES-GCM: ciphertext ‖ tag. @see NIST SP 800-38D */
  encrypt(key: KeyRef, input: GcmInput): Promise<Uint8Array>;

  /** @throws HsmRejected for any forgery, or when the key's blob does not unwrap */
  decrypt(key: KeyRef, input: GcmInput): Promise<Uint8Array>;

  /**
   * Decrypts and encrypts in one trip: the plaintext never reaches the caller's thread.
   * @param from.zeroPrefixBytes so many bytes at the start of the plaintext must be zero. Default 0
   * @throws HsmRejected for any forgery, or another beginning
   */
  reencrypt(
    from: { readonly key: KeyRef; readonly input: GcmInput; readonly zeroPrefixBytes?: number },
    to: { readonly key: KeyRef; readonly nonce: Uint8Array; readonly aad: Uint8Array },
  ): Promise<Uint8Array>;

  /**
   * HMAC (FIPS 198-1), as long as its hash, or AES-CMAC (SP 800-38B), 16 bytes.
   * @param key of a `MacKind`
   * @param data up to 1 MiB
   */
  mac(key: KeyRef, data: Uint8Array): Promise<Uint8Array>;

  /**
   * Signs what stands for a message, in a lane of its own: nothing but other signatures waits for it.
   * @param key of a pair's kind that the mechanism fits
   * @param data for `ecdsa` a digest of 32, 48 or 64 bytes; for `rsa-pkcs1` the DigestInfo in DER; for `rsa-pss` a digest of 32,
   *   48 or 64 bytes, by SHA-256, SHA-384 or SHA-512, whose length is the salt's and whose hash is MGF1's
   * @returns r ‖ s of the curve's length each; of RSA as many bytes as the modulus
   */
  sign(key: KeyRef, mechanism: SignatureMechanism, data: Uint8Array): Promise<Uint8Array>;

  /**
   * RSADP (RFC 8017 §5.1.2): the power alone, since tokens differ in the paddings they can take away. What comes back
   * is to be unpadded in constant time. In the lane of signatures.
   * @param data as many bytes as the modulus
   * @returns as many bytes, for the caller to wipe. @throws HsmRejected for a number not below the modulus
   */
  decryptRsa(key: KeyRef, data: Uint8Array): Promise<Uint8Array>;

  /**
   * Takes a key made elsewhere into the token and gives it wrapped under `under`; nothing of it stays in the token.
   * @param value of the kind's length; for the caller to wipe
   */
  importSecret(kind: SecretKind, value: Uint8Array, under: KeyRef): Promise<Uint8Array>;

  /** SP 800-108r1 counter mode over HMAC-SHA-256 in the token; see crypto/kdf.ts. @param key of kind `hmac-256` */
  derive(key: KeyRef, input: { label: string; context: Uint8Array; bytes: number }): Promise<Uint8Array>;

  /** Random bytes from the token. @param bytes 1–65,536 */
  random(bytes: number): Promise<Uint8Array>;

  /**
   * Seals a seed the token cannot hold as a key.
   * @param place authenticated: what the seed is for, field by field
   * @returns nonce(12) ‖ ciphertext ‖ tag(16)
   */
  sealSeed(key: KeyRef, place: SeedPlace, seed: Uint8Array): Promise<Uint8Array>;

  /** @returns the seed, for the caller to wipe. @throws HsmRejected */
  openSeed(key: KeyRef, place: SeedPlace, sealed: Uint8Array): Promise<Uint8Array>;

  /** Drops a key's handle (it was destroyed or disabled); resolves when no operation uses it any more. */
  evict(keyId: string): Promise<void>;

  /** Proves the device works by wrapping and unwrapping with the root. */
  probe(): Promise<void>;

  status(): HsmStatus;

  /** Finishes what is queued (at most `graceMs`), then logs out. No call is accepted after. */
  close(graceMs?: number): Promise<void>;
}

/** What the token says about itself, for people who check a machine. */
export interface TokenReport {
  readonly module: {
    readonly manufacturer: string;
    readonly description: string;
    readonly version: string;
    readonly cryptokiVersion: string;
  };
  readonly token: {
    readonly label: string;
    readonly manufacturer: string;
    readonly model: string;
    readonly serialNumber: string;
    readonly pinTriesLow: boolean;
    readonly pinLocked: boolean;
  };
  /**
   * Whether keys with CKA_EXTRACTABLE false stay in the token, as tried. If not: `tests-only` of a module known for it,
   * `refused` of any other.
   */
  readonly custody: 'kept' | 'tests-only' | 'refused';
  /** Each mechanism the service needs. */
  readonly mechanisms: readonly { readonly name: string; readonly present: boolean }[];
  readonly root: { readonly id: string; readonly attributes: Readonly<Record<string, boolean | number>> };
}
