/**
 * The parameters of BGV (Brakerski, Gentry, Vaikuntanathan, ITCS 2012) that datasets may have: exact integers modulo a
 * prime, 4,096 of them in one ciphertext. Their names are stored and signed; a name never changes its meaning.
 */
export interface ParameterSet {
  readonly name: ParameterSetName;
  /** Coefficients of a polynomial, and values in a ciphertext. */
  readonly degree: number;
  /** The primes whose product is a ciphertext's modulus. */
  readonly moduli: readonly [bigint, bigint];
  /** Bits of those and of the prime that keys have beside them: what the context is made from. */
  readonly modulusBits: readonly [number, number, number];
  /** The prime that values are counted by; at least 2^59.99. */
  readonly plainModulus: bigint;
  /** SEAL's names of the parameters at the level of ciphertexts and of keys (BLAKE2b, 32 bytes) in hex. */
  readonly ciphertextParametersId: string;
  readonly keyParametersId: string;
  /**
   * Ciphertexts that may be added. A fresh one has noise below 2^7 plaintext moduli but for a chance beyond counting,
   * and sums are right while the noise of all together stays below 2^24 of them (2^32 of the larger moduli).
   */
  readonly additions: number;
}

export const parameterSetNames = ['bgv-4096-101', 'bgv-4096-109'] as const;
export type ParameterSetName = (typeof parameterSetNames)[number];

const shared = { degree: 4096, plainModulus: 1_152_921_504_606_830_593n } as const;

/** By name; the number at its end is that of bits of the coefficient modulus with the keys' prime. */
export const parameterSets: Readonly<Record<ParameterSetName, ParameterSet>> = {
  // Within OpenFHE's bound of 101 bits for 128-bit security against quantum computers.
  'bgv-4096-101': {
    name: 'bgv-4096-101',
    ...shared,
    moduli: [4_398_046_486_529n, 8_796_092_858_369n],
    modulusBits: [42, 43, 16],
    ciphertextParametersId: 'f6b17c11252b21e25627f474d80e5ba010908c9c810a07243486abf7e1dd2751',
    keyParametersId: '5cce388d22b22ff50f83c5cf2e3cf7a3b202924df73047cd11b7ef63e479b3c6',
    additions: 2 ** 17,
  },
  // Within the Homomorphic Encryption Standard's bound of 109 bits for 128-bit security against classical ones.
  'bgv-4096-109': {
    name: 'bgv-4096-109',
    ...shared,
    moduli: [70_368_743_669_761n, 140_737_488_273_409n],
    modulusBits: [46, 47, 16],
    ciphertextParametersId: '9cdb3aefc5dd243ee252c1849313981c519a891e0f3ba30d6a4c33b5fc76f05a',
    keyParametersId: '7351300cff2880d2fec362dfd334596cdd99d149f13ffb5d03acf0117762ec8c',
    additions: 2 ** 25,
  },
};

/** Bytes of a ciphertext's residues: two polynomials, each modulo two primes, 8 bytes a coefficient. */
export function residueBytes({ degree, moduli }: ParameterSet): number {
  return 2 * moduli.length * degree * 8;
}

/** The largest absolute value that a slot's total may have: beyond it, it comes out as another one. */
export function largestTotal({ plainModulus }: ParameterSet): bigint {
  return (plainModulus - 1n) / 2n;
}
