import { sign, verify } from 'node:crypto';
import { oid, sequence } from './der.ts';
import {
  type NativeKeys,
  nativeJwk,
  nativePrivateKey,
  nativePublicKey,
  nativePublicKeyOf,
  plainSpki,
} from './native.ts';
import type { SeedScheme } from './signature.ts';

const keys: NativeKeys = {
  ...{ type: 'ed25519', privateFormat: 'raw-private', publicKeyBytes: 32, oid: '1.3.101.112' },
};

/** Ed25519, RFC 8032 §5.1: pure, without a context. Verification is OpenSSL's: cofactorless, S below the order. */
export const ed25519: SeedScheme = {
  kind: 'seed',
  forms: [],
  hasContext: false,
  hashes: [],
  encodings: false,
  maxSignatureBytes: 64,
  cost: () => 'short',
  publicKeyOf: (seed) => nativePublicKeyOf(keys, seed),
  sign: (seed, { bytes }) => sign(null, bytes, nativePrivateKey(keys, seed)),
  verify(publicKey, { bytes }, signature) {
    const key = nativePublicKey(keys, publicKey);
    return key !== undefined && signature.length === 64 && verify(null, bytes, key, signature);
  },
  spki: (publicKey) => plainSpki(keys.oid, publicKey),
  jwk: (publicKey) => nativeJwk(keys, publicKey),
  // RFC 8037 §3.1. RFC 9864 has a fully specified `Ed25519` beside it, which fewer read.
  jwsAlgorithm: () => 'EdDSA',
  signatureAlgorithm: () => sequence(oid(keys.oid)),
};
