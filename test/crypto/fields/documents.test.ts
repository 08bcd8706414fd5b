import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { copyExact } from '../../../src/core/exact-json.ts';
import {
  decryptItems,
  encryptItems,
  revealItems,
  rewrapItems,
} from '../../../src/crypto/fields/documents.ts';
import type { Item, Tools } from '../../../src/crypto/fields/items.ts';
import { queryTokens, searchable } from '../../../src/crypto/fields/queries.ts';
import type { SchemaDefinition } from '../../../src/crypto/fields/schema.ts';
import { compiled, everyCiphers, rawNumber, type TestKeys, testKeys } from './support.ts';

const people: SchemaDefinition = {
  key: 'people',
  fields: [
    { name: 'email', path: '/email', treatment: 'randomized', reveal: { view: 'hash' } },
    { name: 'city', path: '/address/city', treatment: 'deterministic' },
    { name: 'customer', path: '/customer', treatment: 'deterministic', joinGroup: 'customers' },
    {
      ...{ name: 'card', path: '$.cards[*].number', treatment: 'format-preserving', alphabet: 'digits' },
      ...{ separators: ' -', keepSuffix: 4, luhn: true, versionMember: 'numberVersion' },
      reveal: { view: 'mask', keepSuffix: 4, separators: ' -' },
    },
    {
      name: 'diagnosis',
      path: '/diagnosis',
      treatment: 'randomized',
      key: 'health',
      reveal: { view: 'redact' },
    },
    { name: 'note', path: '/note', treatment: 'none', reveal: { view: 'mask', keepPrefix: 1 } },
  ],
  indexes: [
    {
      ...{ name: 'by-email', member: 'emailIndex', bits: 20 },
      fields: [{ name: 'email', normalize: ['email'] }],
    },
    {
      ...{ name: 'by-email-and-customer', member: 'pairIndex', bits: 64 },
      fields: [{ name: 'email', normalize: ['email'] }, { name: 'customer' }],
    },
  ],
};

const ada = {
  email: 'Ada@Example.org',
  customer: 1815,
  address: { city: 'London', street: 'untouched' },
  cards: [{ number: '4111 1111 1111 1111', name: 'A' }, { number: '5500-0055-5555-5559' }],
  diagnosis: { code: 'J45', since: [1, 2] },
  note: 'none',
};

const all = () => true;
const itemOf = (document: unknown, record?: string): Item => ({
  document: copyExact(document),
  ...(record !== undefined && { record }),
});
const reasons = (items: readonly Item[]) => items.map(({ refused }) => refused?.reason);

async function sealedAlone(keys: TestKeys, tools: Tools, document: unknown, record?: string) {
  const item = itemOf(document, record);
  await keys.run(encryptItems(tools, [item]));
  return item;
}

async function openedAlone(keys: TestKeys, tools: Tools, document: unknown, record?: string) {
  const item = itemOf(document, record);
  await keys.run(decryptItems(tools, all, [item]));
  return item;
}

