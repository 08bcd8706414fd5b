import { createHash } from 'node:crypto';
import { ml_dsa44, ml_dsa65, ml_dsa87 } from '@noble/post-quantum/ml-dsa.js';
import { beforeAll, describe, expect, test } from 'vitest';
import type { HashName } from '../../../src/crypto/signatures/hashes.ts';
import { loadInJavaScript } from '../../../src/crypto/signatures/in-javascript.ts';
import { schemes } from '../../../src/crypto/signatures/schemes.ts';
import { type SignAlgorithm, signAlgorithms } from '../../../src/crypto/suites.ts';
import { committedCases, hex, largeList, largeSets } from '../../support/vectors.ts';
import { expectVerdict, muOf, optionalHex, verifies } from './support.ts';

// Published answers. Signing is random in all of ours but Ed25519 and PKCS #1 v1.5 (ECDSA in the token, salts, hedging),
// so a published signature is verified, and published seeds give published public keys; what is signed here is verified
// by other software in interop.test.ts. HashML-DSA and the internal interface without mu (FIPS 204 §5.4, §6) are none of
// ours, nor are expanded private keys.

const absent = 'the set is not at hand';

beforeAll(() => loadInJavaScript());

interface Committed {
  readonly source: string;
  readonly algorithm: SignAlgorithm;
  readonly publicKey: string;
  readonly message: string;
  readonly signature: string;
  readonly result: string;
  readonly flags: readonly string[];
  readonly context?: string;
  readonly mu?: string;
  readonly seed?: string;
  readonly hash?: HashName;
  readonly encoding?: 'der' | 'p1363';
}

const decoded = (text: string) => Uint8Array.from(Buffer.from(text, 'base64'));

/** Guarantees the published answers that are committed with the project: each algorithm has some. */
test('committed vectors', () => {
  const cases = committedCases<Committed>('signatures');
  for (const { source, algorithm, result, seed, mu, context, ...rest } of cases) {
    const claim = {
      ...{ publicKey: decoded(rest.publicKey), message: decoded(rest.message) },
      ...{
        signature: decoded(rest.signature),
        context: context === undefined ? undefined : decoded(context),
      },
      ...{ hash: rest.hash, encoding: rest.encoding },
    };
    const { hashes } = schemes[algorithm];
    const hash = rest.hash ?? hashes[0];
    expectVerdict(algorithm, claim, { expected: result === 'valid', told: source, ...(hash && { hash }) });
    if (mu !== undefined)
      expect(verifies(algorithm, { ...claim, context: undefined }, { form: 'mu', bytes: decoded(mu) })).toBe(
        true,
      );
    const scheme = schemes[algorithm];
    if (seed === undefined || scheme.kind !== 'seed') continue;
    expect(Buffer.from(scheme.publicKeyOf(decoded(seed)) ?? []).toString('base64')).toBe(rest.publicKey);
  }
  expect(new Set(cases.map(({ algorithm }) => algorithm))).toEqual(new Set(signAlgorithms));
});

/** Guarantees that a composite with one good half is refused, whichever it is. */
test.each(['ml-dsa-65-ed25519', 'ml-dsa-65-p256'] as const)('%s with one good half', (algorithm) => {
  const [plain, bound] = committedCases<Committed>('signatures').filter((one) => one.algorithm === algorithm);
  if (plain === undefined || bound?.context === undefined) throw new Error('no cases');
  const publicKey = decoded(plain.publicKey);
  const message = decoded(plain.message);
  const claim = { publicKey, message };
  const [one, other] = [decoded(plain.signature), decoded(bound.signature)];
  const mlDsaBytes = 3309;
  expect(verifies(algorithm, { ...claim, signature: one })).toBe(true);
  const mixed = [
    Buffer.concat([one.subarray(0, mlDsaBytes), other.subarray(mlDsaBytes)]),
    Buffer.concat([other.subarray(0, mlDsaBytes), one.subarray(mlDsaBytes)]),
    one.subarray(0, mlDsaBytes),
    one.subarray(mlDsaBytes),
    Buffer.concat([one.subarray(mlDsaBytes), one.subarray(0, mlDsaBytes)]),
  ];
  for (const signature of mixed) expect(verifies(algorithm, { ...claim, signature })).toBe(false);
  // A half by itself is no signature of its own algorithm: its message and context are the composite's.
  const first = { publicKey: publicKey.subarray(0, 1952), message, signature: one.subarray(0, mlDsaBytes) };
  expect(verifies('ml-dsa-65', first)).toBe(false);
});

