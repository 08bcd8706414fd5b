import type { Ff1, Numerals } from './ff1.ts';
import { FieldRefused } from './refusals.ts';

const digits = '0123456789';
const lowercase = 'abcdefghijklmnopqrstuvwxyz';
const uppercase = lowercase.toUpperCase();

/** Alphabets by name; the order of their symbols is part of every value and never changes. */
export const alphabets = {
  digits,
  lowercase,
  uppercase,
  letters: uppercase + lowercase,
  alphanumeric: digits + uppercase + lowercase,
} as const;

export interface FormatOptions {
  /** Distinct code points. */
  readonly symbols: string;
  /** Left where they are. */
  readonly separators: string;
  /** Symbols at the beginning and at the end that stay as they are. */
  readonly keepPrefix: number;
  readonly keepSuffix: number;
  /** Values have a check digit (ISO/IEC 7812-1 Annex B), which fits before and after. */
  readonly luhn: boolean;
}

const mostSymbols = 256;

/** Encrypts and decrypts texts of a format, many together; a text it cannot take is a refusal in its place. */
export interface FormatCipher {
  encrypt(ff1: Ff1, texts: readonly string[]): (string | FieldRefused)[];
  decrypt(ff1: Ff1, texts: readonly string[]): (string | FieldRefused)[];
}

/** A text taken apart: what FF1 changes, and what is around it. */
interface Parts {
  /** Code points, separators among them. */
  readonly points: string[];
  /** Where symbols are in `points`. */
  readonly places: number[];
  readonly numerals: number[];
  /** Where those that FF1 changes begin and end in `numerals`. */
  readonly from: number;
  readonly to: number;
}

const encoder = new TextEncoder();

export function createFormatCipher(options: FormatOptions): FormatCipher {
  const alphabet = Array.from(options.symbols);
  const numeralOf = new Map(alphabet.map((symbol, numeral) => [symbol, numeral]));
  const separators = new Set(Array.from(options.separators));
  const { keepPrefix, keepSuffix, luhn } = options;

  function takeApart(text: string, leastNumerals: number): Parts {
    const points = Array.from(text);
    const places: number[] = [];
    const numerals: number[] = [];
    points.forEach((point, place) => {
      const numeral = numeralOf.get(point);
      if (numeral !== undefined) {
        places.push(place);
        numerals.push(numeral);
      } else if (!separators.has(point)) throw new FieldRefused('foreign symbol');
    });
    if (numerals.length > mostSymbols) throw new FieldRefused('too many symbols');
    // One of those that are free is what the others make it, so that the check digit fits.
    const to = numerals.length - keepSuffix - (luhn ? 1 : 0);
    if (to - keepPrefix < leastNumerals) throw new FieldRefused('too few symbols');
    if (luhn && luhnSum(numerals) !== 0) throw new FieldRefused('check digit');
    return { points, places, numerals, from: keepPrefix, to };
  }

  /** What stays as it is makes another permutation of the rest (SP 800-38G Appendix C). */
  function tweakOf({ numerals, from, to }: Parts): Uint8Array {
    const kept = [numerals.slice(0, from), numerals.slice(luhn ? to + 1 : to)];
    return encoder.encode(kept.map((part) => part.map((numeral) => alphabet[numeral]).join('')).join('/'));
  }

  function putTogether({ points, places, numerals, from, to }: Parts, changed: Numerals): string {
    const all = [...numerals.slice(0, from), ...changed, ...numerals.slice(to)];
    if (luhn) repair(all, to);
    const out = [...points];
    places.forEach((place, index) => {
      out[place] = alphabet[all[index] ?? 0] ?? '';
    });
    return out.join('');
  }

  function run(way: 'encrypt' | 'decrypt', ff1: Ff1, texts: readonly string[]): (string | FieldRefused)[] {
    const results = new Array<string | FieldRefused>(texts.length);
    const taken: { place: number; parts: Parts }[] = [];
    texts.forEach((text, place) => {
      try {
        taken.push({ place, parts: takeApart(text, ff1.leastNumerals) });
      } catch (error) {
        if (!(error instanceof FieldRefused)) throw error;
        results[place] = error;
      }
    });
    const changed = ff1[way](
      taken.map(({ parts: { numerals, from, to } }) => numerals.slice(from, to)),
      keepPrefix + keepSuffix === 0 ? undefined : taken.map(({ parts }) => tweakOf(parts)),
    );
    taken.forEach(({ place, parts }, index) => {
      results[place] = putTogether(parts, changed[index] as Numerals);
    });
    return results;
  }

  return {
    encrypt: (ff1, texts) => run('encrypt', ff1, texts),
    decrypt: (ff1, texts) => run('decrypt', ff1, texts),
  };
}

/** The sum of all digits, every second one from the right but the last doubled, modulo 10: 0 when the check digit fits. */
function luhnSum(numerals: Numerals): number {
  let sum = 0;
  for (let at = numerals.length - 1, weight = 1; at >= 0; at -= 1, weight = 3 - weight) {
    const product = (numerals[at] ?? 0) * weight;
    sum += product > 9 ? product - 9 : product;
  }
  return sum % 10;
}

/** Makes the sum fit by the digit at `place`: doubling permutes the digits, so exactly one does. */
function repair(numerals: number[], place: number): void {
  for (let digit = 0; digit < 10; digit += 1) {
    numerals[place] = digit;
    if (luhnSum(numerals) === 0) return;
  }
}
