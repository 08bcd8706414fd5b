import { generateKeyPair, type KeyObject, sign, verify } from 'node:crypto';
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

/**
 * SLH-DSA with SHA-2, FIPS 205: pure, hedged (§9.2), by OpenSSL. The seed is the private key (§9.1, figure 15), root and
 * all: computing that from the three seeds before it is most of a key generation, and nothing in node:crypto takes them.
 * So OpenSSL draws the pair, in a thread of libuv.
 */
function slhDsa(
  keys: NativeKeys & { readonly type: `slh-dsa-${string}` },
  signatureBytes: number,
): SeedScheme {
  return {
    kind: 'seed',
    forms: [],
    hasContext: true,
    hashes: [],
    encodings: false,
    maxSignatureBytes: signatureBytes,
    cost: (operation) => (operation === 'sign' ? 'long' : 'medium'),
    draw: () =>
      new Promise((resolve, reject) => {
        const drawn = (error: Error | null, _: KeyObject, key: KeyObject) =>
          error === null ? resolve(key.export({ format: keys.privateFormat })) : reject(error);
        // The declarations know each type alone, not their union.
        generateKeyPair(keys.type as 'slh-dsa-sha2-128s', {}, drawn);
      }),
    publicKeyOf: (seed) => nativePublicKeyOf(keys, seed),
    sign: (seed, { bytes, context }) => sign(null, bytes, { key: nativePrivateKey(keys, seed), context }),
    verify(publicKey, { bytes, context }, signature) {
      const key = nativePublicKey(keys, publicKey);
      if (key === undefined || signature.length !== signatureBytes) return false;
      return verify(null, bytes, { key, context }, signature);
    },
    spki: (publicKey) => plainSpki(keys.oid, publicKey),
    jwk: (publicKey) => nativeJwk(keys, publicKey),
    // Not registered: a draft names some of the sets.
    jwsAlgorithm: () => undefined,
    signatureAlgorithm: () => sequence(oid(keys.oid)),
  };
}

const raw = { privateFormat: 'raw-private' } as const;

/** FIPS 205, table 2; object identifiers of RFC 9909 §3. */
export const slhDsaSchemes = {
  'slh-dsa-sha2-128s': slhDsa(
    { type: 'slh-dsa-sha2-128s', publicKeyBytes: 32, oid: '2.16.840.1.101.3.4.3.20', ...raw },
    7856,
  ),
  'slh-dsa-sha2-128f': slhDsa(
    { type: 'slh-dsa-sha2-128f', publicKeyBytes: 32, oid: '2.16.840.1.101.3.4.3.21', ...raw },
    17_088,
  ),
  'slh-dsa-sha2-192s': slhDsa(
    { type: 'slh-dsa-sha2-192s', publicKeyBytes: 48, oid: '2.16.840.1.101.3.4.3.22', ...raw },
    16_224,
  ),
  'slh-dsa-sha2-256s': slhDsa(
    { type: 'slh-dsa-sha2-256s', publicKeyBytes: 64, oid: '2.16.840.1.101.3.4.3.24', ...raw },
    29_792,
  ),
} as const;
