/**
 * The registry of key algorithms: one row each. A new algorithm is a new row here, its HSM objects in
 * `hsm/pkcs11/objects.ts`, and published test vectors. Numbers are written into ciphertexts and never reused.
 */
export type Suite = DecryptSuite | CipherSuite | ExchangeSuite | FieldSuite | MacSuite | SignSuite;

interface AnySuite {
  readonly name: string;
  /** One byte in ciphertext headers. */
  readonly number: number;
  readonly protection: Protection;
  /** Kind of the version's key in the token; under `hsm-sealed`, of the key that seals its seed. */
  readonly keyKind: SecretKind | PairKind | DecryptionKind;
  /** Bytes of the version's secret: of its seed, where the token does not hold it as a key. */
  readonly keyBytes: number;
}

export interface CipherSuite extends AnySuite {
  readonly purpose: 'encrypt';
  readonly nonceBytes: 12 | 24;
  readonly tagBytes: 16;
  /** Nonces are random: rotation is forced here … */
  readonly rotateAfterUses: number;
  /** … and encryption refused here. */
  readonly refuseAfterUses: number;
}

/** Key pairs: what they do is in ./kem. Their number and id are for what names a suite in bytes. */
export interface ExchangeSuite extends AnySuite {
  readonly purpose: 'exchange';
  readonly protection: 'hsm-sealed';
  readonly keyKind: 'aes-256';
  /**
   * What is bound into keys and proofs: the name, and of a draft its version. A later version that is not the same
   * to the bit is another suite.
   */
  readonly id: string;
}

/**
 * Secrets from which keys of fields are derived, see ./fields. What counts as a use is a value with a random nonce: of
 * one field's key they could all be.
 */
export interface FieldSuite extends AnySuite {
  readonly purpose: 'fields';
  readonly protection: 'derived';
  readonly keyKind: 'hmac-256';
  readonly rotateAfterUses: number;
  readonly refuseAfterUses: number;
}

/** Keys that make and check MACs, all of it in the token. */
export interface MacSuite extends AnySuite {
  readonly purpose: 'mac';
  readonly protection: 'hsm';
  /** Of a whole MAC. A shorter one is its beginning, at least half of it. */
  readonly macBytes: number;
}

/** Key pairs that sign: what they do is in ./signatures. */
export interface SignSuite extends AnySuite {
  readonly purpose: 'sign';
  readonly protection: 'hsm' | 'hsm-sealed';
  readonly keyKind: 'aes-256' | PairKind;
  /** The name, and of a draft its version. */
  readonly id: string;
}

/** RSA key pairs, to whose public keys others encrypt: the hash of OAEP is each ciphertext's. */
export interface DecryptSuite extends AnySuite {
  readonly purpose: 'decrypt';
  readonly protection: 'hsm';
  readonly keyKind: DecryptionKind;
  readonly id: string;
}

/** All as ../hsm/hsm.ts has them. */
type DecryptionKind = 'rsa-2048-decrypt' | 'rsa-3072-decrypt' | 'rsa-4096-decrypt';
type SecretKind = ('aes-128' | 'aes-256') | ('hmac-256' | 'hmac-384' | 'hmac-512' | 'cmac-128' | 'cmac-256');
type PairKind = ('ec-p256' | 'ec-p384' | 'ec-p521' | 'ec-secp256k1') | ('rsa-2048' | 'rsa-3072' | 'rsa-4096');

/**
 * Where a version's secret is while it is used. `hsm`: in the token alone. `derived`: in the token, which
 * derives a key for each message; that one is in process memory for the operation. `hsm-sealed`: the token
 * cannot use it, so it is in process memory itself for the operation; at rest a key of the token seals it.
 */
export type Protection = 'hsm' | 'derived' | 'hsm-sealed';