interface WycheproofCase {
  readonly tcId: number;
  readonly msg: string;
  readonly sig: string;
  readonly ctx?: string;
  readonly mu?: string;
  readonly result: 'valid' | 'invalid' | 'acceptable';
  readonly flags: readonly string[];
}

interface WycheproofGroup {
  readonly publicKey: { readonly uncompressed: string; readonly pk: string } & string;
  readonly publicKeyAsn: string;
  readonly privateSeed: string;
  readonly sha: string;
  readonly mgfSha: string;
  readonly sLen: number;
  readonly keySize: number;
  readonly tests: readonly WycheproofCase[];
}

const ecdsaSets = [
  ['ecdsa-p256', 'secp256r1_sha256', 'sha256'],
  ['ecdsa-p384', 'secp384r1_sha384', 'sha384'],
  ['ecdsa-p521', 'secp521r1_sha512', 'sha512'],
  ['ecdsa-secp256k1', 'secp256k1_sha256', 'sha256'],
] as const;

describe.each(ecdsaSets)('Wycheproof, %s', (algorithm, set, hash) => {
  /**
   * Guarantees every published verdict, of the message and of its digest, in both encodings: valid is valid, whatever
   * else its flags say, and everything invalid is refused (BER, other lengths, ranges, other types).
   */
  test.for(['der', 'p1363'] as const)('%s', { timeout: 300_000 }, (encoding, { skip }) => {
    const groups = largeSets<WycheproofGroup>(
      `wycheproof/ecdsa_${set}${encoding === 'der' ? '' : '_p1363'}_test`,
    );
    skip(groups.length === 0, absent);
    let count = 0;
    for (const { publicKey, tests } of groups) {
      for (const { tcId, msg, sig, result } of tests) {
        const claim = { publicKey: hex(publicKey.uncompressed), message: hex(msg), signature: hex(sig) };
        expectVerdict(algorithm, { ...claim, encoding }, { expected: result === 'valid', hash, told: tcId });
        count += 1;
      }
    }
    expect(count).toBeGreaterThan(250);
  });
});

/** Guarantees every published verdict on Ed25519: truncated, with garbage, malleable, wrong. */
test('Wycheproof, Ed25519', ({ skip }) => {
  const groups = largeSets<WycheproofGroup>('wycheproof/ed25519_test');
  skip(groups.length === 0, absent);
  let count = 0;
  for (const { publicKey, tests } of groups) {
    for (const { tcId, msg, sig, result } of tests) {
      const claim = { publicKey: hex(publicKey.pk), message: hex(msg), signature: hex(sig) };
      expectVerdict('ed25519', claim, { expected: result === 'valid', told: tcId });
      count += 1;
    }
  }
  expect(count).toBeGreaterThan(100);
});

/**
 * Guarantees one reading of Ed25519's edge cases, where RFC 8032 leaves a choice: without the cofactor, so a residue of
 * low order is refused; R compared as bytes, so one that is not canonical is refused, and a hash over a re-encoded R or
 * A is another hash; A or R of low order is refused. Components of low order by themselves are no reason.
 */
test('CCTV, Ed25519', ({ skip }) => {
  const cases = largeList<{
    number: string;
    key: string;
    sig: string;
    msg: string;
    flags?: readonly string[];
  }>('cctv/ed25519vectors');
  skip(cases.length === 0, absent);
  const refusing = new Set([
    ...['low_order_A', 'low_order_R', 'low_order_residue', 'non_canonical_R', 'reencoded_k'],
  ]);
  for (const { number, key, sig, msg, flags } of cases) {
    const claim = { publicKey: hex(key), message: Buffer.from(msg), signature: hex(sig) };
    const expected = !(flags ?? []).some((flag) => refusing.has(flag));
    expectVerdict('ed25519', claim, { expected, told: [number, flags] });
  }
  expect(cases).toHaveLength(914);
});

