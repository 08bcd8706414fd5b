/**
 * The registry of key algorithms: one row each. A new algorithm is a new row here, its HSM objects in
 * `hsm/pkcs11/objects.ts`, and published test vectors. Numbers are written into ciphertexts and never reused.
 */
export interface Suite {
  readonly name: string;
  /** One byte in ciphertext headers. */
  readonly number: number;
  readonly protection: Protection;
  /** Kind of the version's key in the token; under `hsm-sealed`, of the key that seals its seed. */
  readonly keyKind: 'aes-128' | 'aes-256' | 'cmac-256';
  /** Bytes of the version's secret. */
  readonly keyBytes: number;
  readonly nonceBytes: 12 | 24;
  readonly tagBytes: 16;
  /** Nonces are random: rotation is forced here … */
  readonly rotateAfterUses: number;
  /** … and encryption refused here. */
  readonly refuseAfterUses: number;
}

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

const inToken = { protection: 'hsm', ...shortNonce } as const;
const sealedSeed = { protection: 'hsm-sealed', keyKind: 'aes-256', keyBytes: 32 } as const;

export const suites = {
  'aes-256-gcm': { name: 'aes-256-gcm', number: 1, keyKind: 'aes-256', keyBytes: 32, ...inToken },
  'aes-128-gcm': { name: 'aes-128-gcm', number: 2, keyKind: 'aes-128', keyBytes: 16, ...inToken },
  /** RFC 8439. It has the nonce of AES-GCM, so it has its limits. */
  'chacha20-poly1305': { name: 'chacha20-poly1305', number: 3, ...sealedSeed, ...shortNonce },
  /** draft-irtf-cfrg-xchacha-03 §2. */
  'xchacha20-poly1305': { name: 'xchacha20-poly1305', number: 4, ...sealedSeed, ...longNonce },
  /** https://c2sp.org/XAES-256-GCM */
  'xaes-256-gcm': {
    name: 'xaes-256-gcm',
    number: 5,
    protection: 'derived',
    keyKind: 'cmac-256',
    keyBytes: 32,
    ...longNonce,
  },
} as const satisfies Record<string, Suite>;

export type Algorithm = keyof typeof suites;

export const algorithms = Object.keys(suites) as [Algorithm, ...Algorithm[]];

const byNumber = new Map<number, Suite>(Object.values(suites).map((suite) => [suite.number, suite]));

export function suiteByNumber(number: number): Suite | undefined {
  return byNumber.get(number);
}