/** Random 96-bit nonces: 2^32 keep the probability of a repeated one below 2^-32 (NIST SP 800-38D §8.3). */
const shortNonce = {
  nonceBytes: 12,
  tagBytes: 16,
  rotateAfterUses: 2 ** 31,
  refuseAfterUses: 2 ** 32,
} as const;

/**
 * Random 192-bit nonces: 2^80 messages have the same probability (C2SP XAES-256-GCM, introduction). What is
 * bounded here is the count, a number that is exact up to 2^53: 142 years of a million messages a second.
 */
const longNonce = {
  nonceBytes: 24,
  tagBytes: 16,
  rotateAfterUses: 2 ** 51,
  refuseAfterUses: 2 ** 52,
} as const;

const inToken = { purpose: 'encrypt', protection: 'hsm', ...shortNonce } as const;
const sealed = { protection: 'hsm-sealed', keyKind: 'aes-256' } as const;
const sealedCipher = { purpose: 'encrypt', keyBytes: 32, ...sealed } as const;

export const cipherSuites = {
  'aes-256-gcm': { name: 'aes-256-gcm', number: 1, keyKind: 'aes-256', keyBytes: 32, ...inToken },
  'aes-128-gcm': { name: 'aes-128-gcm', number: 2, keyKind: 'aes-128', keyBytes: 16, ...inToken },
  /** RFC 8439. It has the nonce of AES-GCM, so it has its limits. */
  'chacha20-poly1305': { name: 'chacha20-poly1305', number: 3, ...sealedCipher, ...shortNonce },
  /** draft-irtf-cfrg-xchacha-03 §2. */
  'xchacha20-poly1305': { name: 'xchacha20-poly1305', number: 4, ...sealedCipher, ...longNonce },
  /** https://c2sp.org/XAES-256-GCM */
  'xaes-256-gcm': {
    name: 'xaes-256-gcm',
    number: 5,
    purpose: 'encrypt',
    protection: 'derived',
    keyKind: 'cmac-256',
    keyBytes: 32,
    ...longNonce,
  },
} as const satisfies Record<string, CipherSuite>;

const pair = { purpose: 'exchange', ...sealed } as const;

const exchanges = {
  /** X25519 and ML-KEM-768. Its seed gives both (§5.2). */
  'x-wing': {
    name: 'x-wing',
    id: 'x-wing/draft-connolly-cfrg-xwing-kem-10',
    ...{ number: 32, keyBytes: 32, ...pair },
  },
  /** FIPS 203. The seed is d ‖ z (§7.1). */
  'ml-kem-512': { name: 'ml-kem-512', id: 'ml-kem-512', number: 33, keyBytes: 64, ...pair },
  'ml-kem-768': { name: 'ml-kem-768', id: 'ml-kem-768', number: 34, keyBytes: 64, ...pair },
  'ml-kem-1024': { name: 'ml-kem-1024', id: 'ml-kem-1024', number: 35, keyBytes: 64, ...pair },
  /** RFC 7748. */
  x25519: { name: 'x25519', id: 'x25519', number: 36, keyBytes: 32, ...pair },
  /** SP 800-186. The seed is the private scalar, big endian. */
  p256: { name: 'p256', id: 'p256', number: 37, keyBytes: 32, ...pair },
  p384: { name: 'p384', id: 'p384', number: 38, keyBytes: 48, ...pair },
} as const satisfies Record<string, ExchangeSuite>;

function decrypter<const Name extends string, const Rest extends object>(name: Name, rest: Rest) {
  return { name, id: name, purpose: 'decrypt', protection: 'hsm', ...rest } as const;
}

/** RFC 8017 §7.1. `keyBytes`: of the modulus. */
const decrypters = {
  'rsa-oaep-2048': decrypter('rsa-oaep-2048', { number: 80, keyKind: 'rsa-2048-decrypt', keyBytes: 256 }),
  'rsa-oaep-3072': decrypter('rsa-oaep-3072', { number: 81, keyKind: 'rsa-3072-decrypt', keyBytes: 384 }),
  'rsa-oaep-4096': decrypter('rsa-oaep-4096', { number: 82, keyKind: 'rsa-4096-decrypt', keyBytes: 512 }),
} as const satisfies Record<string, DecryptSuite>;

