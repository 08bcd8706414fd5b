import { expect, test } from 'vitest';
import { algorithms, suiteByNumber, suites } from '../../src/crypto/suites.ts';

/** Guarantees the numbers written into ciphertexts: they are never reused and never change. */
test('suite numbers stand still', () => {
  expect(Object.values(suites).map(({ name, number, keyBytes }) => [name, number, keyBytes])).toEqual([
    ['aes-256-gcm', 1, 32],
    ['aes-128-gcm', 2, 16],
  ]);
});

/** Guarantees that a number leads to one suite, a suite to its own name, and unknown numbers to none. */
test('suites are found by number', () => {
  const all = Object.values(suites);
  expect(new Set(all.map(({ number }) => number)).size).toBe(all.length);
  expect(algorithms).toEqual(Object.keys(suites));
  for (const [name, suite] of Object.entries(suites)) {
    expect(suite.name).toBe(name);
    expect(suiteByNumber(suite.number)).toBe(suite);
  }
  const known = new Set<number>(all.map(({ number }) => number));
  for (let number = 0; number < 256; number += 1) {
    expect(suiteByNumber(number) !== undefined).toBe(known.has(number));
  }
});

/** Guarantees the bounds of SP 800-38D §8.3 for random nonces: refusal at 2^32, rotation well before. */
test('uses are bounded', () => {
  for (const suite of Object.values(suites)) {
    expect(suite.refuseAfterUses).toBeLessThanOrEqual(2 ** 32);
    expect(suite.rotateAfterUses).toBeLessThan(suite.refuseAfterUses);
    expect([suite.nonceBytes, suite.tagBytes]).toEqual([12, 16]);
  }
});
