import { createECDH, createPrivateKey, sign, verify } from 'node:crypto';
import { concatBytes, utf8, wipe } from '../../core/bytes.ts';
import { octetString, oid, sequence, tagged } from './der.ts';
import { ecKey, p256Oid } from './ecdsa.ts';
import { ed25519 } from './ed25519.ts';
import { hashOf } from './hashes.ts';
import { mlDsa65 } from './ml-dsa.ts';
import { plainSpki } from './native.ts';
import type { SeedScheme, SignatureInput } from './signature.ts';

/** The classical half. */
interface Traditional {
  readonly publicKeyBytes: number;
  readonly maxSignatureBytes: number;
  publicKeyOf(seed: Uint8Array): Uint8Array | undefined;
  sign(seed: Uint8Array, publicKey: Uint8Array, message: Uint8Array): Uint8Array;
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
}

const seedBytes = 32;
const mlDsaPublicKeyBytes = 1952;
const mlDsaSignatureBytes = 3309;
const prefix = utf8('CompositeAlgorithmSignatures2025');

/**
 * ML-DSA-65 and a classical signature over one message, draft-ietf-lamps-pq-composite-sigs-19: it holds while one of
 * the two stands, and verifies only if both do (§4.3). Keys and signatures are ML-DSA's part and then the other (§5);
 * so is the seed, whose classical half is bare. The hash of the message is SHA-512.
 */
function composite(label: string, dotted: string, traditional: Traditional): SeedScheme {
  const labelBytes = utf8(label);

  /** M', §3.2. */
  function representative({ form, bytes, context }: SignatureInput): Uint8Array {
    const hashed = form === 'digest' ? bytes : hashOf('sha512', bytes);
    return concatBytes(prefix, labelBytes, Uint8Array.of(context.length), context, hashed);
  }

  /** The label is the context of the inner ML-DSA. */
  const inner = (bytes: Uint8Array): SignatureInput => ({
    ...{ form: 'message', bytes, context: labelBytes, hash: 'sha512', encoding: 'der' },
  });

  const publicKeyOf: SeedScheme['publicKeyOf'] = (seed) => {
    const second = traditional.publicKeyOf(seed.subarray(seedBytes));
    const first = mlDsa65.publicKeyOf(seed.subarray(0, seedBytes));
    return first && second && concatBytes(first, second);
  };

  return {
    kind: 'seed',
    forms: ['digest'],
    hasContext: true,
    hashes: ['sha512'],
    encodings: false,
    maxSignatureBytes: mlDsaSignatureBytes + traditional.maxSignatureBytes,
    cost: (operation) => (operation === 'sign' ? 'medium' : 'short'),
    publicKeyOf,
    sign(seed, input) {
      const message = representative(input);
      const classical = seed.subarray(seedBytes);
      const publicKey = traditional.publicKeyOf(classical);
      if (publicKey === undefined) throw new RangeError('the seed is no private key');
      const first = mlDsa65.sign(seed.subarray(0, seedBytes), inner(message));
      return concatBytes(first, traditional.sign(classical, publicKey, message));
    },
    verify(publicKey, input, signature) {
      if (publicKey.length !== mlDsaPublicKeyBytes + traditional.publicKeyBytes) return false;
      const message = representative(input);
      const [first, second] = halves(signature, mlDsaSignatureBytes);
      const [mlDsaKey, classicalKey] = halves(publicKey, mlDsaPublicKeyBytes);
      return (
        mlDsa65.verify(mlDsaKey, inner(message), first) && traditional.verify(classicalKey, message, second)
      );
    },
    spki: (publicKey) => plainSpki(dotted, publicKey),
    jwk: () => undefined,
    jwsAlgorithm: () => undefined,
    signatureAlgorithm: () => sequence(oid(dotted)),
  };
}

function halves(bytes: Uint8Array, at: number): [Uint8Array, Uint8Array] {
  return [bytes.subarray(0, at), bytes.subarray(at)];
}

const plain = (bytes: Uint8Array): SignatureInput => ({
  ...{ form: 'message', bytes, context: new Uint8Array(0), hash: 'sha256', encoding: 'der' },
});

const ed25519Half: Traditional = {
  publicKeyBytes: 32,
  maxSignatureBytes: 64,
  publicKeyOf: ed25519.publicKeyOf,
  sign: (seed, _, message) => ed25519.sign(seed, plain(message)),
  verify: (publicKey, message, signature) => ed25519.verify(publicKey, plain(message), signature),
};

/** ECDSA over P-256 with SHA-256, in process memory: its half of the key is as much a seed as the other. */
const p256Half: Traditional = {
  publicKeyBytes: 65,
  maxSignatureBytes: 72,
  publicKeyOf(seed) {
    const ecdh = createECDH('prime256v1');
    try {
      // Refuses zero and what is not below the order (SP 800-186 §3.1).
      ecdh.setPrivateKey(seed);
    } catch {
      return undefined;
    }
    return ecdh.getPublicKey();
  },
  sign(seed, publicKey, message) {
    // RFC 5915 §3 inside of RFC 5958 §2.
    const key = sequence(
      Uint8Array.of(2, 1, 1),
      octetString(seed),
      tagged(0xa1, tagged(0x03, Uint8Array.of(0), publicKey)),
    );
    const pkcs8 = sequence(
      Uint8Array.of(2, 1, 0),
      sequence(oid('1.2.840.10045.2.1'), oid(p256Oid)),
      octetString(key),
    );
    try {
      const der = Buffer.from(pkcs8.buffer, pkcs8.byteOffset, pkcs8.length);
      return sign('sha256', message, createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
    } finally {
      wipe(key, pkcs8);
    }
  },
  verify(publicKey, message, signature) {
    const key = ecKey(p256Oid, 32, publicKey);
    return key !== undefined && verify('sha256', message, key, signature);
  },
};

export const compositeSchemes = {
  'ml-dsa-65-ed25519': composite('COMPSIG-MLDSA65-Ed25519-SHA512', '1.3.6.1.5.5.7.6.48', ed25519Half),
  'ml-dsa-65-p256': composite('COMPSIG-MLDSA65-ECDSA-P256-SHA512', '1.3.6.1.5.5.7.6.45', p256Half),
} as const;
