import { expect, test } from 'vitest';
import {
  algorithms,
  cipherSuites,
  decryptAlgorithms,
  exchangeAlgorithms,
  macAlgorithms,
  signAlgorithms,
  suiteByNumber,
  suites,
} from '../../src/crypto/suites.ts';
import { blockUses } from '../../src/keys/usage.ts';

/** Guarantees the numbers written into ciphertexts: they are never reused and never change. */
test('suite numbers stand still', () => {
  const shown = Object.values(cipherSuites).map((suite) => {
    const { name, number, keyBytes, nonceBytes, protection } = suite;
    return [name, number, keyBytes, nonceBytes, protection];
  });
  expect(shown).toEqual([
    ['aes-256-gcm', 1, 32, 12, 'hsm'],
    ['aes-128-gcm', 2, 16, 12, 'hsm'],
    ['chacha20-poly1305', 3, 32, 12, 'hsm-sealed'],
    ['xchacha20-poly1305', 4, 32, 24, 'hsm-sealed'],
    ['xaes-256-gcm', 5, 32, 24, 'derived'],
  ]);
  expect(exchangeAlgorithms.map((name) => [name, suites[name].number, suites[name].keyBytes])).toEqual([
    ['x-wing', 32, 32],
    ['ml-kem-512', 33, 64],
    ['ml-kem-768', 34, 64],
    ['ml-kem-1024', 35, 64],
    ['x25519', 36, 32],
    ['p256', 37, 32],
    ['p384', 38, 48],
  ]);
  expect(decryptAlgorithms.map((name) => [name, suites[name].number, suites[name].keyBytes])).toEqual([
    ['rsa-oaep-2048', 80, 256],
    ['rsa-oaep-3072', 81, 384],
    ['rsa-oaep-4096', 82, 512],
  ]);
  const macs = macAlgorithms.map((name) => {
    const { number, keyBytes, macBytes } = suites[name];
    return [name, number, keyBytes, macBytes];
  });
  expect(macs).toEqual([
    ['hmac-sha-256', 64, 32, 32],
    ['hmac-sha-384', 65, 48, 48],
    ['hmac-sha-512', 66, 64, 64],
    ['aes-128-cmac', 67, 16, 16],
    ['aes-256-cmac', 68, 32, 16],
  ]);
  const signers = signAlgorithms.map((name) => {
    const { number, keyBytes, protection } = suites[name];
    return [name, number, keyBytes, protection];
  });
  expect(signers).toEqual([
    ['ed25519', 96, 32, 'hsm-sealed'],
    ['ecdsa-p256', 97, 32, 'hsm'],
    ['ecdsa-p384', 98, 48, 'hsm'],
    ['ecdsa-p521', 99, 66, 'hsm'],
    ['ecdsa-secp256k1', 100, 32, 'hsm'],
    ['rsa-pss-2048', 101, 256, 'hsm'],
    ['rsa-pss-3072', 102, 384, 'hsm'],
    ['rsa-pss-4096', 103, 512, 'hsm'],
    ['rsa-pkcs1-2048', 104, 256, 'hsm'],
    ['rsa-pkcs1-3072', 105, 384, 'hsm'],
    ['rsa-pkcs1-4096', 106, 512, 'hsm'],
    ['ml-dsa-44', 107, 32, 'hsm-sealed'],
    ['ml-dsa-65', 108, 32, 'hsm-sealed'],
    ['ml-dsa-87', 109, 32, 'hsm-sealed'],
    ['slh-dsa-sha2-128s', 110, 64, 'hsm-sealed'],
    ['slh-dsa-sha2-128f', 111, 64, 'hsm-sealed'],
    ['slh-dsa-sha2-192s', 112, 96, 'hsm-sealed'],
    ['slh-dsa-sha2-256s', 113, 128, 'hsm-sealed'],
    ['ml-dsa-65-ed25519', 114, 64, 'hsm-sealed'],
    ['ml-dsa-65-p256', 115, 64, 'hsm-sealed'],
  ]);
  const { number, keyBytes, protection } = suites['kdf-hmac-sha-256'];
  expect([number, keyBytes, protection]).toEqual([128, 32, 'derived']);
});

/** Guarantees the ids that are bound into keys and proofs, and that a draft's names its version. */
test('suite ids stand still', () => {
  const ids = exchangeAlgorithms.map((name) => suites[name].id);
  expect(ids).toEqual(['x-wing/draft-connolly-cfrg-xwing-kem-10', ...exchangeAlgorithms.slice(1)]);
  expect(signAlgorithms.map((name) => suites[name].id)).toEqual([
    ...signAlgorithms.slice(0, -2),
    'ml-dsa-65-ed25519/draft-ietf-lamps-pq-composite-sigs-19',
    'ml-dsa-65-p256/draft-ietf-lamps-pq-composite-sigs-19',
  ]);
});

/** Guarantees that a number leads to one suite, a suite to its own name, and unknown numbers to none. */
test('suites are found by number', () => {
  const all = Object.values(suites);
  expect(new Set(all.map(({ number }) => number)).size).toBe(all.length);
  expect(algorithms).toEqual(Object.keys(suites));
  for (const [name, suite] of Object.entries(suites)) {
    expect(suite.name).toBe(name);
    // Of what ciphertexts are made under; key pairs make none.
    expect(suiteByNumber(suite.number)).toBe(suite.purpose === 'encrypt' ? suite : undefined);
  }
  const known = new Set<number>(Object.values(cipherSuites).map(({ number }) => number));
  for (let number = 0; number < 256; number += 1) {
    expect(suiteByNumber(number) !== undefined).toBe(known.has(number));
  }
});

/**
 * Guarantees the bounds of random nonces, rotation well before refusal: 2^32 uses with 96 bits (SP 800-38D §8.3); with
 * 192 bits far more than that, within what a count holds exactly.
 */
test('uses are bounded', () => {
  for (const suite of Object.values(cipherSuites)) {
    const [least, most] = suite.nonceBytes === 12 ? [2 ** 30, 2 ** 32] : [2 ** 50, 2 ** 52];
    expect(suite.rotateAfterUses).toBeGreaterThanOrEqual(least);
    expect(suite.rotateAfterUses).toBeLessThan(suite.refuseAfterUses);
    expect(suite.refuseAfterUses).toBeLessThanOrEqual(most);
    expect(Number.isSafeInteger(suite.refuseAfterUses + blockUses)).toBe(true);
    expect(suite.tagBytes).toBe(16);
  }
});
