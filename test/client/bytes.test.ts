import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as portable from '../../src/client/bytes.ts';
import * as node from '../../src/client/node/bytes.ts';

describe.each([
  ['without Node', portable],
  ['by Buffer', node],
] as const)('%s', (_, { fromBase64, toBase64 }) => {
  /** Guarantees that the client writes base64 as Node does, and reads it back. */
  test('base64 is Node’s', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const text = Buffer.from(bytes).toString('base64');
        expect(toBase64(bytes)).toBe(text);
        expect(fromBase64(text)).toEqual(bytes);
      }),
    );
    const large = new Uint8Array(1_000_000).map((_, at) => at * 7);
    expect(fromBase64(toBase64(large))).toEqual(large);
    expect(fromBase64('')).toEqual(new Uint8Array());
  });

  /** Guarantees that text is taken for bytes only when it is their one canonical spelling. */
  test('base64 has one spelling', () => {
    const symbol = fc.constantFrom(...'AQgwZ/+=09-_ \n.éÄ\u0000\ud800='.split(''));
    const isCanonical = (text: string) =>
      text.length % 4 === 0 && Buffer.from(text, 'base64').toString('base64') === text;
    fc.assert(
      fc.property(fc.array(symbol, { maxLength: 12 }), (symbols) => {
        const text = symbols.join('');
        const expected = isCanonical(text) ? Uint8Array.from(Buffer.from(text, 'base64')) : undefined;
        expect(fromBase64(text)).toEqual(expected);
      }),
      { numRuns: 5_000 },
    );
    for (const text of [
      'A',
      'AA',
      'AAA',
      'AB==',
      'AAB=',
      '====',
      'A===',
      'AA=A',
      'AA==AAAA',
      'AAAA\n',
      '=AAA',
      'éAA=',
    ]) {
      expect([text, fromBase64(text)]).toEqual([text, undefined]);
    }
  });

  /** Guarantees that bytes do not share memory with others': who gets the buffer sees nothing else. */
  test('bytes have memory of their own', () => {
    expect(fromBase64('AAAA')?.buffer.byteLength).toBe(3);
  });
});
