import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { copyExact, parseExact } from '../../../src/core/exact-json.ts';
import { blindIndex, falsePositives } from '../../../src/crypto/fields/blind-index.ts';
import { checkSchema } from '../../../src/crypto/fields/check-schema.ts';
import { createFf1 } from '../../../src/crypto/fields/ff1.ts';
import { createFormatCipher } from '../../../src/crypto/fields/format-preserving.ts';
import { nodeCiphers } from '../../../src/crypto/fields/node-ciphers.ts';
import { normalized } from '../../../src/crypto/fields/normalizers.ts';
import { findPlaces, overlap, parsePath } from '../../../src/crypto/fields/paths.ts';
import { FieldRefused } from '../../../src/crypto/fields/refusals.ts';
import type { FieldDefinition, SchemaDefinition } from '../../../src/crypto/fields/schema.ts';
import { decodeValue, encodeValue } from '../../../src/crypto/fields/values.ts';
import { viewOf } from '../../../src/crypto/fields/views.ts';
import { everyCiphers } from './support.ts';

/** Guarantees that JSON texts of every kind of number are written again as they were. */
test('numbers as they are written', () => {
  const number = fc.oneof(
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => JSON.stringify(value)),
    fc.stringMatching(/^-?(?:0|[1-9]\d{0,30})(?:\.\d{1,20})?(?:[eE][+-]?\d{1,4})?$/),
  );
  fc.assert(
    fc.property(fc.array(number), fc.string(), (numbers, text) => {
      const written = `{"a":[${numbers.join(',')}],"b":${JSON.stringify(text)},"c":{"d":${numbers[0] ?? 'null'}}}`;
      const value = parseExact(written);
      expect(JSON.stringify(value)).toBe(written);
      expect(JSON.stringify(copyExact(value))).toBe(written);
    }),
  );
  for (const text of ['{"a":1.}', '[01]', '"1.0', '{"a":--0}', ''])
    expect(() => parseExact(text)).toThrow(SyntaxError);
});

/** Guarantees that what a program gives and JSON does not have is refused, not changed. */
test('what JSON does not have', () => {
  const cyclic: Record<string, unknown> = {};
  cyclic['self'] = cyclic;
  const refused = [
    ...[undefined, -0, Number.NaN, Number.POSITIVE_INFINITY, 1n, () => 1, Symbol('x'), new Date(), new Map()],
    ...[
      cyclic,
      new Array(2),
      { a: undefined },
      { [Symbol('x')]: 1 },
      JSON.parse('{"__proto__":1}'),
      new Uint8Array(1),
    ],
    ...[Object.assign([1], { a: 1 }), [[-0]], { toJSON: () => 1 }],
  ];
  for (const value of refused) expect(() => copyExact(value)).toThrow(/./);
  expect(copyExact(Object.assign(Object.create(null), { a: [null, true, 'x'] }))).toEqual({
    a: [null, true, 'x'],
  });
});

/** Guarantees that values keep their kind, and that bytes that are none are no value. */
test('values and bytes', () => {
  for (const value of ['a', '', '1', 1, true, null, [], {}, { a: [1] }, '\ud800', '\ufeff'])
    expect(decodeValue(encodeValue(value))).toEqual([value]);
  expect(encodeValue('1')).not.toEqual(encodeValue(1));
  for (const bytes of [[], [0], [3, 49], [1, 0xff], [2], [2, 0x7b]])
    expect(decodeValue(Uint8Array.from(bytes))).toBeUndefined();
});

/** Guarantees that both codecs of bytes are one, and take canonical text alone. */
test('base64url', () => {
  const [{ ciphers: node }, { ciphers: portable }] = everyCiphers;
  fc.assert(
    fc.property(fc.uint8Array(), fc.stringMatching(/^[A-Za-z0-9_=+-]{0,9}$/), (bytes, text) => {
      expect(portable.toText(bytes)).toBe(node.toText(bytes));
      expect(Array.from(portable.fromText(node.toText(bytes)) ?? [])).toEqual(Array.from(bytes));
      expect(portable.fromText(text) === undefined).toBe(node.fromText(text) === undefined);
    }),
  );
});

