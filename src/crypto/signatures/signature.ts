import type { JsonWebKey } from 'node:crypto';
import type { SignatureEncoding } from './ecdsa-encoding.ts';
import type { HashName } from './hashes.ts';

/**
 * What is signed. `message`: all of it. `digest`: its hash, made elsewhere. `mu`: 64 bytes of ML-DSA that stand for
 * public key, context and message (FIPS 204 §6.2, algorithm 7, line 6; "external mu").
 */
export type Form = 'message' | 'digest' | 'mu';

/** One signature's input, checked against its scheme by `checkInput`. */
export interface SignatureInput {
  readonly form: Form;
  readonly bytes: Uint8Array;
  /** Up to 255 bytes, bound into the signature; empty where the scheme has none. */
  readonly context: Uint8Array;
  /** The scheme's, or one of those it lets choose. */
  readonly hash: HashName;
  /** Of ECDSA; ignored by all others. */
  readonly encoding: SignatureEncoding;
}

interface AnyScheme {
  /** Besides `message`. */
  readonly forms: readonly Exclude<Form, 'message'>[];
  readonly hasContext: boolean;
  /** The hashes of a message, of which the first is the default; empty where there is nothing to choose or to know. */
  readonly hashes: readonly [HashName, ...HashName[]] | readonly [];
  /** Whether signatures have two encodings, as ECDSA's. */
  readonly encodings: boolean;
  /** Bytes of the longest signature. */
  readonly maxSignatureBytes: number;
  cost(operation: 'sign' | 'verify', form: Form): Cost;
  /** @returns false for every reason */
  verify(publicKey: Uint8Array, input: SignatureInput, signature: Uint8Array): boolean;
  /** SubjectPublicKeyInfo, RFC 5280 §4.1.2.7. */
  spki(publicKey: Uint8Array): Uint8Array;
  /** @returns undefined where no standard has a JWK */
  jwk(publicKey: Uint8Array): JsonWebKey | undefined;
  /** `alg` of JWS, as IANA registers it; undefined where there is none. */
  jwsAlgorithm(hash: HashName): string | undefined;
  /** AlgorithmIdentifier of a signature in X.509, in DER. */
  signatureAlgorithm(hash: HashName): Uint8Array;
}

/** By the time this process takes: some 0.1 ms; up to some 10 ms; up to a second. */
export type Cost = 'short' | 'medium' | 'long';

/** The private key is a seed in process memory for the operation. */
export interface SeedScheme extends AnyScheme {
  readonly kind: 'seed';
  /** Makes a seed; absent: so many random bytes of the suite's length are one. */
  readonly draw?: () => Promise<Uint8Array>;
  /** @returns undefined for a seed that is no private key: draw another */
  publicKeyOf(seed: Uint8Array): Uint8Array | undefined;
  /** @param seed neither changed nor kept */
  sign(seed: Uint8Array, input: SignatureInput): Uint8Array;
}

/** The private key is in the token. */
export interface TokenScheme extends AnyScheme {
  readonly kind: 'token';
  readonly mechanism: 'ecdsa' | 'rsa-pkcs1' | 'rsa-pss';
  /** What the token is given for an input. */
  tokenInput(input: SignatureInput): Uint8Array;
  /** The signature of what the token gave. */
  fromToken(signature: Uint8Array, input: SignatureInput): Uint8Array;
}

export type Scheme = SeedScheme | TokenScheme;