const tokenMac = { purpose: 'mac', protection: 'hsm' } as const;

const macs = {
  /** FIPS 198-1, with a key as long as the hash (RFC 2104 §3). */
  'hmac-sha-256': {
    name: 'hmac-sha-256',
    ...{ number: 64, keyKind: 'hmac-256', keyBytes: 32, macBytes: 32, ...tokenMac },
  },
  'hmac-sha-384': {
    name: 'hmac-sha-384',
    ...{ number: 65, keyKind: 'hmac-384', keyBytes: 48, macBytes: 48, ...tokenMac },
  },
  'hmac-sha-512': {
    name: 'hmac-sha-512',
    ...{ number: 66, keyKind: 'hmac-512', keyBytes: 64, macBytes: 64, ...tokenMac },
  },
  /** NIST SP 800-38B. */
  'aes-128-cmac': {
    name: 'aes-128-cmac',
    ...{ number: 67, keyKind: 'cmac-128', keyBytes: 16, macBytes: 16, ...tokenMac },
  },
  'aes-256-cmac': {
    name: 'aes-256-cmac',
    ...{ number: 68, keyKind: 'cmac-256', keyBytes: 32, macBytes: 16, ...tokenMac },
  },
} as const satisfies Record<string, MacSuite>;

const fieldSuites = {
  /** NIST SP 800-108r1, counter mode over HMAC-SHA-256. */
  'kdf-hmac-sha-256': {
    name: 'kdf-hmac-sha-256',
    ...{ number: 128, purpose: 'fields', protection: 'derived', keyKind: 'hmac-256', keyBytes: 32 },
    rotateAfterUses: shortNonce.rotateAfterUses,
    refuseAfterUses: shortNonce.refuseAfterUses,
  },
} as const satisfies Record<string, FieldSuite>;

const seedPair = { purpose: 'sign', ...sealed } as const;
const tokenPair = { purpose: 'sign', protection: 'hsm' } as const;

function signer<const Name extends string, Rest extends Omit<SignSuite, 'name' | 'id'>>(
  name: Name,
  rest: Rest,
  draft?: string,
) {
  return { name, id: draft === undefined ? name : `${name}/${draft}`, ...rest } as const;
}

const composites = 'draft-ietf-lamps-pq-composite-sigs-19';