describe('paths', () => {
  /** Guarantees that pointers and paths are read alike, and everything but names, indexes and wildcards is refused. */
  test('are read', () => {
    const same: [string, (string | null)[]][] = [
      ['/a', ['a']],
      ['$.a', ['a']],
      ["$['a']", ['a']],
      ['/a~1b/~0/', ['a/b', '~', '']],
      ['/orders/*/card', ['orders', null, 'card']],
      ['$.orders[*].card', ['orders', null, 'card']],
      ['$.*[0]["x y"]', [null, '0', 'x y']],
    ];
    for (const [text, path] of same) expect(parsePath(text)).toEqual(path);
    const refused = [
      '',
      'a',
      '$',
      '/~2',
      '$..a',
      '$.a[?@.b]',
      '$.a[1:2]',
      "$.a[?match(@.b,'(a*)*')]",
      '$[-1]',
      '$.a[01]',
    ];
    for (const text of [
      ...refused,
      '/__proto__/a',
      `/${'a'.repeat(512)}`,
      '/a'.repeat(17),
      '/*/*/*/*/*',
      '$.a b',
    ])
      expect(parsePath(text)).toBeUndefined();
  });

  /** Guarantees that places are a document's own, and that reading a hostile path takes no longer than it is long. */
  test('lead to what is there', () => {
    const found = (document: unknown, text: string) => {
      const names: string[] = [];
      findPlaces(document, { path: parsePath(text) ?? [], limit: 100 }, (_, name) => names.push(name));
      return names;
    };
    expect(found({ a: [{ b: 1 }, { c: 2 }, { b: null }] }, '/a/*/b')).toEqual(['b', 'b']);
    expect(found({ a: [1, 2] }, '/a/length')).toEqual([]);
    expect(found({ a: [1, 2] }, '/a/1')).toEqual(['1']);
    expect(found({ a: 'text' }, '/a/0')).toEqual([]);
    expect(found({}, '/constructor/name')).toEqual([]);
    expect(() => found({ a: new Array(101).fill(1) }, '/a/*')).toThrow(RangeError);
    expect(() => found(new Array(60).fill([1, 2]), '/*/*')).toThrow(RangeError);
    expect(overlap(['a', null], ['a', 'b', 'c'])).toBe(true);
    expect(overlap(['a', 'b'], ['a', 'c'])).toBe(false);
    expect(parsePath(`$${"['".repeat(250)}`)).toBeUndefined();
  });
});

/** Guarantees what each normalizer makes equal, and what it refuses. */
test('normalizers', () => {
  expect(normalized('  Straße ', ['trim', 'lowercase'])).toBe('straße');
  expect(normalized('ﬁＡ', ['nfkc'])).toBe('fiA');
  expect(normalized(' Ada@EXAMPLE.org', ['email'])).toBe('ada@example.org');
  expect(normalized('+44 (20) 7946-0958', ['e164'])).toBe('+442079460958');
  expect(normalized('0044 20 7946 0958', ['e164'])).toBe('+442079460958');
  expect(normalized('DE-12 ３4', ['digits'])).toBe('1234');
  const refused = {
    email: ['a', '@a', 'a@', 'a b@c'],
    e164: ['020 7946', '+0123456789', '+1'],
    digits: ['abc', ''],
  } as const;
  for (const name of ['email', 'e164', 'digits'] as const)
    for (const text of refused[name]) expect(() => normalized(text, [name])).toThrow(FieldRefused);
});

