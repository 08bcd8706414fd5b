/**
 * The registry of key algorithms: one row each. A new algorithm is a new row here, its HSM objects in
 * `hsm/pkcs11/objects.ts`, and published test vectors. Numbers are written into ciphertexts and never reused.
 */
export interface Suite {
  readonly name: string;
  /** One byte in ciphertext headers. */
  readonly number: number;
  readonly keyKind: 'aes-128' | 'aes-256';
  readonly keyBytes: number;
  readonly nonceBytes: 12;
  readonly tagBytes: 16;
  /** Random 96-bit nonces: rotation is forced here … (NIST SP 800-38D §8.3) */
  readonly rotateAfterUses: number;
  /** … and encryption refused here. */
  readonly refuseAfterUses: number;
}

const aesGcm = {
  nonceBytes: 12,
  tagBytes: 16,
  rotateAfterUses: 2 ** 31,
  refuseAfterUses: 2 ** 32,
} as const;

export const suites = {
  'aes-256-gcm': { name: 'aes-256-gcm', number: 1, keyKind: 'aes-256', keyBytes: 32, ...aesGcm },
  'aes-128-gcm': { name: 'aes-128-gcm', number: 2, keyKind: 'aes-128', keyBytes: 16, ...aesGcm },
} as const satisfies Record<string, Suite>;

export type Algorithm = keyof typeof suites;

export const algorithms = Object.keys(suites) as [Algorithm, ...Algorithm[]];

const byNumber = new Map<number, Suite>(Object.values(suites).map((suite) => [suite.number, suite]));

export function suiteByNumber(number: number): Suite | undefined {
  return byNumber.get(number);
}
