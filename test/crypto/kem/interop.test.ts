import { execFileSync } from 'node:child_process';
import { x25519 } from '@noble/curves/ed25519.js';
import { p256, p384 } from '@noble/curves/nist.js';
import { ml_kem768_x25519 } from '@noble/post-quantum/hybrid.js';
import { ml_kem512, ml_kem768, ml_kem1024 } from '@noble/post-quantum/ml-kem.js';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Kem } from '../../../src/crypto/kem/kem.ts';
import { mlKemSource } from '../../../src/crypto/kem/ml-kem.ts';
import { pairs, publicKeyForms, publicKeyOf } from '../../../src/crypto/kem/pairs.ts';
import { exchangeAlgorithms } from '../../../src/crypto/suites.ts';
import { committedCases, hex } from '../../support/vectors.ts';
import { curves, hexOf } from './support.ts';

function kemOf(name: keyof typeof pairs): Kem {
  const pair = pairs[name];
  if (pair.kind !== 'kem') throw new Error('no KEM');
  return pair.kem;
}

const seeds = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

const kems = [
  { name: 'x-wing', noble: ml_kem768_x25519, seedBytes: 32 },
  { name: 'ml-kem-512', noble: ml_kem512, seedBytes: 64 },
  { name: 'ml-kem-768', noble: ml_kem768, seedBytes: 64 },
  { name: 'ml-kem-1024', noble: ml_kem1024, seedBytes: 64 },
] as const;

describe.each(kems)('$name', ({ name, noble, seedBytes }) => {
  const kem = kemOf(name);

  /** Guarantees that ours and @noble/post-quantum give the same key pair, and open what the other made. */
  test('both ways with noble', () => {
    fc.assert(
      fc.property(seeds(seedBytes), (seed) => {
        const theirs = noble.keygen(Uint8Array.from(seed));
        const ours = kem.privateKey(seed);
        expect(hexOf(ours.publicKey)).toBe(hexOf(theirs.publicKey));
        const made = kem.publicKey(theirs.publicKey)?.encapsulate();
        if (made === undefined) throw new Error('refused');
        expect(hexOf(noble.decapsulate(Uint8Array.from(made.ciphertext), theirs.secretKey))).toBe(
          hexOf(made.sharedSecret),
        );
        const from = noble.encapsulate(Uint8Array.from(ours.publicKey));
        expect(hexOf(ours.decapsulate(from.cipherText))).toBe(hexOf(from.sharedSecret));
      }),
      { numRuns: 20 },
    );
  });

  /** Guarantees that a changed ciphertext gives the secret it gives elsewhere too: another one, without a refusal. */
  test('implicit rejection, alike in both', () => {
    const seed = new Uint8Array(seedBytes).fill(3);
    const theirs = noble.keygen(Uint8Array.from(seed));
    const made = kem.publicKey(theirs.publicKey)?.encapsulate();
    fc.assert(
      fc.property(fc.nat(kem.ciphertextBytes * 8 - 1), (bit) => {
        const changed = Uint8Array.from(made?.ciphertext ?? []);
        changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        const opened = kem.privateKey(seed).decapsulate(changed);
        expect(hexOf(opened)).toBe(hexOf(noble.decapsulate(changed, theirs.secretKey)));
        // Of X25519 the top bit is ignored, but the bytes go into the secret.
        expect(hexOf(opened)).not.toBe(hexOf(made?.sharedSecret));
      }),
      { numRuns: 20 },
    );
  });

  /** Guarantees that keys and ciphertexts of every other length are refused, and seeds of another a defect. */
  test('lengths', () => {
    const key = kem.privateKey(new Uint8Array(seedBytes).fill(3));
    const made = kem.publicKey(key.publicKey)?.encapsulate();
    if (made === undefined) throw new Error('refused');
    for (const length of [0, 1, 31, 32, 1087, kem.ciphertextBytes - 1, kem.ciphertextBytes + 1]) {
      expect(key.decapsulate(new Uint8Array(length))).toBeUndefined();
    }
    for (const length of [0, 32, kem.publicKeyBytes - 1, kem.publicKeyBytes + 1]) {
      expect(kem.publicKey(new Uint8Array(length))).toBeUndefined();
    }
    for (const length of [0, seedBytes - 1, seedBytes + 1]) {
      expect(() => kem.privateKey(new Uint8Array(length))).toThrow(RangeError);
    }
  });
});

/** Guarantees that X-Wing takes no point of low order for its X25519 half, neither in a public key nor a ciphertext. */
test('X-Wing with points of low order', () => {
  const kem = kemOf('x-wing');
  const key = kem.privateKey(new Uint8Array(32).fill(3));
  const made = kem.publicKey(key.publicKey)?.encapsulate();
  for (const low of ['00', '01', 'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800']) {
    const point = Buffer.from(low.padEnd(64, '0'), 'hex');
    const ciphertext = Uint8Array.from([...(made?.ciphertext.subarray(0, 1088) ?? []), ...point]);
    expect(key.decapsulate(ciphertext)).toBeUndefined();
    const publicKey = Uint8Array.from([...key.publicKey.subarray(0, 1184), ...point]);
    expect(kem.publicKey(publicKey)?.encapsulate()).toBeUndefined();
  }
});