/** Guarantees that indexes have the bits asked for, keep values of other kinds apart, and find as many as is said. */
test('blind indexes', () => {
  const hmac = nodeCiphers.hmac(new Uint8Array(32).fill(1));
  const index = (value: unknown, bits: number) =>
    blindIndex(nodeCiphers, hmac, { parts: [{ value, normalize: [] }], bits });
  for (const bits of [8, 12, 33, 255, 256]) {
    const bytes = Buffer.from(index('a', bits), 'base64url');
    expect(bytes.length).toBe(Math.ceil(bits / 8));
    expect((bytes.at(-1) ?? 0) & ((1 << (bytes.length * 8 - bits)) - 1)).toBe(0);
  }
  expect(new Set(['1', 1, true, 'true'].map((value) => index(value, 256))).size).toBe(4);
  const pair = (a: string, b: string) =>
    blindIndex(nodeCiphers, hmac, {
      parts: [
        { value: a, normalize: [] },
        { value: b, normalize: [] },
      ],
      bits: 256,
    });
  expect(pair('ab', 'c')).not.toBe(pair('a', 'bc'));
  expect(falsePositives(20, 1_048_576)).toEqual({ expected: 1, probability: expect.closeTo(0.632, 3) });
  expect(falsePositives(256, 10).probability).toBeGreaterThan(0);
  // As often as was said: 4,096 others by 8 bits are 16 on average. The key is given, so that it is no chance.
  const found = Array.from({ length: 4_096 }, (_, row) => index(row, 8)).filter(
    (one) => one === index('x', 8),
  );
  expect(Math.abs(found.length - falsePositives(8, 4_096).expected)).toBeLessThan(12);
});

describe('formats', () => {
  const cards = createFormatCipher({
    symbols: '0123456789',
    separators: ' -',
    keepPrefix: 1,
    keepSuffix: 4,
    luhn: true,
  });
  const ff1 = createFf1(nodeCiphers.blocks(new Uint8Array(32).fill(3)), { radix: 10 });
  const sumOf = (text: string) =>
    Array.from(text.replaceAll(/\D/g, ''), Number)
      .toReversed()
      .reduce((sum, digit, at) => sum + (at % 2 === 0 ? digit : digit < 5 ? digit * 2 : digit * 2 - 9), 0) %
    10;

  /** Guarantees that a card number keeps its format, its kept digits and a check digit that fits, and comes back. */
  test('card numbers', () => {
    const card = fc
      .tuple(
        fc.integer({ min: 11, max: 22 }),
        fc.array(fc.nat(9), { minLength: 22, maxLength: 22 }),
        fc.nat(21),
      )
      .map(([length, digits, space]) => {
        const body = digits.slice(0, length).join('');
        const check = Array.from('0123456789').find((digit) => sumOf(body + digit) === 0) ?? '';
        const number = body + check;
        const at = space % length;
        return `${number.slice(0, at)} ${number.slice(at)}`;
      });
    fc.assert(
      fc.property(fc.array(card, { minLength: 1, maxLength: 8 }), (numbers) => {
        const encrypted = cards.encrypt(ff1, numbers).map(String);
        encrypted.forEach((text, index) => {
          const plain = numbers[index] ?? '';
          expect(sumOf(text)).toBe(0);
          expect(text.replaceAll(/\d/g, '0')).toBe(plain.replaceAll(/\d/g, '0'));
          const digits = (of: string) => of.replaceAll(' ', '');
          expect(digits(text).at(0)).toBe(digits(plain).at(0));
          expect(digits(text).slice(-4)).toBe(digits(plain).slice(-4));
        });
        expect(cards.decrypt(ff1, encrypted)).toEqual(numbers);
      }),
      { numRuns: 50 },
    );
  });

  /** Guarantees that only symbols that are free count towards the million, one less where a check digit is repaired. */
  test('free symbols', () => {
    const reason = (text: string) => {
      const [result] = cards.encrypt(ff1, [text]);
      return result instanceof FieldRefused ? result.reason : undefined;
    };
    expect(reason('000000000000')).toBeUndefined();
    expect(reason('00000000000')).toBe('too few symbols');
    const letters = createFormatCipher({
      symbols: 'äß😀',
      separators: '',
      keepPrefix: 0,
      keepSuffix: 0,
      luhn: false,
    });
    const three = createFf1(nodeCiphers.blocks(new Uint8Array(32)), { radix: 3 });
    expect(letters.encrypt(three, ['😀'.repeat(12)])[0]).toMatchObject({ reason: 'too few symbols' });
    const [encrypted] = letters.encrypt(three, ['😀'.repeat(13)]);
    expect(Array.from(String(encrypted))).toHaveLength(13);
    expect(letters.decrypt(three, [String(encrypted)])).toEqual(['😀'.repeat(13)]);
  });
});

