import { pageOf } from './shapes.ts';

const schema = {
  ...({ id: 'string', name: 'string', version: 'integer', createdAt: 'string', key: 'string' } as const),
  fields: [
    {
      ...({ name: 'string', path: 'string', 'key?': 'string', treatment: 'string' } as const),
      ...({ 'joinGroup?': 'string', 'alphabet?': 'string', 'symbols?': 'string' } as const),
      ...({ 'separators?': 'string', 'keepPrefix?': 'integer', 'keepSuffix?': 'integer' } as const),
      ...({ 'luhn?': 'boolean', 'versionMember?': 'string', 'keyVersion?': 'integer' } as const),
      'reveal?': {
        ...({ view: 'string', 'keepPrefix?': 'integer', 'keepSuffix?': 'integer' } as const),
        ...({ 'separators?': 'string', 'symbol?': 'string', 'replacement?': 'string' } as const),
      },
    },
  ],
  indexes: [
    {
      ...({ name: 'string', member: 'string', bits: 'integer', 'expectedRows?': 'integer' } as const),
      fields: [{ name: 'string', 'normalize?': ['string'] }],
      'falsePositives?': { expected: 'number', probability: 'number' },
    },
  ],
} as const;

const problem = {
  ...({ type: 'string', title: 'string', status: 'integer', detail: 'string', code: 'string' } as const),
} as const;

const documents = {
  ...({ schemaId: 'string', schemaVersion: 'integer', untouched: ['string'] } as const),
  results: [{ status: 'integer', 'document?': 'json', 'problem?': problem }],
} as const;

/** The part of the table in ./operations.ts that is about fields of documents. */
export const fieldOperations = {
  createFieldSchema: { method: 'POST', path: '/v1/fields/schemas', retry: 'key', answer: schema },
  listFieldSchemas: { method: 'GET', path: '/v1/fields/schemas', retry: 'safe', answer: pageOf(schema) },
  getFieldSchema: { method: 'GET', path: '/v1/fields/schemas/{schema}', retry: 'safe', answer: schema },
  addFieldSchemaVersion: {
    method: 'POST',
    path: '/v1/fields/schemas/{schema}/versions',
    retry: 'key',
    answer: schema,
  },
  encryptFields: { method: 'POST', path: '/v1/fields/encrypt', retry: 'safe', answer: documents },
  decryptFields: { method: 'POST', path: '/v1/fields/decrypt', retry: 'safe', answer: documents },
  revealFields: { method: 'POST', path: '/v1/fields/reveal', retry: 'safe', answer: documents },
  rewrapFields: { method: 'POST', path: '/v1/fields/rewrap', retry: 'safe', answer: documents },
  queryFieldTokens: {
    method: 'POST',
    path: '/v1/fields/query-tokens',
    retry: 'safe',
    answer: {
      schemaVersion: 'integer',
      results: [
        { status: 'integer', 'tokens?': [{ keyVersion: 'integer', token: 'string' }], 'problem?': problem },
      ],
    },
  },
} as const;