const hashNameOf = (sha: string) => sha.replace('SHA-', 'sha') as HashName;
const rsaSizes = [2048, 3072, 4096] as const;

const pssSets = [
  'rsa_pss_2048_sha256_mgf1_32',
  'rsa_pss_2048_sha384_mgf1_48',
  'rsa_pss_3072_sha256_mgf1_32',
  'rsa_pss_4096_sha256_mgf1_32',
  'rsa_pss_4096_sha384_mgf1_48',
  'rsa_pss_4096_sha512_mgf1_64',
  'rsa_pss_misc',
] as const;

/**
 * Guarantees every published verdict on PSS where the salt is as long as the digest and MGF1 has its hash, of the message
 * and of its digest; other salts, other hashes in MGF1, SHA-1 and SHA-224 (`rsa_pss_misc`) are refused.
 */
test.for(pssSets)('Wycheproof, %s', { timeout: 120_000 }, (set, { skip }) => {
  const groups = largeSets<WycheproofGroup>(`wycheproof/${set}_test`);
  skip(groups.length === 0, absent);
  let taken = 0;
  for (const { publicKeyAsn, sha, mgfSha, sLen, keySize, tests } of groups) {
    const algorithm = `rsa-pss-${keySize as (typeof rsaSizes)[number]}` as const;
    const known = ['SHA-256', 'SHA-384', 'SHA-512'].includes(sha);
    const hash = known ? hashNameOf(sha) : 'sha256';
    const ours = known && mgfSha === sha && sLen * 8 === Number(sha.slice(4));
    for (const { tcId, msg, sig, result } of tests) {
      const claim = { publicKey: hex(publicKeyAsn), message: hex(msg), signature: hex(sig), hash };
      const expected = ours && result === 'valid';
      expectVerdict(algorithm, claim, { expected, hash, told: tcId });
      if (expected) taken += 1;
    }
  }
  expect(taken).toBe(set === 'rsa_pss_misc' ? 3 : taken);
  expect(taken).toBeGreaterThan(2);
});

const pkcs1Sets = ['2048_sha256', '2048_sha384', '2048_sha512', '3072_sha384', '4096_sha512'] as const;

/**
 * Guarantees every published verdict on PKCS #1 v1.5, of the message and of its digest. `MissingNull`, which Wycheproof
 * finds acceptable, is refused: a DigestInfo has one encoding here (RFC 8017 §9.2 note 1). Groups with a modulus of
 * another length than the algorithm's (`SmallPublicKey`) are refused by their signatures' length.
 */
test.for(pkcs1Sets)('Wycheproof, rsa_signature_%s', { timeout: 120_000 }, (set, { skip }) => {
  const groups = largeSets<WycheproofGroup>(`wycheproof/rsa_signature_${set}_test`);
  skip(groups.length === 0, absent);
  const algorithm = `rsa-pkcs1-${Number(set.slice(0, 4)) as (typeof rsaSizes)[number]}` as const;
  let count = 0;
  for (const { publicKeyAsn, sha, tests } of groups) {
    for (const { tcId, msg, sig, result, flags } of tests) {
      const hash = hashNameOf(sha);
      const claim = { publicKey: hex(publicKeyAsn), message: hex(msg), signature: hex(sig), hash };
      const expected = result === 'valid' && hex(sig).length === Number(set.slice(0, 4)) / 8;
      expectVerdict(algorithm, claim, { expected, hash, told: [tcId, flags] });
      count += 1;
    }
  }
  expect(count).toBeGreaterThan(250);
});

const mlDsaSets = [
  ['ml-dsa-44', '44', ml_dsa44],
  ['ml-dsa-65', '65', ml_dsa65],
  ['ml-dsa-87', '87', ml_dsa87],
] as const;

