import { constants, createHash, createPublicKey, type KeyObject, publicDecrypt, verify } from 'node:crypto';
import { concatBytes, equalBytes } from '../../core/bytes.ts';
import { bitString, integer, nothing, oid, sequence, tagged } from './der.ts';
import { digestInfo, type HashName, hashBytes, hashNames, hashOf } from './hashes.ts';
import type { SignatureInput, TokenScheme } from './signature.ts';

type Padding = 'pss' | 'pkcs1';

const rsaEncryption = '1.2.840.113549.1.1.1';
const rsassaPss = '1.2.840.113549.1.1.10';
const mgf1 = '1.2.840.113549.1.1.8';
const hashOids: Readonly<Record<HashName, string>> = {
  sha256: '2.16.840.1.101.3.4.2.1',
  sha384: '2.16.840.1.101.3.4.2.2',
  sha512: '2.16.840.1.101.3.4.2.3',
};
const pkcs1With: Readonly<Record<HashName, string>> = {
  sha256: '1.2.840.113549.1.1.11',
  sha384: '1.2.840.113549.1.1.12',
  sha512: '1.2.840.113549.1.1.13',
};

/**
 * RSASSA-PSS and RSASSA-PKCS1-v1_5, RFC 8017 §8. The salt of PSS is as long as the digest, its MGF1 of the same hash:
 * what JWS and TLS 1.3 have. The token signs a digest; this process verifies.
 * @param first the hash without a choice
 */
function rsa(padding: Padding, bits: 2048 | 3072 | 4096, first: HashName): TokenScheme {
  const hashes = [first, ...hashNames.filter((name) => name !== first)] as const;
  const bytes = bits / 8;
  return {
    kind: 'token',
    mechanism: padding === 'pss' ? 'rsa-pss' : 'rsa-pkcs1',
    forms: ['digest'],
    hasContext: false,
    hashes,
    encodings: false,
    maxSignatureBytes: bytes,
    cost: () => 'short',
    tokenInput(input) {
      const digest = digestOf(input);
      return padding === 'pss' ? digest : digestInfo(input.hash, digest);
    },
    fromToken: (signature) => signature,
    verify(publicKey, input, signature) {
      const key = keyOf(publicKey);
      if (key === undefined || signature.length !== bytes) return false;
      if (input.form === 'digest') return verifyDigest(padding, { key, bytes, input, signature });
      if (padding === 'pkcs1') return verify(input.hash, input.bytes, key, signature);
      const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: hashBytes[input.hash] };
      return verify(input.hash, input.bytes, { key, ...pss }, signature);
    },
    spki: (publicKey) => sequence(sequence(oid(rsaEncryption), nothing), bitString(publicKey)),
    jwk: (publicKey) => keyOf(publicKey)?.export({ format: 'jwk' }),
    jwsAlgorithm: (hash) => `${padding === 'pss' ? 'PS' : 'RS'}${hash.slice(3)}`,
    signatureAlgorithm: (hash) =>
      padding === 'pss' ? pssAlgorithm(hash) : sequence(oid(pkcs1With[hash]), nothing),
  };
}

/** RSASSA-PSS-params, RFC 4055 §3.1: hash, MGF1 and salt length differ from their defaults. */
function pssAlgorithm(hash: HashName): Uint8Array {
  const algorithm = sequence(oid(hashOids[hash]), nothing);
  const parameters = sequence(
    tagged(0xa0, algorithm),
    tagged(0xa1, sequence(oid(mgf1), algorithm)),
    tagged(0xa2, integer(Uint8Array.of(hashBytes[hash]))),
  );
  return sequence(oid(rsassaPss), parameters);
}

function digestOf({ form, bytes, hash }: SignatureInput): Uint8Array {
  return form === 'digest' ? bytes : hashOf(hash, bytes);
}

/** @param publicKey RSAPublicKey, RFC 8017 A.1.1 */
function keyOf(publicKey: Uint8Array): KeyObject | undefined {
  try {
    return createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'pkcs1' });
  } catch {
    return undefined;
  }
}

/** node:crypto verifies messages alone; of a digest the padding is checked here, of which nothing is secret. */
function verifyDigest(
  padding: Padding,
  {
    key,
    bytes,
    input,
    signature,
  }: { key: KeyObject; bytes: number; input: SignatureInput; signature: Uint8Array },
): boolean {
  let encoded: Uint8Array;
  try {
    encoded = publicDecrypt({ key, padding: constants.RSA_NO_PADDING }, signature);
  } catch {
    // Not below the modulus, RFC 8017 §5.2.2.
    return false;
  }
  return padding === 'pss'
    ? pssHolds(encoded, input)
    : equalBytes(encoded, pkcs1Encoded(bytes, digestInfo(input.hash, input.bytes)));
}

/** EMSA-PKCS1-v1_5, RFC 8017 §9.2: compared as a whole, so that there is nothing to parse (§8.2.2 note). */
function pkcs1Encoded(bytes: number, info: Uint8Array): Uint8Array {
  const padding = new Uint8Array(bytes - info.length - 3).fill(0xff);
  return concatBytes(Uint8Array.of(0, 1), padding, Uint8Array.of(0), info);
}

/** EMSA-PSS-VERIFY, RFC 8017 §9.1.2, for moduli of whole bytes: one bit of the encoded message is always zero. */
function pssHolds(encoded: Uint8Array, { hash, bytes: digest }: SignatureInput): boolean {
  const hashLength = hashBytes[hash];
  const maskedBytes = encoded.length - hashLength - 1;
  if (encoded.at(-1) !== 0xbc || ((encoded[0] ?? 0x80) & 0x80) !== 0) return false;
  const h = encoded.subarray(maskedBytes, -1);
  const mask = mgf1Of(hash, h, maskedBytes);
  const block = encoded.subarray(0, maskedBytes).map((byte, index) => byte ^ (mask[index] ?? 0));
  block[0] = (block[0] ?? 0) & 0x7f;
  const saltAt = maskedBytes - hashLength;
  const fits = block.subarray(0, saltAt).every((byte, index) => byte === (index === saltAt - 1 ? 1 : 0));
  const salted = concatBytes(new Uint8Array(8), digest, block.subarray(saltAt));
  return fits && equalBytes(hashOf(hash, salted), h);
}

/** RFC 8017 B.2.1. */
function mgf1Of(hash: HashName, seed: Uint8Array, bytes: number): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (let counter = 0; blocks.length * hashBytes[hash] < bytes; counter += 1) {
    const suffix = Buffer.alloc(4);
    suffix.writeUInt32BE(counter);
    blocks.push(createHash(hash).update(seed).update(suffix).digest());
  }
  return concatBytes(...blocks).subarray(0, bytes);
}

export const rsaSchemes = {
  'rsa-pss-2048': rsa('pss', 2048, 'sha256'),
  'rsa-pss-3072': rsa('pss', 3072, 'sha256'),
  'rsa-pss-4096': rsa('pss', 4096, 'sha512'),
  'rsa-pkcs1-2048': rsa('pkcs1', 2048, 'sha256'),
  'rsa-pkcs1-3072': rsa('pkcs1', 3072, 'sha256'),
  'rsa-pkcs1-4096': rsa('pkcs1', 4096, 'sha512'),
} as const;