const groups = [
  { name: 'x25519', noble: x25519.getPublicKey, shared: x25519.getSharedSecret },
  {
    name: 'p256',
    noble: (secret: Uint8Array) => p256.getPublicKey(secret, false),
    shared: (secret: Uint8Array, peer: Uint8Array) => p256.getSharedSecret(secret, peer).slice(1),
  },
  {
    name: 'p384',
    noble: (secret: Uint8Array) => p384.getPublicKey(secret, false),
    shared: (secret: Uint8Array, peer: Uint8Array) => p384.getSharedSecret(secret, peer).slice(1),
  },
] as const;

describe.each(groups)('$name', ({ name, noble, shared }) => {
  const { agreement, scalarBytes } = curves[name];

  /** Guarantees the public keys and agreements of @noble/curves. */
  test('with noble', async () => {
    await fc.assert(
      fc.asyncProperty(seeds(scalarBytes), seeds(scalarBytes), async (one, other) => {
        const publicKey = agreement.publicKeyOf(one);
        const peer = agreement.publicKeyOf(other);
        fc.pre(publicKey !== undefined && peer !== undefined);
        expect(hexOf(publicKey)).toBe(hexOf(noble(one)));
        expect(hexOf(await agreement.agree({ seed: one, publicKey }, peer))).toBe(hexOf(shared(one, peer)));
      }),
      { numRuns: 20 },
    );
  });

  /** Guarantees that what is no private key is told, so that another seed is drawn. */
  test('seeds that are none', () => {
    const none = [new Uint8Array(scalarBytes), new Uint8Array(scalarBytes).fill(0xff)];
    for (const seed of none) expect(agreement.publicKeyOf(seed) === undefined).toBe(name !== 'x25519');
  });
});

/** Guarantees that Debian's openssl reads the PEM of every algorithm it knows, and finds the raw key in it. */
test('PEM and JWK', () => {
  for (const name of exchangeAlgorithms) {
    const raw = publicKeyOf(name, new Uint8Array(kemSeeds[name]).fill(3));
    if (raw === undefined) throw new Error('no key');
    const { pem, jwk } = publicKeyForms(name, raw);
    expect([name, jwk?.kty]).toEqual([name, kty[name]]);
    // Debian's openssl knows neither ML-KEM nor X-Wing.
    if (pem === undefined || name.startsWith('ml-kem') || name === 'x-wing') continue;
    const der = execFileSync('openssl', ['pkey', '-pubin', '-outform', 'DER'], { input: pem });
    expect(hexOf(der)?.endsWith(hexOf(raw) ?? 'none')).toBe(true);
  }
});

/** Guarantees the draft's own example of an X-Wing public key as SubjectPublicKeyInfo, and its object identifier. */
test('X-Wing in PEM', () => {
  const [example] = committedCases<{ seed: string; pem: string }>('x-wing-spki');
  const raw = publicKeyOf('x-wing', hex(example?.seed ?? '')) ?? new Uint8Array();
  const { pem = '', jwk } = publicKeyForms('x-wing', raw);
  expect([pem, jwk]).toEqual([example?.pem, undefined]);
  const parsed = execFileSync('openssl', ['asn1parse'], { input: pem, encoding: 'utf8' });
  expect(parsed).toMatch(/OBJECT\s+:1\.3\.6\.1\.4\.1\.62253\.25722\n.*BIT STRING/);
});

const kemSeeds = {
  ...{ 'x-wing': 32, 'ml-kem-512': 64, 'ml-kem-768': 64, 'ml-kem-1024': 64 },
  ...{ x25519: 32, p256: 32, p384: 48 },
};
const kty = {
  ...{ 'x-wing': undefined, 'ml-kem-512': 'AKP', 'ml-kem-768': 'AKP', 'ml-kem-1024': 'AKP' },
  ...{ x25519: 'OKP', p256: 'EC', p384: 'EC' },
};

/** Guarantees that a runtime without ML-KEM gets it from the package, with the same keys. */
test('a runtime without ML-KEM', () => {
  expect(mlKemSource).toBe('node:crypto');
  const program = `
    import crypto from 'node:crypto';
    import { syncBuiltinESMExports } from 'node:module';
    crypto.encapsulate = undefined;
    syncBuiltinESMExports();
    const { mlKemSource } = await import('./src/crypto/kem/ml-kem.ts');
    const { publicKeyOf } = await import('./src/crypto/kem/pairs.ts');
    const key = publicKeyOf('x-wing', new Uint8Array(32));
    console.log(mlKemSource, Buffer.from(key).toString('hex'));`;
  const printed = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
  });
  const key = hexOf(publicKeyOf('x-wing', new Uint8Array(32)));
  expect(printed.trim()).toBe(`@noble/post-quantum ${key}`);
});
