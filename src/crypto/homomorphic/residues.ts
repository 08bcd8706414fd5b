import type { ParameterSet } from './parameters.ts';

// What ./kernel.wat does, in plain TypeScript: slower by a factor of a hundred, and what tests hold it against.
// A ciphertext is two polynomials; of each first the residues modulo the first prime, then those modulo the second.

/** accumulator[i] += ciphertext[i] modulo 2^64. */
export function addResidues(accumulator: BigUint64Array, ciphertext: BigUint64Array): void {
  for (const [at, residue] of ciphertext.entries()) accumulator[at] = (accumulator[at] ?? 0n) + residue;
}

/** Takes each word modulo its prime. */
export function reduceResidues({ degree, moduli }: ParameterSet, words: BigUint64Array): void {
  for (const [at, word] of words.entries()) {
    words[at] = word % modulusAt(moduli, Math.floor(at / degree));
  }
}

/** True when every residue is below its prime. */
export function areReduced({ degree, moduli }: ParameterSet, ciphertext: BigUint64Array): boolean {
  return ciphertext.every((residue, at) => residue < modulusAt(moduli, Math.floor(at / degree)));
}

/** True when the second polynomial is zero: then the first is the plaintext, for everyone to read. */
export function isTransparent({ degree, moduli }: ParameterSet, ciphertext: BigUint64Array): boolean {
  return ciphertext.subarray(moduli.length * degree).every((residue) => residue === 0n);
}

function modulusAt(moduli: readonly bigint[], part: number): bigint {
  return moduli[part % moduli.length] ?? 1n;
}
