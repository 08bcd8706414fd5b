import { aessiv } from '@noble/ciphers/aes.js';
import { FF1 } from '@noble/ciphers/ff1.js';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createFf1 } from '../../../src/crypto/fields/ff1.ts';
import { createSiv } from '../../../src/crypto/fields/siv.ts';
import { everyCiphers, hexOf } from './support.ts';

const keys = (...lengths: number[]) =>
  fc.constantFrom(...lengths).chain((length) => fc.uint8Array({ minLength: length, maxLength: length }));
const bytes = (maxLength: number) => fc.uint8Array({ maxLength });

/** Values of one radix, whose lengths differ so that some are of each way to calculate. */
const ff1Input = fc.constantFrom(2, 10, 26, 36, 62, 94, 256, 4_099, 65_535).chain((radix) => {
  const least = createFf1(everyCiphers[0].ciphers.blocks(new Uint8Array(16)), { radix }).leastNumerals;
  const value = fc.array(fc.nat(radix - 1), { minLength: least, maxLength: Math.max(least, 26) + 4 });
  return fc.record({
    radix: fc.constant(radix),
    key: keys(16, 24, 32),
    tweak: bytes(40),
    values: fc.array(value, { minLength: 1, maxLength: 6 }),
  });
});

describe.each(everyCiphers)('by $name', ({ ciphers }) => {
  /** Guarantees that AES-SIV seals and opens as @noble/ciphers does, many values at once as one by one. */
  test('AES-SIV with noble', () => {
    fc.assert(
      fc.property(
        keys(32, 64),
        fc.array(bytes(40), { maxLength: 4 }),
        fc.array(bytes(70), { minLength: 1, maxLength: 6 }),
        (key, associated, plaintexts) => {
          const place = createSiv(ciphers, key).at(associated);
          const sealed = place.seal(plaintexts);
          expect(sealed.map(hexOf)).toEqual(
            plaintexts.map((plaintext) => hexOf(aessiv(key, ...associated).encrypt(plaintext))),
          );
          expect(place.open(sealed).map(hexOf)).toEqual(plaintexts.map(hexOf));
        },
      ),
    );
  });

  /** Guarantees that a changed bit, another place and a cut value open nothing, and harm no other value beside them. */
  test('AES-SIV opens what was sealed alone', () => {
    fc.assert(
      fc.property(keys(64), bytes(60), fc.nat(), fc.nat(80), (key, plaintext, bit, cut) => {
        const siv = createSiv(ciphers, key);
        const place = siv.at([Uint8Array.of(1)]);
        const [sealed] = place.seal([plaintext]) as [Uint8Array];
        const changed = Uint8Array.from(sealed);
        const at = bit % (sealed.length * 8);
        changed[at >> 3] = (changed[at >> 3] ?? 0) ^ (1 << (at & 7));
        const shorter = sealed.subarray(0, Math.min(cut, sealed.length - 1));
        expect(place.open([changed, sealed, shorter]).map(hexOf)).toEqual([
          undefined,
          hexOf(plaintext),
          undefined,
        ]);
        expect(siv.at([Uint8Array.of(2)]).open([sealed])).toEqual([undefined]);
        expect(siv.at([]).open([sealed])).toEqual([undefined]);
      }),
    );
  });

  /** Guarantees that FF1 gives what @noble/ciphers gives, stays in its numerals, and comes back. */
  test('FF1 with noble', () => {
    fc.assert(
      fc.property(ff1Input, ({ radix, key, tweak, values }) => {
        const ff1 = createFf1(ciphers.blocks(key), { radix });
        const tweaks = values.map((_, index) => tweak.subarray(index % 3));
        const encrypted = ff1.encrypt(values, tweaks);
        expect(encrypted).toEqual(
          values.map((value, index) => FF1(radix, key, tweaks[index]).encrypt(value)),
        );
        expect(encrypted.flat().every((numeral) => numeral >= 0 && numeral < radix)).toBe(true);
        expect(ff1.decrypt(encrypted, tweaks)).toEqual(values);
      }),
      { numRuns: 40 },
    );
  });

  /** Guarantees that FF1 refuses what it has no answer for: lengths, foreign numerals, a radix or tweak out of bounds. */
  test('FF1 refuses', () => {
    const blocks = ciphers.blocks(new Uint8Array(32));
    const ff1 = createFf1(blocks, { radix: 10 });
    expect(ff1.leastNumerals).toBe(6);
    for (const value of [[], [1, 2, 3, 4, 5], new Array(4_097).fill(0)])
      expect(() => ff1.encrypt([value])).toThrow(/must have 6 to 4096 numerals/);
    for (const numeral of [10, -1, 0.5, Number.NaN])
      expect(() => ff1.decrypt([[1, 2, 3, 4, 5, numeral]])).toThrow(/numeral/);
    for (const radix of [1, 65_536, 2.5]) expect(() => createFf1(blocks, { radix })).toThrow(/radix/);
    expect(() => ff1.encrypt([[1, 2, 3, 4, 5, 6]], [new Uint8Array(65_536)])).toThrow(/tweak/);
    expect(() => createSiv(ciphers, new Uint8Array(33))).toThrow(/key/);
    expect(() => createSiv(ciphers, new Uint8Array(32)).at(new Array(127).fill(new Uint8Array()))).toThrow(
      /components/,
    );
  });

  /** Guarantees that FF1 of six digits is a permutation: as many values come out as went in. */
  test('FF1 is a permutation', () => {
    const ff1 = createFf1(ciphers.blocks(new Uint8Array(32).fill(9)), { radix: 10 });
    const all = Array.from({ length: 20_000 }, (_, value) =>
      Array.from(String(value * 50).padStart(6, '0'), Number),
    );
    const encrypted = ff1.encrypt(all);
    expect(new Set(encrypted.map(String)).size).toBe(all.length);
    expect(ff1.decrypt(encrypted)).toEqual(all);
  });

  /** Guarantees AES-256-GCM and HMAC alike in both: sealed by one, opened by the other; a changed one opens nothing. */
  test('GCM and HMAC', () => {
    const [node, portable] = everyCiphers.map((other) => other.ciphers);
    if (node === undefined || portable === undefined) throw new Error('two implementations');
    fc.assert(
      fc.property(keys(32), keys(12), bytes(80), bytes(40), (key, nonce, plaintext, aad) => {
        const sealed = Buffer.concat(ciphers.gcm(key).seal(nonce, plaintext, aad));
        for (const other of [node, portable]) {
          expect(hexOf(other.gcm(key).open(nonce, sealed, aad))).toBe(hexOf(plaintext));
          expect(other.gcm(key).open(nonce, sealed, Uint8Array.of(...aad, 1))).toBeUndefined();
          expect(other.gcm(key).open(nonce, sealed.subarray(0, 15), aad)).toBeUndefined();
        }
        expect(hexOf(node.hmac(key)(aad))).toBe(hexOf(portable.hmac(key)(aad)));
      }),
      { numRuns: 30 },
    );
  });
});