describe.each(mlDsaSets)('%s', (algorithm, name, noble) => {
  const scheme = schemes[algorithm];
  if (scheme.kind !== 'seed') throw new Error('no seed');

  /**
   * Guarantees every published verdict: hints, norms, lengths, contexts. A context over 255 bytes and keys of another
   * length never get so far: routes and rows refuse them.
   */
  test('Wycheproof, verify', { timeout: 120_000 }, ({ skip }) => {
    const groups = largeSets<WycheproofGroup>(`wycheproof/mldsa_${name}_verify_test`);
    skip(groups.length === 0, absent);
    for (const { publicKey, tests } of groups) {
      for (const { tcId, msg, sig, ctx, result, flags } of tests) {
        const context = optionalHex(ctx);
        if ((context?.length ?? 0) > 255) {
          expect([result, flags]).toEqual(['invalid', ['InvalidContext']]);
          continue;
        }
        const claim = { publicKey: hex(publicKey), message: hex(msg), signature: hex(sig), context };
        expectVerdict(algorithm, claim, { expected: result === 'valid', told: [tcId, flags] });
      }
    }
  });

  /**
   * Guarantees public keys of published seeds, published signatures, and that each stands for its mu. Those of the
   * internal interface (`Internal`) have a mu alone. Seeds of another length are a defect here, not an input.
   */
  test('Wycheproof, seeds', { timeout: 120_000 }, ({ skip }) => {
    const groups = largeSets<WycheproofGroup>(`wycheproof/mldsa_${name}_sign_seed_test`);
    skip(groups.length === 0, absent);
    for (const { publicKey, privateSeed, tests } of groups) {
      if (privateSeed.length !== 64) {
        expect(tests.every(({ result }) => result === 'invalid')).toBe(true);
        expect(() => scheme.publicKeyOf(hex(privateSeed))).toThrow();
        continue;
      }
      expect(Buffer.from(scheme.publicKeyOf(hex(privateSeed)) ?? []).toString('hex')).toBe(publicKey);
      for (const { tcId, msg, sig, ctx, mu, result, flags } of tests) {
        if (result === 'invalid') continue;
        const claim = { publicKey: hex(publicKey), message: hex(msg ?? ''), signature: hex(sig) };
        const context = optionalHex(ctx);
        if (!flags.includes('Internal')) {
          expectVerdict(algorithm, { ...claim, context }, { expected: true, told: [tcId, flags] });
        }
        if (mu !== undefined) {
          const verdict = verifies(algorithm, claim, { form: 'mu', bytes: hex(mu) });
          expect([tcId, flags, verdict]).toEqual([tcId, flags, true]);
        }
      }
    }
  });

  interface AcvpGroup {
    readonly parameterSet: string;
    readonly signatureInterface: string;
    readonly preHash: string;
    readonly externalMu: boolean;
    readonly tests: readonly {
      readonly tcId: number;
      readonly seed: string;
      readonly pk: string;
      readonly sk: string;
      readonly message: string;
      readonly mu: string;
      readonly context: string;
      readonly signature: string;
      readonly testPassed?: boolean;
    }[];
  }

  /** Guarantees NIST’s public keys of seeds, its signatures, and its verdicts, of messages and of mu. */
  test('ACVP', { timeout: 120_000 }, ({ skip }) => {
    const mine = (set: string) =>
      largeSets<AcvpGroup>(`acvp/ML-DSA-${set}`).filter(
        ({ parameterSet }) => parameterSet === algorithm.toUpperCase(),
      );
    const made = mine('keyGen-FIPS204.internalProjection');
    const judged = [...mine('sigGen-FIPS204.joined'), ...mine('sigVer-FIPS204.internalProjection')];
    skip(made.length === 0 || judged.length === 0, absent);
    for (const { seed, pk } of made.flatMap(({ tests }) => tests))
      expect(Buffer.from(scheme.publicKeyOf(hex(seed)) ?? []).toString('hex')).toBe(pk.toLowerCase());
    let count = 0;
    for (const { signatureInterface, preHash, externalMu, tests } of judged) {
      const form = signatureInterface === 'external' ? 'message' : 'mu';
      if (form === 'message' ? preHash !== 'pure' : !externalMu) continue;
      for (const { tcId, sk, pk, message, mu, context, signature, testPassed = true } of tests) {
        const publicKey = pk === undefined ? noble.getPublicKey(hex(sk)) : hex(pk);
        const claim = { publicKey, message: hex(message ?? ''), signature: hex(signature) };
        const asked = form === 'mu' ? ({ form, bytes: hex(mu) } as const) : { context: hex(context) };
        expect([tcId, verifies(algorithm, claim, asked)]).toEqual([tcId, testPassed]);
        count += 1;
      }
    }
    expect(count).toBeGreaterThan(15);
  });

  /** Guarantees that what is signed of a mu is a signature of the message, as OpenSSL has it, and in no other context. */
  test('mu stands for the message', () => {
    const seed = new Uint8Array(32).fill(7);
    const publicKey = scheme.publicKeyOf(seed) ?? new Uint8Array(0);
    const [message, context] = [Buffer.from('a message'), Buffer.from('a context')];
    const mu = { form: 'mu', bytes: muOf(publicKey, message, context) } as const;
    const signature = scheme.sign(seed, {
      ...mu,
      context: new Uint8Array(0),
      hash: 'sha512',
      encoding: 'der',
    });
    const claim = { publicKey, message, signature };
    expect(verifies(algorithm, { ...claim, context })).toBe(true);
    expect(verifies(algorithm, claim)).toBe(false);
    expect(verifies(algorithm, claim, mu)).toBe(true);
  });
});