describe.each(everyCiphers)('by $name', ({ ciphers }) => {
  const tools: Tools = { ciphers, schema: compiled(people) };

  /** Guarantees that a document comes back as it was, and that what no schema names is untouched meanwhile. */
  test('back as it was', async () => {
    const keys = testKeys(ciphers);
    const { document } = await sealedAlone(keys, tools, ada);
    const sealed = document as typeof ada & Record<string, unknown>;
    expect(sealed.address.street).toBe('untouched');
    expect(sealed.note).toBe('none');
    expect(sealed.email).toMatch(/^sf1\./);
    expect(sealed['emailIndex']).toMatch(/^[\w-]{4}$/);
    expect(sealed.cards[0]?.number).toMatch(/^\d{4} \d{4} \d{4} 1111$/);
    expect(sealed.cards[0]).toMatchObject({ numberVersion: 1, name: 'A' });
    expect(JSON.stringify(sealed)).not.toContain('London');
    expect((await openedAlone(keys, tools, sealed)).document).toEqual(ada);
  });

  /** Guarantees that any JSON value comes back to the letter, by each way of sealing it. */
  test('any JSON', async () => {
    const keys = testKeys(ciphers);
    const schema = compiled({
      key: 'people',
      fields: [
        { name: 'r', path: '/r', treatment: 'randomized' },
        { name: 'd', path: '/d', treatment: 'deterministic' },
      ],
    });
    const values = fc.oneof(
      fc.jsonValue({ maxDepth: 4 }),
      fc.string({ unit: 'binary' }),
      fc.constantFrom('\ud800', '\ufeffa', 'a\u0000', '', '1.0', 'null'),
      fc.constantFrom('-0', '1e400', '1.0', '12345678901234567890', '0.10').map((text) => rawNumber(text)),
    );
    await fc.assert(
      fc.asyncProperty(values, async (value) => {
        if (Object.is(value, -0) || JSON.stringify(value).includes('__proto__')) return;
        fc.pre(isExact(value));
        const written = JSON.stringify({ r: value, d: value });
        const { document } = await sealedAlone(keys, { ciphers, schema }, { r: value, d: value });
        const back = (await openedAlone(keys, { ciphers, schema }, document)).document;
        expect(JSON.stringify(back)).toBe(written);
      }),
      { numRuns: 30 },
    );
  });

  /** Guarantees that an authenticated value opens in its path, record, schema, namespace and version alone. */
  test('bound to its place', async () => {
    const keys = testKeys(ciphers);
    const flat: SchemaDefinition = {
      key: 'people',
      fields: [
        { name: 'a', path: '/a', treatment: 'randomized' },
        { name: 'b', path: '/b', treatment: 'randomized' },
        { name: 'c', path: '/c', treatment: 'deterministic' },
        { name: 'd', path: '/d', treatment: 'deterministic' },
      ],
    };
    const there: Tools = { ciphers, schema: compiled(flat) };
    const { document } = await sealedAlone(keys, there, { a: 1, b: 1, c: 1, d: 1 }, 'row 1');
    const { a, b, c, d } = document as Record<'a' | 'b' | 'c' | 'd', string>;
    expect((await openedAlone(keys, there, { a, b, c, d }, 'row 1')).refused).toBeUndefined();
    const refused = async (moved: object, by = keys, at = there, record: string | undefined = 'row 1') =>
      expect((await openedAlone(by, at, moved, record)).refused?.reason).toBe('not sealed');
    await refused({ a: b });
    await refused({ c: d });
    await refused({ a: c });
    await refused({ c: a });
    await refused({ a }, keys, there, 'row 2');
    const item = itemOf({ a });
    await keys.run(decryptItems(there, all, [item]));
    expect(item.refused?.reason).toBe('not sealed');
    const elsewhere = { ciphers, schema: compiled(flat, '018f0000-0000-7000-8000-0000000000cc') };
    const foreign = testKeys(ciphers, '018f0000-0000-7000-8000-0000000000dd');
    for (const moved of [{ a }, { c }]) {
      await refused(moved, keys, elsewhere);
      await refused(moved, foreign);
    }
    // Another version of the key in the header, and every changed bit.
    keys.rotate('people');
    for (const sealed of [a, c]) {
      const bytes = Buffer.from(sealed.slice(4), 'base64url');
      for (let bit = 0; bit < bytes.length * 8; bit += 5) {
        const changed = Buffer.from(bytes);
        changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        const text = `sf1.${changed.toString('base64url')}`;
        await refused(sealed === a ? { a: text } : { c: text });
      }
      for (const text of [sealed.slice(0, -1), sealed.slice(0, 20), 'sf1.', `${sealed}=`, 'plain', 1, null])
        await refused(sealed === a ? { a: text } : { c: text });
    }
  });

  /** Guarantees that only what the caller's keys are for is opened or shown; the rest stays sealed. */
  test('a part of the fields', async () => {
    const keys = testKeys(ciphers);
    const { document } = await sealedAlone(keys, tools, ada);
    const sealed = document as Record<string, unknown>;
    const item = itemOf(sealed);
    const tally = await keys.run(decryptItems(tools, (key) => key === 'health', [item]));
    expect(item.document).toEqual({ ...sealed, diagnosis: ada.diagnosis });
    expect([...tally].map(([{ name }, count]) => [name, count])).toEqual([['diagnosis', 1]]);

    const shown = itemOf(sealed);
    await keys.run(revealItems(tools, all, [shown]));
    expect(shown.document).toEqual({
      email: expect.stringMatching(/^[\w-]{43}$/),
      customer: sealed['customer'],
      address: sealed['address'],
      cards: [{ number: '**** **** **** 1111', name: 'A' }, { number: '****-****-****-5559' }],
      diagnosis: null,
      note: 'n***',
    });
  });

  /** Guarantees that equal values are found: deterministic within a group, indexes by what the normalizer makes equal. */
  test('found again', async () => {
    const keys = testKeys(ciphers);
    const orders: Tools = {
      ciphers,
      schema: compiled(
        {
          key: 'people',
          fields: [
            { name: 'who', path: '/who', treatment: 'deterministic', joinGroup: 'customers' },
            { name: 'apart', path: '/apart', treatment: 'deterministic' },
          ],
        },
        '018f0000-0000-7000-8000-0000000000cc',
      ),
    };
    const one = (await sealedAlone(keys, tools, ada)).document as Record<string, string>;
    const two = (await sealedAlone(keys, tools, { ...ada, email: ' ADA@example.ORG ' }))
      .document as typeof one;
    const order = (await sealedAlone(keys, orders, { who: 1815, apart: 1815 })).document as typeof one;
    expect(two['email']).not.toBe(one['email']);
    expect([two['emailIndex'], two['pairIndex']]).toEqual([one['emailIndex'], one['pairIndex']]);
    expect(order['who']).toBe(one['customer']);
    expect(order['apart']).not.toBe(one['customer']);

    const tokens = async (name: string, values: Record<string, unknown>) => {
      const what = searchable(tools, name);
      if (what === undefined) return undefined;
      const key = what.kind === 'index' ? what.index.key : what.field.key;
      const versions = await Promise.all([1, 2].map((ordinal) => keys.source.version(key, ordinal)));
      const asked = { values: new Map(Object.entries(values)), versions: versions.flatMap((v) => v ?? []) };
      return (await keys.run(queryTokens(tools, what, asked))).map(({ token }) => token);
    };
    expect(await tokens('by-email', { email: 'ada@example.org' })).toEqual([one['emailIndex']]);
    expect(await tokens('by-email-and-customer', { email: 'ada@example.org', customer: 1815 })).toEqual([
      one['pairIndex'],
    ]);
    expect(await tokens('customer', { customer: 1815 })).toEqual([one['customer']]);
    expect(await tokens('card', { card: '4111 1111 1111 1111' })).toEqual([
      (one['cards'] as unknown as typeof ada.cards)[0]?.number,
    ]);
    expect(await tokens('email', { email: 'x' })).toBeUndefined();
    await expect(tokens('by-email', {})).rejects.toThrow(/index/);

    keys.rotate('people');
    const three = (await sealedAlone(keys, tools, ada)).document as typeof one;
    expect(await tokens('by-email', { email: 'ada@example.org' })).toEqual([
      one['emailIndex'],
      three['emailIndex'],
    ]);
  });

  /** Guarantees that a rewrap moves what is sealed by an older version, and leaves the rest to the byte. */
  test('rewrapped', async () => {
    const keys = testKeys(ciphers);
    const { document } = await sealedAlone(keys, tools, ada, 'row 1');
    const sealed = document as Record<string, unknown>;
    keys.rotate('health');
    const item = itemOf(sealed, 'row 1');
    const tally = await keys.run(rewrapItems(tools, { from: tools.schema, allowed: all }, [item]));
    const moved = item.document as Record<string, unknown>;
    expect(moved).toEqual({ ...sealed, diagnosis: moved['diagnosis'] });
    expect(moved['diagnosis']).not.toBe(sealed['diagnosis']);
    expect([...tally].map(([{ name }]) => name)).toEqual(['diagnosis']);
    expect((await openedAlone(keys, tools, moved, 'row 1')).document).toEqual(ada);

    keys.rotate('people');
    const again = itemOf(moved, 'row 1');
    await keys.run(rewrapItems(tools, { from: tools.schema, allowed: (key) => key === 'people' }, [again]));
    const last = again.document as Record<string, unknown>;
    expect(last['diagnosis']).toBe(moved['diagnosis']);
    for (const name of ['email', 'customer', 'emailIndex', 'pairIndex'])
      expect(last[name]).not.toBe(moved[name]);
    expect((last['cards'] as object[])[0]).toMatchObject({ numberVersion: 2 });
    expect((await openedAlone(keys, tools, last, 'row 1')).document).toEqual(ada);

    // As another version of the schema treats it.
    const fields = people.fields.map((field) =>
      field.name === 'city'
        ? ({ name: 'city', path: '/address/city', treatment: 'randomized' } as const)
        : field,
    );
    const next: Tools = { ciphers, schema: compiled({ ...people, fields }) };
    const migrated = itemOf(last, 'row 1');
    await keys.run(rewrapItems(next, { from: tools.schema, allowed: all }, [migrated]));
    expect((await openedAlone(keys, tools, migrated.document, 'row 1')).refused?.reason).toBe('not sealed');
    expect((await openedAlone(keys, next, migrated.document, 'row 1')).document).toEqual(ada);
  });

  /** Guarantees that each document is refused by itself, with a reason that quotes nothing of it. */
  test('refusals', async () => {
    const keys = testKeys(ciphers);
    const many = Object.fromEntries(Array.from({ length: 1_001 }, (_, index) => [`c${index}`, {}]));
    const refusals: [unknown, string | undefined][] = [
      [ada, undefined],
      [{ ...ada, email: 'sf1.AAAA' }, 'sealed already'],
      [{ ...ada, email: 'nobody' }, 'no e-mail'],
      [{ ...ada, email: { a: 1 } }, 'no scalar'],
      [{ ...ada, emailIndex: 'x' }, 'member exists'],
      [{ ...ada, address: { city: 'x'.repeat(65_536) } }, 'too long'],
      [{ ...ada, cards: [{ number: 4_111 }] }, 'no text'],
      [{ ...ada, cards: [{ number: '4111 1111 1111 1112' }] }, 'check digit'],
      [{ ...ada, cards: [{ number: '4111_1111_1111_1111' }] }, 'foreign symbol'],
      [{ ...ada, cards: [{ number: '41111111112' }] }, undefined],
      [{ ...ada, cards: [{ number: '0000000000' }] }, 'too few symbols'],
      [{ ...ada, cards: [{ number: '0'.repeat(257) }] }, 'too many symbols'],
      [{ ...ada, cards: [{ number: '4111111111111111', numberVersion: 9 }] }, 'member exists'],
      [{ ...ada, cards: many }, 'too many places'],
      [{ unknown: 1, email: null, cards: 'none', address: [] }, undefined],
      [7, undefined],
    ];
    const items = refusals.map(([document]) => itemOf(document));
    await keys.run(encryptItems(tools, items));
    expect(reasons(items)).toEqual(refusals.map(([, reason]) => reason));
    for (const { refused } of items) expect(refused?.message ?? '').not.toMatch(/4111|nobody/);
  });
});

/** A JSON value of a program that is written again as it was: no -0 inside. */
function isExact(value: unknown): boolean {
  try {
    copyExact(value);
    return true;
  } catch {
    return false;
  }
}
