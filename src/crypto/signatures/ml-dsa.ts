import { randomFillSync, sign, verify } from 'node:crypto';
import { secretBytes, wipe } from '../../core/bytes.ts';
import { oid, sequence } from './der.ts';
import { inJavaScript } from './in-javascript.ts';
import {
  type NativeKeys,
  nativeJwk,
  nativePrivateKey,
  nativePublicKey,
  nativePublicKeyOf,
  plainSpki,
} from './native.ts';
import type { SeedScheme } from './signature.ts';

interface ParameterSet {
  readonly keys: NativeKeys;
  readonly signatureBytes: number;
  readonly jws: string;
  readonly noble: 'ml_dsa44' | 'ml_dsa65' | 'ml_dsa87';
}

/**
 * ML-DSA, FIPS 204: pure, hedged (§3.4), by OpenSSL from the seed ξ (§3.6.3). The form `mu`, which OpenSSL has and Node
 * does not pass on, is @noble/post-quantum's: slower, and no engine promises constant time.
 */
function mlDsa({ keys, signatureBytes, jws, noble }: ParameterSet): SeedScheme {
  return {
    kind: 'seed',
    forms: ['mu'],
    hasContext: true,
    hashes: [],
    encodings: false,
    maxSignatureBytes: signatureBytes,
    cost: (operation, form) => (operation === 'sign' || form === 'mu' ? 'medium' : 'short'),
    publicKeyOf: (seed) => nativePublicKeyOf(keys, seed),
    sign(seed, { form, bytes, context }) {
      if (form === 'mu') return signMu(noble, seed, bytes);
      return sign(null, bytes, { key: nativePrivateKey(keys, seed), context });
    },
    verify(publicKey, { form, bytes, context }, signature) {
      const key = nativePublicKey(keys, publicKey);
      if (key === undefined || signature.length !== signatureBytes) return false;
      if (form === 'mu') return verifyMu(noble, { publicKey, mu: bytes, signature });
      return verify(null, bytes, { key, context }, signature);
    },
    spki: (publicKey) => plainSpki(keys.oid, publicKey),
    jwk: (publicKey) => nativeJwk(keys, publicKey),
    jwsAlgorithm: () => jws,
    signatureAlgorithm: () => sequence(oid(keys.oid)),
  };
}

function signMu(noble: ParameterSet['noble'], seed: Uint8Array, mu: Uint8Array): Uint8Array {
  const [ownSeed, hedge] = [Uint8Array.from(seed), randomFillSync(secretBytes(32))];
  const mlDsaOf = inJavaScript(noble);
  const { secretKey } = mlDsaOf.keygen(ownSeed);
  try {
    const input = Uint8Array.from(mu);
    return mlDsaOf.internal.sign(input, secretKey, { externalMu: true, extraEntropy: hedge });
  } finally {
    wipe(ownSeed, hedge, secretKey);
  }
}

function verifyMu(
  noble: ParameterSet['noble'],
  parts: { publicKey: Uint8Array; mu: Uint8Array; signature: Uint8Array },
): boolean {
  const [signature, mu, publicKey] = [parts.signature, parts.mu, parts.publicKey].map((bytes) =>
    Uint8Array.from(bytes),
  ) as [Uint8Array, Uint8Array, Uint8Array];
  return inJavaScript(noble).internal.verify(signature, mu, publicKey, { externalMu: true });
}

/** FIPS 204, table 2; object identifiers of RFC 9881 §2; `alg` of RFC 9964. */
export const mlDsa44 = mlDsa({
  keys: {
    ...{ type: 'ml-dsa-44', privateFormat: 'raw-seed', publicKeyBytes: 1312, oid: '2.16.840.1.101.3.4.3.17' },
  },
  ...{ signatureBytes: 2420, jws: 'ML-DSA-44', noble: 'ml_dsa44' },
});
export const mlDsa65 = mlDsa({
  keys: {
    ...{ type: 'ml-dsa-65', privateFormat: 'raw-seed', publicKeyBytes: 1952, oid: '2.16.840.1.101.3.4.3.18' },
  },
  ...{ signatureBytes: 3309, jws: 'ML-DSA-65', noble: 'ml_dsa65' },
});
export const mlDsa87 = mlDsa({
  keys: {
    ...{ type: 'ml-dsa-87', privateFormat: 'raw-seed', publicKeyBytes: 2592, oid: '2.16.840.1.101.3.4.3.19' },
  },
  ...{ signatureBytes: 4627, jws: 'ML-DSA-87', noble: 'ml_dsa87' },
});
