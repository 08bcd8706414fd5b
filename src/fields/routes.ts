import type { ServiceError } from '../core/errors.ts';
import { falsePositives } from '../crypto/fields/blind-index.ts';
import { problemOf } from '../http/problem.ts';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import { listQuery, toTimestamp } from '../http/validation.ts';
import type { FieldResults, Fields } from './fields.ts';
import {
  createSchemaBody,
  describeQuery,
  fieldsAnswer,
  fieldsBody,
  schemaParams as params,
  queryTokensAnswer,
  queryTokensBody,
  rewrapFieldsBody,
  schemaAnswer,
  schemasAnswer,
  schemaVersionBody,
} from './routes-schemas.ts';
import type { Schemas, SchemaView } from './schemas.ts';

const tag = 'Fields';
const naming = ['key/not-found', 'key/wrong-purpose'] as const;
const using = [
  ...(['fields/schema-not-found', ...naming, 'key/disabled', 'key/version-disabled'] as const),
] as const;
const body = fieldsBody;
/** What a document in it may weigh, and how many values there may be. */
const limits = {
  bodyLimitBytes: 32 * 1024 * 1024,
  bodyValues: 500_000,
  exactNumbers: true,
  timeoutSeconds: 60,
} as const;
const answer = { status: 200, description: 'One result a document, in order.', body: fieldsAnswer } as const;

export function fieldRoutes({
  fields,
  fieldSchemas,
}: {
  readonly fields: Fields;
  readonly fieldSchemas: Schemas;
}): AnyRoute[] {
  return [...schemaRoutes(fieldSchemas), ...documentRoutes(fields)];
}

