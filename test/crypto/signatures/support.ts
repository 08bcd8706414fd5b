import { createHash } from 'node:crypto';
import { expect } from 'vitest';
import { type AskedInput, inputOf, schemes } from '../../../src/crypto/signatures/schemes.ts';
import type { SignAlgorithm } from '../../../src/crypto/suites.ts';
import { hex } from '../../support/vectors.ts';

/** The members of a published case that say what is verified. */
export interface Claim extends Omit<AskedInput, 'form' | 'bytes'> {
  readonly publicKey: Uint8Array;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
}

/** Verifies through the registry, as the service does: what does not fit the algorithm is no signature. */
export function verifies(algorithm: SignAlgorithm, claim: Claim, asked: Partial<AskedInput> = {}): boolean {
  const scheme = schemes[algorithm];
  const { publicKey, message, signature, ...rest } = claim;
  const input = inputOf(scheme, { form: 'message', bytes: message, ...rest, ...asked });
  return signature.length <= scheme.maxSignatureBytes && scheme.verify(publicKey, input, signature);
}

/**
 * Verifies the message, and its digest where the algorithm takes one, which other code of ours does.
 * @param hash of the message
 */
export function expectVerdict(
  algorithm: SignAlgorithm,
  claim: Claim,
  { expected, hash, told }: { expected: boolean; hash?: string; told: unknown },
): void {
  expect([told, verifies(algorithm, claim)]).toEqual([told, expected]);
  if (hash === undefined || !schemes[algorithm].forms.includes('digest')) return;
  const bytes = createHash(hash).update(claim.message).digest();
  expect([told, 'digest', verifies(algorithm, claim, { form: 'digest', bytes })]).toEqual([
    ...[told, 'digest', expected],
  ]);
}

/** ML-DSA's mu, FIPS 204 algorithm 2 line 10 and algorithm 7 line 6, by OpenSSL's SHAKE256. */
export function muOf(
  publicKey: Uint8Array,
  message: Uint8Array,
  context: Uint8Array = new Uint8Array(0),
): Buffer {
  const shake = (...parts: Uint8Array[]) => {
    const hash = createHash('shake256', { outputLength: 64 });
    for (const part of parts) hash.update(part);
    return hash.digest();
  };
  return shake(shake(publicKey), Uint8Array.of(0, context.length), context, message);
}

/** A member of a case that may be absent. */
export function optionalHex(text: string | undefined): Uint8Array | undefined {
  return text === undefined ? undefined : hex(text);
}
