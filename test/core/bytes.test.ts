import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  concatBytes,
  equalBytes,
  fromBase64,
  lengthPrefixed,
  toBase64,
  utf8,
  wipe,
} from '../../src/core/bytes.ts';

/** Reads `lengthPrefixed` back, written apart from it. */
function fieldsOf(bytes: Uint8Array): string[] {
  const buffer = Buffer.from(bytes);
  const fields: string[] = [];
  for (let at = 0; at < buffer.length; ) {
    const length = buffer.readUInt32BE(at);
    fields.push(buffer.subarray(at + 4, at + 4 + length).toString('hex'));
    at += 4 + length;
  }
  return fields;
}

const fieldLists = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 });

/** Guarantees that a list of fields can be read back from its encoding, so no two lists share one. */
test('length prefixes are injective', () => {
  fc.assert(
    fc.property(fieldLists, (fields) => {
      expect(fieldsOf(lengthPrefixed(...fields))).toEqual(
        fields.map((field) => Buffer.from(field).toString('hex')),
      );
    }),
  );
});

/** Guarantees that moving a byte over the border of two fields, or splitting one, changes the encoding. */
test('borders of fields count', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 40 }),
      fc.nat(),
      fc.nat(),
      (bytes, first, second) => {
        const split = (at: number) =>
          toBase64(
            lengthPrefixed(
              bytes.subarray(0, at % (bytes.length + 1)),
              bytes.subarray(at % (bytes.length + 1)),
            ),
          );
        const same = first % (bytes.length + 1) === second % (bytes.length + 1);
        expect(split(first) === split(second)).toBe(same);
        expect(split(first)).not.toBe(toBase64(lengthPrefixed(bytes)));
      },
    ),
  );
  expect(toBase64(lengthPrefixed())).not.toBe(toBase64(lengthPrefixed('')));
});

/** Guarantees the encoding itself, which ciphertexts and stored rows depend on. */
test('length prefixes are four bytes, big endian', () => {
  expect(Buffer.from(lengthPrefixed('é', Uint8Array.of(7), '')).toString('hex')).toBe(
    '00000002c3a9000000010700000000',
  );
});

/** Guarantees that bytes survive base64. */
test('base64 round trips', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(fromBase64(toBase64(bytes))).toEqual(Buffer.from(bytes));
    }),
  );
});

/** Guarantees that only the one canonical text of some bytes is accepted, so equal bytes have equal texts. */
test('base64 that is not canonical is refused', () => {
  const refused = [
    'YQ',
    'YQ=',
    'YR==',
    'YWJ=',
    '====',
    'YQ==YQ==',
    ' YQ==',
    'YQ==\n',
    'Y-Q=',
    '_w==',
    'a',
    'YW==',
  ];
  for (const text of refused) expect(fromBase64(text), JSON.stringify(text)).toBeUndefined();
  expect(fromBase64('')).toHaveLength(0);
  expect(fromBase64('YQ==')).toEqual(Buffer.from('a'));
  fc.assert(
    fc.property(fc.stringMatching(/^[AZaz09+/=_ \n-]{0,12}$/), (text) => {
      const bytes = fromBase64(text);
      expect(bytes === undefined || toBase64(bytes) === text).toBe(true);
    }),
  );
});

/** Guarantees comparison by value, joining in order, and that wiping leaves zeros. */
test('bytes are compared, joined and wiped', () => {
  expect(equalBytes(utf8('abc'), utf8('abc'))).toBe(true);
  expect(equalBytes(utf8('abc'), utf8('abd'))).toBe(false);
  expect(equalBytes(utf8('abc'), utf8('ab'))).toBe(false);
  expect(concatBytes(utf8('a'), utf8(''), utf8('bc'))).toEqual(utf8('abc'));
  const secret = utf8('secret');
  wipe(undefined, secret);
  expect(secret).toEqual(new Uint8Array(6));
});