function schemaRoutes(schemas: Schemas): AnyRoute[] {
  const example = {
    key: 'people',
    fields: [
      { name: 'email', path: '/email', treatment: 'randomized' as const },
      { name: 'customer', path: '/customer', treatment: 'deterministic' as const, joinGroup: 'customers' },
    ],
    indexes: [
      {
        ...{ name: 'by-email', member: 'emailIndex', bits: 24, expectedRows: 1_000_000 },
        fields: [{ name: 'email', normalize: ['email' as const] }],
      },
    ],
  };
  return [
    defineRoute({
      method: 'post',
      path: '/v1/fields/schemas',
      operationId: 'createFieldSchema',
      tag,
      summary: 'A schema: which fields of a document are treated, and how',
      idempotent: true,
      request: { body: createSchemaBody },
      answer: { status: 201, description: 'The schema, in version 1.', body: schemaAnswer },
      problems: ['fields/schema-exists', 'fields/schema-invalid', ...naming],
      example: { name: 'people', ...example },
      handle: async ({ caller, body: { name, ...definition } }) =>
        schemaOut(await schemas.create(caller, { name, definition })),
    }),
    defineRoute({
      method: 'get',
      path: '/v1/fields/schemas',
      operationId: 'listFieldSchemas',
      tag,
      summary: 'The current version of every schema',
      request: { query: listQuery },
      answer: { status: 200, description: 'A page of schemas.', body: schemasAnswer },
      problems: [],
      async handle({ caller, query }) {
        const { items, ...next } = await schemas.list(caller, query);
        return { items: items.map(schemaOut), ...next };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/fields/schemas/{schema}',
      operationId: 'getFieldSchema',
      tag,
      summary: 'A schema in one version',
      request: { params, query: describeQuery },
      answer: { status: 200, description: 'The schema.', body: schemaAnswer },
      problems: ['fields/schema-not-found'],
      handle: async ({ caller, params: { schema }, query: { version } }) =>
        schemaOut(await schemas.describe(caller, schema, version)),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/fields/schemas/{schema}/versions',
      operationId: 'addFieldSchemaVersion',
      tag,
      summary: 'Another version of a schema, the current one from then on',
      description:
        'Versions are never changed: what was sealed by one is opened by it, or rewrapped from it.',
      idempotent: true,
      request: { params, body: schemaVersionBody },
      answer: { status: 201, description: 'The schema, in its new version.', body: schemaAnswer },
      problems: ['fields/schema-not-found', 'fields/schema-invalid', 'fields/conflict', ...naming],
      example,
      handle: async ({ caller, params: { schema }, body: definition }) =>
        schemaOut(await schemas.addVersion(caller, schema, definition)),
    }),
  ];
}

function documentRoutes(fields: Fields): AnyRoute[] {
  const example = { schema: 'people', documents: [{ document: { email: 'ada@example.org', name: 'Ada' } }] };
  return [
    defineRoute({
      ...{ method: 'post', path: '/v1/fields/encrypt', operationId: 'encryptFields', tag, ...limits },
      summary: 'Up to 10,000 documents with their fields sealed and their indexes written',
      request: { body },
      answer,
      problems: [...using, 'key/usage-exhausted'],
      example,
      handle: async ({ caller, body }) => resultsOut(await fields.encrypt(caller, body), caller.requestId),
    }),
    defineRoute({
      ...{ method: 'post', path: '/v1/fields/decrypt', operationId: 'decryptFields', tag, ...limits },
      summary: 'The documents with the fields opened whose keys the caller may use',
      request: { body },
      answer,
      problems: using,
      handle: async ({ caller, body }) => resultsOut(await fields.decrypt(caller, body), caller.requestId),
    }),
    defineRoute({
      ...{ method: 'post', path: '/v1/fields/reveal', operationId: 'revealFields', tag, ...limits },
      summary: 'What the schema shows of the fields: masked, redacted or hashed',
      request: { body },
      answer,
      problems: using,
      handle: async ({ caller, body }) => resultsOut(await fields.reveal(caller, body), caller.requestId),
    }),
    defineRoute({
      ...{ method: 'post', path: '/v1/fields/rewrap', operationId: 'rewrapFields', tag, ...limits },
      summary: 'The documents sealed by the current versions of their keys',
      description:
        'Fields whose keys the caller may not use stay as they are, and so do values that are sealed by the current ' +
        'version already. With `fromVersion` the documents change to another version of the schema.',
      request: { body: rewrapFieldsBody },
      answer,
      problems: [...using, 'key/usage-exhausted'],
      handle: async ({ caller, body: request }) =>
        resultsOut(await fields.rewrap(caller, request), caller.requestId),
    }),
    defineRoute({
      ...{ method: 'post', path: '/v1/fields/query-tokens', operationId: 'queryFieldTokens', tag },
      exactNumbers: true,
      summary: 'What documents with these values are found by, one token for each version of the key',
      request: { body: queryTokensBody },
      answer: { status: 200, description: 'One result a query, in order.', body: queryTokensAnswer },
      problems: using,
      example: { schema: 'people', queries: [{ name: 'by-email', values: { email: 'ada@example.org' } }] },
      async handle({ caller, body: request }) {
        const { schemaVersion, results } = await fields.queryTokens(caller, request);
        return {
          schemaVersion,
          results: results.map((result) =>
            'error' in result
              ? failedOut(result.error, caller.requestId)
              : {
                  status: 200,
                  tokens: result.tokens.map(({ version, token }) => ({ keyVersion: version, token })),
                },
          ),
        };
      },
    }),
  ];
}

function schemaOut({ id, name, version, createdAt, definition: { key, fields, indexes = [] } }: SchemaView) {
  return {
    ...{ id, name, version, createdAt: toTimestamp(createdAt), key },
    fields: [...fields],
    indexes: indexes.map((index) => ({
      ...index,
      fields: index.fields.map(({ name, normalize }) => ({
        name,
        ...(normalize && { normalize: [...normalize] }),
      })),
      ...(index.expectedRows !== undefined && {
        falsePositives: falsePositives(index.bits, index.expectedRows),
      }),
    })),
  };
}

function resultsOut({ schemaId, schemaVersion, untouched, results }: FieldResults, requestId: string) {
  return {
    ...{ schemaId, schemaVersion, untouched: [...untouched] },
    results: results.map((result) =>
      'error' in result ? failedOut(result.error, requestId) : { status: 200, document: result.document },
    ),
  };
}

function failedOut(error: ServiceError, requestId: string) {
  const { body: problem } = problemOf(error, requestId);
  return { status: problem.status, problem: { ...problem } };
}