/** `keyBytes`: of a seed; of EC the scalar's; of RSA the modulus's. */
const signers = {
  /** RFC 8032. Its pairs cannot be wrapped out of SoftHSM. */
  ed25519: signer('ed25519', { number: 96, keyBytes: 32, ...seedPair }),
  /** FIPS 186-5. */
  'ecdsa-p256': signer('ecdsa-p256', { number: 97, keyKind: 'ec-p256', keyBytes: 32, ...tokenPair }),
  'ecdsa-p384': signer('ecdsa-p384', { number: 98, keyKind: 'ec-p384', keyBytes: 48, ...tokenPair }),
  'ecdsa-p521': signer('ecdsa-p521', { number: 99, keyKind: 'ec-p521', keyBytes: 66, ...tokenPair }),
  'ecdsa-secp256k1': signer('ecdsa-secp256k1', {
    ...{ number: 100, keyKind: 'ec-secp256k1', keyBytes: 32, ...tokenPair },
  }),
  /** RFC 8017. */
  'rsa-pss-2048': signer('rsa-pss-2048', { number: 101, keyKind: 'rsa-2048', keyBytes: 256, ...tokenPair }),
  'rsa-pss-3072': signer('rsa-pss-3072', { number: 102, keyKind: 'rsa-3072', keyBytes: 384, ...tokenPair }),
  'rsa-pss-4096': signer('rsa-pss-4096', { number: 103, keyKind: 'rsa-4096', keyBytes: 512, ...tokenPair }),
  'rsa-pkcs1-2048': signer('rsa-pkcs1-2048', {
    ...{ number: 104, keyKind: 'rsa-2048', keyBytes: 256, ...tokenPair },
  }),
  'rsa-pkcs1-3072': signer('rsa-pkcs1-3072', {
    ...{ number: 105, keyKind: 'rsa-3072', keyBytes: 384, ...tokenPair },
  }),
  'rsa-pkcs1-4096': signer('rsa-pkcs1-4096', {
    ...{ number: 106, keyKind: 'rsa-4096', keyBytes: 512, ...tokenPair },
  }),
  /** FIPS 204. The seed is ξ (§3.6.3). */
  'ml-dsa-44': signer('ml-dsa-44', { number: 107, keyBytes: 32, ...seedPair }),
  'ml-dsa-65': signer('ml-dsa-65', { number: 108, keyBytes: 32, ...seedPair }),
  'ml-dsa-87': signer('ml-dsa-87', { number: 109, keyBytes: 32, ...seedPair }),
  /** FIPS 205. The seed is SK.seed ‖ SK.prf ‖ PK.seed ‖ PK.root (§9.1). */
  'slh-dsa-sha2-128s': signer('slh-dsa-sha2-128s', { number: 110, keyBytes: 64, ...seedPair }),
  'slh-dsa-sha2-128f': signer('slh-dsa-sha2-128f', { number: 111, keyBytes: 64, ...seedPair }),
  'slh-dsa-sha2-192s': signer('slh-dsa-sha2-192s', { number: 112, keyBytes: 96, ...seedPair }),
  'slh-dsa-sha2-256s': signer('slh-dsa-sha2-256s', { number: 113, keyBytes: 128, ...seedPair }),
  /** Two seeds of 32 bytes. */
  'ml-dsa-65-ed25519': signer('ml-dsa-65-ed25519', { number: 114, keyBytes: 64, ...seedPair }, composites),
  'ml-dsa-65-p256': signer('ml-dsa-65-p256', { number: 115, keyBytes: 64, ...seedPair }, composites),
} as const satisfies Record<string, SignSuite>;

export const suites = {
  ...{ ...cipherSuites, ...exchanges, ...decrypters, ...macs, ...signers },
  ...fieldSuites,
} as const;

export type Algorithm = keyof typeof suites;
export type CipherAlgorithm = keyof typeof cipherSuites;
export type ExchangeAlgorithm = keyof typeof exchanges;
export type DecryptAlgorithm = keyof typeof decrypters;
export type MacAlgorithm = keyof typeof macs;
export type SignAlgorithm = keyof typeof signers;
export type Purpose = Suite['purpose'];

export const algorithms = Object.keys(suites) as [Algorithm, ...Algorithm[]];
export const cipherAlgorithms = Object.keys(cipherSuites) as [CipherAlgorithm, ...CipherAlgorithm[]];
export const exchangeAlgorithms = Object.keys(exchanges) as [ExchangeAlgorithm, ...ExchangeAlgorithm[]];
export const decryptAlgorithms = Object.keys(decrypters) as [DecryptAlgorithm, ...DecryptAlgorithm[]];
export const macAlgorithms = Object.keys(macs) as [MacAlgorithm, ...MacAlgorithm[]];
export const signAlgorithms = Object.keys(signers) as [SignAlgorithm, ...SignAlgorithm[]];
export const purposes: readonly [Purpose, ...Purpose[]] = [
  ...(['encrypt', 'decrypt', 'exchange', 'fields', 'mac', 'sign'] as const),
];

const byNumber = new Map<number, CipherSuite>(
  Object.values(cipherSuites).map((suite) => [suite.number, suite]),
);

/** The suite of a ciphertext's header. */
export function suiteByNumber(number: number): CipherSuite | undefined {
  return byNumber.get(number);
}