/** Guarantees that masks hide all where nothing would be hidden, and numbers too. */
test('views', () => {
  const mask = (value: unknown, options: object) =>
    viewOf(nodeCiphers, { view: 'mask', ...options }, value, undefined);
  expect(mask('4111 1111', { keepSuffix: 4, separators: ' ' })).toBe('**** 1111');
  expect(mask('1111', { keepSuffix: 4 })).toBe('****');
  expect(mask(12.5, { keepPrefix: 1, symbol: '#' })).toBe('1###');
  expect(mask('😀😀', { keepPrefix: 1 })).toBe('😀*');
  expect(viewOf(nodeCiphers, { view: 'redact', replacement: '-' }, 1, undefined)).toBe('-');
  expect(() => viewOf(nodeCiphers, { view: 'hash' }, 1, undefined)).toThrow(TypeError);
});

/** Guarantees that a schema that cannot be used is told each fault with its place. */
test('schemas', () => {
  const format = {
    name: 'c',
    path: '/c',
    treatment: 'format-preserving',
    alphabet: 'digits',
    keyVersion: 1,
  } as const;
  const faultsOf = (fields: FieldDefinition[], indexes: SchemaDefinition['indexes'] = []) =>
    checkSchema({ key: 'k', fields, indexes }).map(({ pointer }) => pointer);
  const a = { name: 'a', path: '/a', treatment: 'randomized' } as const;
  const one = (more: object) => faultsOf([{ ...format, ...more }]);
  expect(faultsOf([a, format])).toEqual([]);
  expect(faultsOf([a, { ...a, path: '/b' }])).toEqual(['/fields/1/name']);
  expect(faultsOf([a, { ...a, name: 'b', path: '/a/b' }])).toEqual(['/fields/1/path']);
  expect(faultsOf([a, { ...a, name: 'b', path: '/*' }])).toEqual(['/fields/1/path']);
  expect(faultsOf([{ ...a, path: '$..a' }])).toEqual(['/fields/0/path']);
  expect(one({ symbols: 'ab' })).toEqual(['/fields/0/alphabet']);
  expect(one({ alphabet: undefined })).toEqual(['/fields/0/alphabet']);
  expect(one({ alphabet: undefined, symbols: 'aa' })).toEqual(['/fields/0/symbols']);
  expect(one({ alphabet: undefined, symbols: 'a\ud800' })).toEqual(['/fields/0/symbols']);
  expect(one({ alphabet: 'letters', luhn: true })).toEqual(['/fields/0/luhn']);
  expect(one({ separators: '1' })).toEqual(['/fields/0/separators']);
  expect(one({ versionMember: 'v' })).toEqual(['/fields/0/versionMember']);
  expect(one({ keyVersion: undefined, versionMember: 'c' })).toEqual(['/fields/0/versionMember']);
  expect(one({ keyVersion: undefined, versionMember: 'v', path: '/c/*' })).toEqual([
    '/fields/0/versionMember',
  ]);
  const index = { name: 'i', member: 'm', bits: 32, fields: [{ name: 'a' }] };
  expect(faultsOf([a], [index])).toEqual([]);
  expect(faultsOf([a], [{ ...index, member: 'a' }])).toEqual(['/indexes/0/member']);
  expect(faultsOf([a], [{ ...index, member: '__proto__' }])).toEqual(['/indexes/0/member']);
  expect(faultsOf([a], [{ ...index, name: 'a' }])).toEqual(['/indexes/0/name']);
  expect(faultsOf([a], [{ ...index, fields: [{ name: 'z' }] }])).toEqual(['/indexes/0/fields/0/name']);
  expect(
    faultsOf([a, { ...a, name: 'b', path: '/x/b' }], [{ ...index, fields: [{ name: 'a' }, { name: 'b' }] }]),
  ).toEqual(['/indexes/0/fields/1/name']);
  expect(faultsOf([{ ...a, path: '/x/*' }], [index])).toEqual(['/indexes/0/fields/0/name']);
});
