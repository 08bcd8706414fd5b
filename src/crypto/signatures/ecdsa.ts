import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { bitString, oid, sequence } from './der.ts';
import { derSignature } from './ecdsa-encoding.ts';
import { type HashName, hashOf } from './hashes.ts';
import { inJavaScript } from './in-javascript.ts';
import type { Cost, SignatureInput, TokenScheme } from './signature.ts';

interface Curve {
  readonly oid: string;
  readonly scalarBytes: number;
  /** The hash of its strength, which JWS fixes for it (RFC 7518 §3.4, RFC 8812 §3.2). */
  readonly hash: HashName;
  readonly jws: string;
  /** Of verifying a message. */
  readonly cost: Cost;
  readonly noble: 'p256' | 'p384' | 'p521' | 'secp256k1';
}

const ecdsaWith: Readonly<Record<HashName, string>> = {
  sha256: '1.2.840.10045.4.3.2',
  sha384: '1.2.840.10045.4.3.3',
  sha512: '1.2.840.10045.4.3.4',
};

/** ECDSA, FIPS 186-5 §6. The token signs a digest; this process verifies. */
function ecdsa(curve: Curve): TokenScheme {
  const { scalarBytes, hash } = curve;
  const spki = (publicKey: Uint8Array) => ecSpki(curve.oid, publicKey);
  const keyOf = (publicKey: Uint8Array) => ecKey(curve.oid, scalarBytes, publicKey);
  return {
    kind: 'token',
    mechanism: 'ecdsa',
    forms: ['digest'],
    hasContext: false,
    hashes: [hash],
    encodings: true,
    maxSignatureBytes: scalarBytes * 2 + 9,
    cost: (operation, form) => (operation === 'sign' ? 'short' : form === 'digest' ? 'medium' : curve.cost),
    tokenInput: digestOf,
    fromToken: (signature, { encoding }) => (encoding === 'der' ? derSignature(signature) : signature),
    verify(publicKey, input, signature) {
      if (input.encoding === 'p1363' && signature.length !== 2 * scalarBytes) return false;
      if (input.form === 'digest') return verifyDigest(curve.noble, { publicKey, input, signature });
      const key = keyOf(publicKey);
      if (key === undefined) return false;
      const dsaEncoding = input.encoding === 'der' ? 'der' : 'ieee-p1363';
      return verify(hash, input.bytes, { key, dsaEncoding }, signature);
    },
    spki,
    jwk: (publicKey) => keyOf(publicKey)?.export({ format: 'jwk' }),
    jwsAlgorithm: () => curve.jws,
    signatureAlgorithm: (name) => sequence(oid(ecdsaWith[name])),
  };
}

function digestOf({ form, bytes, hash }: SignatureInput): Uint8Array {
  return form === 'digest' ? bytes : hashOf(hash, bytes);
}

/** node:crypto verifies messages alone. All of it is public, so JavaScript's time may depend on it. */
function verifyDigest(
  noble: Curve['noble'],
  parts: { publicKey: Uint8Array; input: SignatureInput; signature: Uint8Array },
): boolean {
  const curve = inJavaScript(noble);
  try {
    const [publicKey, digest, signature] = [parts.publicKey, parts.input.bytes, parts.signature].map(
      (bytes) => Uint8Array.from(bytes),
    ) as [Uint8Array, Uint8Array, Uint8Array];
    const format = parts.input.encoding === 'der' ? 'der' : 'compact';
    return curve.verify(signature, digest, publicKey, { prehash: false, lowS: false, format });
  } catch {
    return false;
  }
}

const ecPublicKey = '1.2.840.10045.2.1';

/** RFC 5480 §2. */
function ecSpki(curve: string, point: Uint8Array): Uint8Array {
  return sequence(sequence(oid(ecPublicKey), oid(curve)), bitString(point));
}

/** @returns undefined unless it is an uncompressed point of the curve */
export function ecKey(curve: string, scalarBytes: number, point: Uint8Array): KeyObject | undefined {
  if (point.length !== 1 + 2 * scalarBytes || point[0] !== 4) return undefined;
  try {
    return createPublicKey({ key: Buffer.from(ecSpki(curve, point)), format: 'der', type: 'spki' });
  } catch {
    return undefined;
  }
}

export const p256Oid = '1.2.840.10045.3.1.7';

export const ecdsaP256 = ecdsa({
  ...{ oid: p256Oid, scalarBytes: 32, hash: 'sha256', jws: 'ES256', cost: 'short', noble: 'p256' },
});
export const ecdsaP384 = ecdsa({
  ...{ oid: '1.3.132.0.34', scalarBytes: 48, hash: 'sha384', jws: 'ES384', cost: 'medium', noble: 'p384' },
});
export const ecdsaP521 = ecdsa({
  ...{ oid: '1.3.132.0.35', scalarBytes: 66, hash: 'sha512', jws: 'ES512', cost: 'medium', noble: 'p521' },
});
/** SEC 2 §2.4.1. */
export const ecdsaSecp256k1 = ecdsa({
  ...{
    oid: '1.3.132.0.10',
    scalarBytes: 32,
    hash: 'sha256',
    jws: 'ES256K',
    cost: 'medium',
    noble: 'secp256k1',
  },
});
