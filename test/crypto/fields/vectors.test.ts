import { describe, expect, test } from 'vitest';
import { createFf1, leastCombinations } from '../../../src/crypto/fields/ff1.ts';
import { createSiv } from '../../../src/crypto/fields/siv.ts';
import { committedCases, hex, largeSets } from '../../support/vectors.ts';
import { everyCiphers, hexOf } from './support.ts';

const absent = 'the set is not at hand';

interface SivCase {
  readonly key: string;
  readonly associated: readonly string[];
  readonly plaintext: string;
  readonly sealed: string;
}

interface WycheproofSiv {
  readonly key: string;
  readonly iv?: string;
  readonly aad: string;
  readonly msg: string;
  readonly ct: string;
  readonly tag?: string;
  readonly result: 'valid' | 'invalid';
}

interface Ff1Case {
  readonly key: string;
  readonly radix: number;
  readonly tweak: string;
  readonly plaintext: string;
  readonly ciphertext: string;
}

interface WycheproofFf1 {
  readonly radix: number;
  readonly alphabet?: string;
  readonly tests: readonly {
    readonly tcId: number;
    readonly key: string;
    readonly tweak: string;
    readonly msg: string | readonly number[];
    readonly ct: string | readonly number[];
    readonly result: 'valid' | 'invalid';
  }[];
}

interface AcvpFf1 {
  readonly alphabet: string;
  readonly radix: number;
  readonly tests: readonly {
    readonly key: string;
    readonly tweak: string;
    readonly pt: string;
    readonly ct: string;
  }[];
}

const base36 = '0123456789abcdefghijklmnopqrstuvwxyz';
const numerals = (text: string | readonly number[], alphabet = base36): number[] =>
  typeof text === 'string' ? Array.from(text, (symbol) => alphabet.indexOf(symbol)) : [...text];

describe.each(everyCiphers)('by $name', ({ ciphers }) => {
  function checkSiv({ key, associated, plaintext, sealed }: SivCase, valid: boolean): void {
    const place = createSiv(ciphers, hex(key)).at(associated.map(hex));
    const opened = place.open([hex(sealed)]).map(hexOf);
    expect(opened).toEqual([valid ? plaintext : undefined]);
    if (valid) expect(place.seal([hex(plaintext)]).map(hexOf)).toEqual([sealed]);
  }

  /** Guarantees the published answers of AES-SIV that are committed with the project. */
  test('AES-SIV, RFC 5297', () => {
    const cases = committedCases<SivCase>('aes-siv');
    for (const published of cases) checkSiv(published, true);
    expect(cases).toHaveLength(2);
  });

  /** Guarantees every answer of Wycheproof's sets of AES-SIV, without and with a nonce as a component. */
  test.for(['aes_siv_cmac', 'aead_aes_siv_cmac'])('Wycheproof, %s', (name, { skip }) => {
    const cases = largeSets<{ tests: WycheproofSiv[] }>(`wycheproof/${name}_test`).flatMap(
      ({ tests }) => tests,
    );
    skip(cases.length === 0, absent);
    for (const { key, iv, aad, msg, ct, tag = '', result } of cases) {
      const associated = iv === undefined ? [aad] : [aad, iv];
      checkSiv({ key, associated, plaintext: msg, sealed: tag + ct }, result === 'valid');
    }
    expect(cases.length).toBeGreaterThan(400);
  });

  /** Guarantees NIST's samples of FF1. */
  test('FF1, SP 800-38G', () => {
    for (const { key, radix, tweak, plaintext, ciphertext } of committedCases<Ff1Case>('ff1')) {
      const ff1 = createFf1(ciphers.blocks(hex(key)), { radix });
      const tweaks = [hex(tweak)];
      expect(ff1.encrypt([numerals(plaintext)], tweaks)).toEqual([numerals(ciphertext)]);
      expect(ff1.decrypt([numerals(ciphertext)], tweaks)).toEqual([numerals(plaintext)]);
    }
  });

  /** Guarantees NIST's ACVP answers of FF1; those of fewer than a million combinations are refused, and so many. */
  test('FF1, ACVP', ({ skip }) => {
    const groups = largeSets<AcvpFf1>('acvp/ACVP-AES-FF1-1.0.internalProjection');
    skip(groups.length === 0, absent);
    let refused = 0;
    for (const { alphabet, radix, tests } of groups)
      for (const { key, tweak, pt, ct } of tests) {
        const ff1 = createFf1(ciphers.blocks(hex(key)), { radix });
        const tweaks = [hex(tweak)];
        if (radix ** pt.length < leastCombinations) {
          refused += 1;
          expect(() => ff1.encrypt([numerals(pt, alphabet)], tweaks)).toThrow(RangeError);
          continue;
        }
        expect(ff1.encrypt([numerals(pt, alphabet)], tweaks)).toEqual([numerals(ct, alphabet)]);
        expect(ff1.decrypt([numerals(ct, alphabet)], tweaks)).toEqual([numerals(pt, alphabet)]);
      }
    expect(refused).toBe(0);
  });

  /**
   * Guarantees every answer of Wycheproof's sets of FF1: edge cases of its arithmetic, foreign numerals. Those of fewer
   * than a million combinations are refused by rule, and so many.
   */
  test.for([
    { name: 'radix10', tooSmall: 12 },
    { name: 'base62', tooSmall: 6 },
    { name: 'radix36', tooSmall: 6 },
    { name: 'radix256', tooSmall: 3 },
  ])('FF1, Wycheproof, $name', ({ name, tooSmall }, { skip }) => {
    const groups = largeSets<WycheproofFf1>(`wycheproof/aes_ff1_${name}_test`);
    skip(groups.length === 0, absent);
    let small = 0;
    for (const { radix, alphabet, tests } of groups)
      for (const { key, tweak, msg, ct, result } of tests) {
        if (![16, 24, 32].includes(key.length / 2)) continue;
        const ff1 = createFf1(ciphers.blocks(hex(key)), { radix });
        const tweaks = [hex(tweak)];
        const plaintext = numerals(msg, alphabet);
        const isSmall = result === 'valid' && radix ** plaintext.length < leastCombinations;
        if (isSmall) small += 1;
        if (result === 'invalid' || isSmall) {
          expect(() => ff1.encrypt([plaintext], tweaks)).toThrow(RangeError);
          continue;
        }
        expect(ff1.encrypt([plaintext], tweaks)).toEqual([numerals(ct, alphabet)]);
        expect(ff1.decrypt([numerals(ct, alphabet)], tweaks)).toEqual([plaintext]);
      }
    expect(small).toBe(tooSmall);
  });
});
