import { parseExact } from '../../../src/core/exact-json.ts';
import type { SchemaDefinition } from '../../../src/crypto/fields/schema.ts';

const schema: SchemaDefinition = {
  key: 'people',
  fields: [
    { name: 'email', path: '/email', treatment: 'randomized' },
    { name: 'amount', path: '/amount', treatment: 'randomized' },
    { name: 'city', path: '/address/city', treatment: 'deterministic' },
    { name: 'customer', path: '$.orders[*].customer', treatment: 'deterministic', joinGroup: 'customers' },
    {
      ...{ name: 'card', path: '/card', treatment: 'format-preserving', alphabet: 'digits', separators: ' ' },
      ...{ keepPrefix: 1, keepSuffix: 4, luhn: true, versionMember: 'cardVersion' },
    },
    {
      ...{ name: 'plate', path: '/plate', treatment: 'format-preserving', alphabet: 'alphanumeric' },
      ...{ separators: '-', keyVersion: 1 },
    },
  ],
  indexes: [
    {
      ...{ name: 'by-email', member: 'emailIndex', bits: 37 },
      fields: [{ name: 'email', normalize: ['email'] }, { name: 'amount' }],
    },
  ],
};

/** What the golden documents in test/vectors/fields were before they were sealed. */
export const golden = {
  schema,
  record: 'row 1815',
  document: {
    email: 'Ada@Example.org',
    amount: parseExact('1.00'),
    address: { city: 'Zürich' },
    orders: [{ customer: 42 }, { customer: '42' }],
    card: '4111 1111 1111 1111',
    plate: 'ZH-8a15x',
    clear: 'as it is',
  },
};
