/** A schema of fields, which needs a key of the purpose `fields` of this name. */
export function schemaOf(name: string, key: string) {
  return {
    name,
    key,
    fields: [
      { name: 'a', path: '/a', treatment: 'randomized', reveal: { view: 'redact' } },
      { name: 'b', path: '/b', treatment: 'deterministic' },
    ],
    indexes: [{ name: 'by-a', member: 'aIndex', bits: 32, fields: [{ name: 'a' }] }],
  };
}

/** Requests about documents that are answered 200, by operation. */
export const documentRequests = (schema: string) =>
  [
    ['encryptFields', '/v1/fields/encrypt', { schema, documents: [{ document: { a: 1, b: 'x' } }] }],
    ['decryptFields', '/v1/fields/decrypt', { schema, documents: [{ document: {}, record: 'r' }] }],
    ['revealFields', '/v1/fields/reveal', { schema, version: 1, documents: [{ document: {} }] }],
    [
      'rewrapFields',
      '/v1/fields/rewrap',
      { schema, version: 1, fromVersion: 1, documents: [{ document: {} }] },
    ],
    [
      'queryFieldTokens',
      '/v1/fields/query-tokens',
      { schema, version: 1, queries: [{ name: 'by-a', values: { a: 1 }, versions: [1] }] },
    ],
  ] as const;