// Of CCTV, ML-DSA/accumulated: signatures are deterministic there, so @noble/post-quantum makes them.
const accumulated = {
  'ml-dsa-44': 'd51148e1f9f4fa1a723a6cf42e25f2a99eb5c1b378b3d2dbbd561b1203beeae4',
} as const;

/** Guarantees the accumulated answer of a hundred random seeds: their public keys, and that signatures verify. */
test('accumulated, ml-dsa-44', { timeout: 120_000 }, () => {
  const seeds = createHash('shake128', { outputLength: 3200 }).digest();
  const answer = createHash('shake128', { outputLength: 32 });
  const scheme = schemes['ml-dsa-44'];
  if (scheme.kind !== 'seed') throw new Error('no seed');
  for (let at = 0; at < 3200; at += 32) {
    const seed = Uint8Array.from(seeds.subarray(at, at + 32));
    const publicKey = scheme.publicKeyOf(seed) ?? new Uint8Array(0);
    const { secretKey } = ml_dsa44.keygen(seed);
    const signature = ml_dsa44.sign(new Uint8Array(0), secretKey, { extraEntropy: false });
    expect(verifies('ml-dsa-44', { publicKey, message: new Uint8Array(0), signature })).toBe(true);
    answer.update(publicKey).update(signature);
  }
  expect(answer.digest('hex')).toBe(accumulated['ml-dsa-44']);
});

const slhDsa = signAlgorithms.filter((name) => name.startsWith('slh-dsa-'));

describe.each(slhDsa)('%s', (algorithm) => {
  const scheme = schemes[algorithm];
  if (scheme.kind !== 'seed') throw new Error('no seed');

  /** Guarantees NIST’s public keys: a private key is taken as it stands, root and all. */
  test('ACVP', ({ skip }) => {
    const groups = largeSets<{ parameterSet: string; tests: readonly { sk: string; pk: string }[] }>(
      'acvp/SLH-DSA-keyGen-FIPS205.internalProjection',
    );
    skip(groups.length === 0, absent);
    const named = (name: string) => name.toLowerCase() === algorithm;
    const tests = groups.filter(({ parameterSet }) => named(parameterSet)).flatMap((group) => group.tests);
    for (const { sk, pk } of tests)
      expect(Buffer.from(scheme.publicKeyOf(hex(sk)) ?? []).toString('hex')).toBe(pk.toLowerCase());
    expect(tests).toHaveLength(10);
  });

  /** Guarantees Tink’s signature of each set, in its context and no other. */
  test('Tink', ({ skip }) => {
    const cases =
      largeList<Record<'name' | 'sk' | 'pk' | 'msg' | 'ctx' | 'sig', string>>('slhdsa/tink-slhdsa-kat');
    skip(cases.length === 0, absent);
    const found = cases.filter(({ name }) => name.toLowerCase() === algorithm);
    for (const { pk, msg, ctx, sig } of found) {
      const claim = { publicKey: hex(pk), message: hex(msg), signature: hex(sig), context: hex(ctx) };
      expectVerdict(algorithm, claim, { expected: true, told: algorithm });
      expect(verifies(algorithm, { ...claim, context: undefined })).toBe(false);
    }
    expect(found.length).toBeGreaterThan(0);
  });
});
