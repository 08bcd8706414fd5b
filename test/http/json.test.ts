import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ServiceError } from '../../src/core/errors.ts';
import { parseJson } from '../../src/http/json.ts';

const bytes = (text: string) => Buffer.from(text);

function refusal(text: string | Uint8Array): string {
  try {
    parseJson(typeof text === 'string' ? bytes(text) : text);
  } catch (error) {
    if (error instanceof ServiceError && error.code === 'request/invalid') return error.detail;
    throw error;
  }
  return 'accepted';
}

/** Guarantees that every JSON value without repeated names means here what it means to JSON.parse. */
test('reads what JSON.parse reads', () => {
  fc.assert(
    fc.property(
      fc.jsonValue({ maxDepth: 6 }),
      fc.constantFrom(undefined, 1, '\t', '\r\n '),
      (value, space) => {
        const text = JSON.stringify(value, undefined, space);
        if (/__proto__/.test(text)) return;
        expect(parseJson(bytes(text))).toStrictEqual(JSON.parse(text));
      },
    ),
  );
});

/** Guarantees that no text is accepted that JSON.parse refuses, and none refused without a reason of ours. */
test('agrees with JSON.parse on texts that are nearly JSON', () => {
  const piece = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '\\',
    '\\"',
    '\\u0061',
    'a',
    '"a"',
    '"b"',
    '1',
    'null',
    ' ',
    '\n',
    '-',
    '.',
    'e9',
  );
  let accepted = 0;
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 14 }), (pieces) => {
      const text = pieces.join('');
      const mine = refusal(text);
      let valid = true;
      try {
        JSON.parse(text);
      } catch {
        valid = false;
      }
      if (mine === 'accepted') accepted++;
      if (mine === 'accepted') expect(valid).toBe(true);
      else if (valid) expect(mine).toBe('The body has an object with the same member name twice.');
    }),
    { numRuns: 20_000 },
  );
  expect(accepted).toBeGreaterThan(50);
});

const twice = 'The body has an object with the same member name twice.';

/** Guarantees that two members of one name never reach an operation, however the names are written. */
test.each([
  '{"a":1,"a":2}',
  '{"a":1,"\\u0061":2}',
  '{"\\u0061":1,"a":2}',
  '{"x":{"a":1,"b":[{"c":1,"c":1}]}}',
  '{"operations":[{"id":"1"},{"id":"1","id":"2"}]}',
  '{"":1,"":2}',
  '{"\\"":1,"\\u0022":2}',
  '{"a\\\\":1,"a\\\\":2}',
  '{ "a" : [1,{}] ,\n"a" : 2}',
  '{"é":1,"\\u00e9":2}',
  '{"😀":1,"\\ud83d\\ude00":2}',
])('refuses the same name twice: %s', (text) => {
  JSON.parse(text);
  expect(refusal(text)).toBe(twice);
});

/** Guarantees that names may recur in different objects, as values and as parts of strings. */
test.each([
  '{"a":{"a":{"a":1}}}',
  '[{"a":1},{"a":2}]',
  '{"a":"a","b":"a"}',
  '{"a":["a","a"]}',
  '{"a":"{\\"a\\":1,\\"a\\":2}"}',
  '{"constructor":1,"toString":2,"hasOwnProperty":3}',
  '"a"',
  '1',
  'null',
])('accepts %s', (text) => {
  expect(parseJson(bytes(text))).toStrictEqual(JSON.parse(text));
});

/** Guarantees that `__proto__` is no member name, at any depth and however it is written. */
test.each([
  '{"__proto__":{"x":1}}',
  '{"a":[{"__proto__":1}]}',
  '{"\\u005f_proto__":1}',
  '{"__proto\\u005f\\u005F":1}',
])('refuses %s', (text) => {
  expect(refusal(text)).toBe('The body has a member with a forbidden name.');
  expect(refusal('{"a":"__proto__"}')).toBe('accepted');
});

/** Guarantees that depth is limited to 32 and that no depth exhausts the stack. */
test('limits depth', () => {
  expect(refusal('['.repeat(32) + ']'.repeat(32))).toBe('accepted');
  expect(refusal('['.repeat(33) + ']'.repeat(33))).toBe('The body is nested too deeply.');
  expect(refusal('{"a":'.repeat(33))).toBe('The body is nested too deeply.');
  expect(refusal('['.repeat(5_000_000))).toBe('The body is nested too deeply.');
});

/** Guarantees that the number of values is limited: each one could become a complaint of the validator. */
test('limits the number of values', () => {
  const list = (length: number) => `[${Array(length).fill('1').join(',')}]`;
  expect(refusal(list(100_000))).toBe('accepted');
  expect(refusal(list(100_001))).toBe('The body holds too many values.');
  expect(refusal(`[${Array(60_000).fill('{}').join(',')}]`)).toBe('The body holds too many values.');
});

/** Guarantees that only UTF-8 without a byte order mark is read. */
test('refuses other encodings', () => {
  expect(refusal('\ufeff{}')).toBe('The body starts with a byte order mark.');
  for (const wrong of [
    [0x22, 0xff, 0x22],
    [0x22, 0xc0, 0x80, 0x22],
    [0x22, 0xed, 0xa0, 0x80, 0x22],
    [0xff, 0xfe, 0x31, 0],
  ]) {
    expect(refusal(Uint8Array.from(wrong))).toBe('The body is not valid UTF-8.');
  }
  expect(refusal(Uint8Array.from([0x22, 0xf0, 0x9f, 0x98]))).toBe('The body is not valid UTF-8.');
});

/** Guarantees that time grows with the text and not with its square, for texts made to be slow. */
test('is linear', () => {
  const size = 4_000_000;
  const texts = [
    `"${'\\\\'.repeat(size / 2)}"`,
    `"${'\\"'.repeat(size / 2)}"`,
    `{"a":"${'A'.repeat(size)}"}`,
    `"${'\\'.repeat(size)}`,
    '"'.repeat(size),
  ];
  for (const text of texts) {
    const started = performance.now();
    refusal(text);
    expect(performance.now() - started).toBeLessThan(1_000);
  }
});

/** Guarantees that a refusal quotes nothing of the text. */
test('refusals are fixed texts', () => {
  for (const text of [
    '{"s3cret":s3cret}',
    's3cret',
    '{"s3cret":1,"s3cret":1}',
    '["s3cret"',
    '{"s3cret\\x":1,"b":1}',
  ]) {
    expect(refusal(text)).not.toBe('accepted');
    expect(refusal(text)).not.toContain('s3cret');
  }
});
