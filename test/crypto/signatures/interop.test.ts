import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  verify,
} from 'node:crypto';
import { ed25519 } from '@noble/curves/ed25519.js';
import { p256, p384, p521 } from '@noble/curves/nist.js';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { ml_dsa44, ml_dsa65, ml_dsa87 } from '@noble/post-quantum/ml-dsa.js';
import {
  slh_dsa_sha2_128f,
  slh_dsa_sha2_128s,
  slh_dsa_sha2_192s,
  slh_dsa_sha2_256s,
} from '@noble/post-quantum/slh-dsa.js';
import { beforeAll, describe, expect, test } from 'vitest';
import { loadInJavaScript } from '../../../src/crypto/signatures/in-javascript.ts';
import { inputOf, schemes } from '../../../src/crypto/signatures/schemes.ts';
import type { SignAlgorithm } from '../../../src/crypto/suites.ts';
import { muOf, verifies } from './support.ts';

// Both ways with software that is not OpenSSL: @noble signs and this project verifies, and the reverse.

beforeAll(() => loadInJavaScript());

const message = Buffer.from('a message');
const context = Buffer.from('a context');
const bytes = (from: Uint8Array) => Uint8Array.from(from);

function ours(algorithm: SignAlgorithm) {
  const scheme = schemes[algorithm];
  if (scheme.kind !== 'seed') throw new Error('no seed');
  return scheme;
}

const mlDsa = { 'ml-dsa-44': ml_dsa44, 'ml-dsa-65': ml_dsa65, 'ml-dsa-87': ml_dsa87 } as const;

describe.each(Object.entries(mlDsa))('%s', (name, noble) => {
  const algorithm = name as keyof typeof mlDsa;
  /** Guarantees both ways with a context, and by mu, from one seed. */
  test('with @noble/post-quantum', () => {
    const seed = new Uint8Array(32).fill(9);
    const pair = noble.keygen(seed);
    const scheme = ours(algorithm);
    expect(Buffer.from(scheme.publicKeyOf(seed) ?? []).equals(pair.publicKey)).toBe(true);
    const signature = scheme.sign(seed, inputOf(scheme, { form: 'message', bytes: message, context }));
    expect(noble.verify(bytes(signature), bytes(message), pair.publicKey, { context: bytes(context) })).toBe(
      true,
    );
    const theirs = noble.sign(bytes(message), pair.secretKey, { context: bytes(context) });
    expect(verifies(algorithm, { publicKey: pair.publicKey, message, signature: theirs, context })).toBe(
      true,
    );
    const mu = muOf(pair.publicKey, message, context);
    const ofMu = scheme.sign(seed, inputOf(scheme, { form: 'mu', bytes: mu }));
    expect(noble.verify(bytes(ofMu), bytes(message), pair.publicKey, { context: bytes(context) })).toBe(true);
    // Hedged: another each time.
    expect(scheme.sign(seed, inputOf(scheme, { form: 'message', bytes: message, context }))).not.toEqual(
      signature,
    );
  });
});

const slhDsa = {
  'slh-dsa-sha2-128f': slh_dsa_sha2_128f,
  'slh-dsa-sha2-128s': slh_dsa_sha2_128s,
  'slh-dsa-sha2-192s': slh_dsa_sha2_192s,
  'slh-dsa-sha2-256s': slh_dsa_sha2_256s,
} as const;

describe.each(Object.entries(slhDsa))('%s', (name, noble) => {
  const algorithm = name as keyof typeof slhDsa;
  /**
   * Guarantees that @noble verifies what we sign with a pair that OpenSSL drew; the fast set the other way too (the
   * small ones take it minutes).
   */
  test('with @noble/post-quantum', { timeout: 240_000 }, async () => {
    const scheme = ours(algorithm);
    const seed = (await scheme.draw?.()) ?? new Uint8Array(0);
    const publicKey = scheme.publicKeyOf(seed) ?? new Uint8Array(0);
    const signature = scheme.sign(seed, inputOf(scheme, { form: 'message', bytes: message, context }));
    expect(
      noble.verify(bytes(signature), bytes(message), bytes(publicKey), { context: bytes(context) }),
    ).toBe(true);
    if (algorithm !== 'slh-dsa-sha2-128f') return;
    const theirs = noble.sign(bytes(message), bytes(seed), { context: bytes(context) });
    expect(verifies(algorithm, { publicKey, message, signature: theirs, context })).toBe(true);
  });
});

