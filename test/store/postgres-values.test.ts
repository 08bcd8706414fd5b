import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fromStored, toStored } from '../../src/store/postgres-values.ts';

/** Guarantees that every text can be stored, that two texts never become one, and that the usual ones stay as they are. */
test('texts are stored without U+0000', () => {
  const read = fromStored(25);
  const text = fc.string({ unit: fc.constantFrom('\u0000', '\u0001', '0', '1', 'a') });
  fc.assert(
    fc.property(text, (value) => {
      const stored = toStored(value) as string;
      expect(stored).not.toContain('\u0000');
      expect(read(stored)).toBe(value);
      if (/^[01a]*$/.test(value)) expect(stored).toBe(value);
    }),
  );
});

/** Guarantees that a number is what was stored or an error, never another. */
test('numbers beyond 2^53 are refused', () => {
  expect(fromStored(20)('9007199254740991')).toBe(Number.MAX_SAFE_INTEGER);
  expect(() => fromStored(20)('9007199254740993')).toThrow(RangeError);
});