/** Guarantees Ed25519 both ways, to the byte: it is deterministic. */
test('ed25519 with @noble/curves', () => {
  const seed = new Uint8Array(32).fill(5);
  const scheme = ours('ed25519');
  const publicKey = ed25519.getPublicKey(seed);
  expect(Buffer.from(scheme.publicKeyOf(seed) ?? []).equals(publicKey)).toBe(true);
  const signature = ed25519.sign(bytes(message), seed);
  expect(
    Buffer.from(scheme.sign(seed, inputOf(scheme, { form: 'message', bytes: message }))).equals(signature),
  ).toBe(true);
  expect(verifies('ed25519', { publicKey, message, signature })).toBe(true);
});

const curves = {
  'ecdsa-p256': [p256, 'sha256', 'prime256v1'],
  'ecdsa-p384': [p384, 'sha384', 'secp384r1'],
  'ecdsa-p521': [p521, 'sha512', 'secp521r1'],
  'ecdsa-secp256k1': [secp256k1, 'sha256', 'secp256k1'],
} as const;

/** Guarantees that what @noble signs is taken, in both encodings, of messages and digests, high s or low. */
test.each(Object.entries(curves))('%s with @noble/curves', (name, [curve, hash, namedCurve]) => {
  const algorithm = name as keyof typeof curves;
  const { secretKey } = curve.keygen();
  const publicKey = curve.getPublicKey(secretKey, false);
  const digest = createHash(hash).update(message).digest();
  for (const encoding of ['der', 'p1363'] as const) {
    const format = encoding === 'der' ? 'der' : 'compact';
    const signature = curve.sign(bytes(digest), secretKey, { prehash: false, format, lowS: false });
    expect(verifies(algorithm, { publicKey, message, signature, encoding })).toBe(true);
    const asked = { form: 'digest', bytes: digest } as const;
    expect(verifies(algorithm, { publicKey, message, signature, encoding }, asked)).toBe(true);
  }
  // OpenSSL, too, whose signatures have either s.
  const made = generateKeyPairSync('ec', { namedCurve });
  const raw = made.publicKey.export({ format: 'der', type: 'spki' }).subarray(-publicKey.length);
  for (let round = 0; round < 4; round += 1) {
    const signature = sign(hash, message, made.privateKey);
    expect(verifies(algorithm, { publicKey: raw, message, signature })).toBe(true);
  }
});

/** Guarantees that a composite's halves are what OpenSSL makes of its parts, put together word for word as the draft has it. */
test('a composite written down a second time', () => {
  const scheme = ours('ml-dsa-65-ed25519');
  const [first, second] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
  const label = Buffer.from('COMPSIG-MLDSA65-Ed25519-SHA512');
  const representative = Buffer.concat([
    ...[Buffer.from('CompositeAlgorithmSignatures2025'), label, Buffer.of(context.length), context],
    createHash('sha512').update(message).digest(),
  ]);
  const mlDsaKey = createPrivateKey({ key: first, format: 'raw-seed', asymmetricKeyType: 'ml-dsa-65' });
  const edKey = createPrivateKey({ key: second, format: 'raw-private', asymmetricKeyType: 'ed25519' });
  const publicKey = Buffer.concat(
    [mlDsaKey, edKey].map((key) => createPublicKey(key).export({ format: 'raw-public' })),
  );
  const seed = Buffer.concat([first, second]);
  expect(Buffer.from(scheme.publicKeyOf(seed) ?? []).equals(publicKey)).toBe(true);
  const written = Buffer.concat([
    sign(null, representative, { key: mlDsaKey, context: label }),
    sign(null, representative, edKey),
  ]);
  expect(verifies('ml-dsa-65-ed25519', { publicKey, message, signature: written, context })).toBe(true);
  const made = scheme.sign(seed, inputOf(scheme, { form: 'message', bytes: message, context }));
  const mlDsaPublic = createPublicKey(mlDsaKey);
  expect(verify(null, representative, { key: mlDsaPublic, context: label }, made.subarray(0, 3309))).toBe(
    true,
  );
  expect(verify(null, representative, createPublicKey(edKey), made.subarray(3309))).toBe(true);
});
