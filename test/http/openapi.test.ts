import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import { expect, test } from 'vitest';
import { errorCodes } from '../../src/core/errors.ts';
import { openApiDocument, problemsOf } from '../../src/http/openapi.ts';
import { demoRoutes, startDemo } from './demo.ts';

interface Media {
  readonly schema: unknown;
  readonly example?: unknown;
}
interface Answer {
  readonly description: string;
  readonly headers: Record<string, { $ref: string }>;
  readonly content?: Record<string, Media>;
}
interface Operation {
  readonly operationId: string;
  readonly tags: string[];
  readonly parameters?: (
    | { $ref: string }
    | { name: string; in: string; required: boolean; schema: object }
  )[];
  readonly requestBody?: { required: boolean; content: Record<string, Media> };
  readonly responses: Record<string, Answer>;
}
interface Document {
  readonly openapi: string;
  readonly tags: { name: string }[];
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: Record<string, Record<string, unknown>>;
}

const routes = demoRoutes({ entered: 0, aborted: [], release: () => {}, opened: Promise.resolve() });
const document = openApiDocument(routes, '1.2.3') as unknown as Document;
const operations = Object.entries(document.paths).flatMap(([path, item]) =>
  Object.entries(item).map(([method, operation]) => ({ path, method, operation })),
);

/** Everything in the document that satisfies `found`. */
function collect<T>(node: unknown, found: (node: Record<string, unknown>) => T | undefined): T[] {
  if (typeof node !== 'object' || node === null) return [];
  const own = found(node as Record<string, unknown>);
  return [
    ...(own === undefined ? [] : [own]),
    ...Object.values(node).flatMap((child) => collect(child, found)),
  ];
}

const ajv = new Ajv2020({
  strict: true,
  strictTypes: false,
  strictRequired: false,
  allErrors: true,
  validateFormats: false,
  keywords: ['example'],
});
ajv.addSchema({ $id: 'openapi', ...document }, 'openapi');
ajv.addVocabulary(['openapi', 'info', 'servers', 'security', 'tags', 'paths', 'components']);

function validator(schema: unknown): ValidateFunction {
  const pointed = JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"openapi#/')) as object;
  return ajv.compile(pointed);
}

/** Guarantees the structure OpenAPI 3.1 asks for: references that lead somewhere, unique operations, parameters of their paths. */
test('is a sound document', () => {
  expect(document.openapi).toMatch(/^3\.1\.\d$/);
  const references = collect(document, (node) =>
    typeof node['$ref'] === 'string' ? node['$ref'] : undefined,
  );
  expect(references.length).toBeGreaterThan(20);
  for (const reference of references) {
    const target = reference
      .slice(2)
      .split('/')
      .reduce<unknown>((node, step) => (node as Record<string, unknown>)?.[step], document);
    expect([reference, typeof target]).toEqual([reference, 'object']);
  }
  const ids = operations.map(({ operation }) => operation.operationId);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids).toEqual(expect.arrayContaining(routes.map((route) => route.operationId)));
  for (const { path, operation } of operations) {
    const own = (operation.parameters ?? []).filter((parameter) => 'in' in parameter);
    const inPath = own.filter((parameter) => parameter.in === 'path');
    expect(inPath.map(({ name }) => name)).toEqual([...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]));
    expect(inPath.every(({ required }) => required)).toBe(true);
    for (const { name } of operation.tags.map((tag) => ({ name: tag })))
      expect(document.tags).toContainEqual({ name });
    for (const answer of Object.values(operation.responses)) expect(answer.description).not.toBe('');
  }
});

/** Guarantees that all its schemas are JSON Schema 2020-12, without what only zod understands. */
test('has valid schemas', () => {
  const schemas = collect(document, (node) => ('schema' in node ? node['schema'] : undefined));
  expect(schemas.length).toBeGreaterThan(30);
  for (const schema of [...schemas, ...Object.values(document.components['schemas'] ?? {})]) {
    expect(() => validator(schema)).not.toThrow();
  }
  expect(JSON.stringify(document)).not.toMatch(/\$defs|\$schema/);
});

/** Guarantees that the same routes give the same bytes, and that the document is what the port serves. */
test('is deterministic', async () => {
  const { url } = await startDemo({ version: '1.2.3' });
  const served = await fetch(`${url}/openapi.json`);
  expect(served.headers.get('content-type')).toBe('application/json');
  expect(await served.text()).toBe(JSON.stringify(document));
  expect(JSON.stringify(openApiDocument(routes, '1.2.3'))).toBe(JSON.stringify(document));
});

/** Guarantees that limits, forms and defaults of the building blocks are told to readers of the document. */
test('documents the building blocks', () => {
  const seal = document.paths['/v1/demo/{key}/seal']?.['post'];
  const body = seal?.requestBody?.content['application/json']?.schema as {
    properties: Record<string, object>;
    additionalProperties: boolean;
  };
  expect(body.additionalProperties).toBe(false);
  expect(body.properties['plaintext']).toEqual({
    type: 'string',
    maxLength: 1368,
    contentEncoding: 'base64',
  });
  expect(body.properties['at']).toMatchObject({ type: 'string', format: 'date-time' });
  expect(body.properties['context']).toEqual({ $ref: '#/components/schemas/Context' });
  expect(document.components['schemas']?.['Context']).toMatchObject({
    type: 'object',
    maxProperties: 64,
    propertyNames: { minLength: 1, maxLength: 128 },
    additionalProperties: { type: 'string', maxLength: 1024 },
  });
  expect(seal?.responses['200']?.content?.['application/json']?.schema).toMatchObject({
    required: ['plaintext', 'key', 'source'],
    additionalProperties: false,
  });
  const query = document.paths['/v1/demo']?.['get']?.parameters;
  expect(query?.[0]).toEqual({
    name: 'limit',
    in: 'query',
    required: false,
    description: 'Items at most. Default 100.',
    schema: { type: 'integer', minimum: 1, maximum: 1000 },
  });
  expect(JSON.stringify(seal?.parameters)).toContain('IdempotencyKey');
  expect(JSON.stringify(seal?.parameters)).toContain('ContentDigest');
  expect(JSON.stringify(query)).not.toMatch(/IdempotencyKey|ContentDigest/);
});

/** Guarantees that a route that has to come before others does not bring the rest of its tag to the front of the page. */
test('orders the tags', () => {
  const tagged = (tag: string, path: string) => ({ ...routes[0], tag, path }) as (typeof routes)[number];
  const ordered = [
    tagged('second', '/a'),
    tagged('first', '/b'),
    tagged('second', '/c'),
    tagged('third', '/d'),
  ];
  const { tags } = openApiDocument(ordered, '1.2.3') as unknown as Document;
  expect(tags.map(({ name }) => name)).toEqual(['first', 'second', 'third', 'system']);
});

/** Guarantees that examples are valid requests by the schema beside them. */
test('has examples that hold', () => {
  const examples = operations
    .flatMap(({ operation }) => Object.values(operation.requestBody?.content ?? {}))
    .filter((media) => 'example' in media);
  expect(examples.length).toBeGreaterThan(0);
  for (const { schema, example } of examples) expect(validator(schema)(example)).toBe(true);
});

/** Guarantees that what the routes answer, success and every kind of refusal, is what the document says they answer. */
test('describes every answer', async () => {
  const { call, post, url, gate } = await startDemo();
  const check = async (path: string, method: string, response: Response): Promise<void> => {
    const answer = document.paths[path]?.[method]?.responses[response.status];
    const place = `${method} ${path} ${response.status}`;
    expect([place, answer === undefined]).toEqual([place, false]);
    for (const header of Object.keys(answer?.headers ?? {}))
      expect([place, header, response.headers.has(header)]).toEqual([place, header, true]);
    const type = response.headers.get('content-type')?.split(';')[0] ?? '';
    const text = await response.text();
    if (answer?.content === undefined) {
      expect([place, text]).toEqual([place, '']);
      return;
    }
    const validate = validator(answer.content[type]?.schema ?? false);
    const valid = validate(type === 'text/plain' ? text : JSON.parse(text));
    expect([place, valid, validate.errors]).toEqual([place, true, null]);
  };
  gate.release();
  const seal = '/v1/demo/{key}/seal';
  const good = { plaintext: 'AAEC', context: { a: 'b' }, at: '2026-11-24T00:00:00Z' };
  await check(seal, 'post', await post('/v1/demo/k/seal', good, { 'idempotency-key': 'x' }));
  await check(seal, 'post', await post('/v1/demo/k/seal', { ...good, other: 1 }));
  await check(seal, 'post', await post('/v1/demo/k/seal', good, { 'content-digest': 'x' }));
  await check(seal, 'post', await post('/v1/demo/k/seal', good, { 'content-type': 'text/plain' }));
  await check(seal, 'post', await post('/v1/demo/k/seal', ' '.repeat(5000)));
  await check(seal, 'post', await fetch(`${url}/v1/demo/k/seal`, { method: 'POST' }));
  await check('/v1/demo', 'get', await call('/v1/demo'));
  await check('/v1/demo/{key}', 'delete', await call('/v1/demo/k', { method: 'DELETE' }));
  await check('/v1/demo/wait', 'post', await call('/v1/demo/wait', { method: 'POST' }));
  for (const path of ['/healthz', '/readyz', '/metrics']) await check(path, 'get', await call(path));
  for (const code of [...errorCodes, 'unknown']) {
    await check('/v1/demo/fail', 'post', await post('/v1/demo/fail', { code, secret: '' }));
  }
});

/** Guarantees that a route's problems are its own and the common ones, each once. */
test('lists the problems of a route', () => {
  const [seal, list] = routes;
  const problems = problemsOf(seal ?? routes[0]!);
  expect(new Set(problems).size).toBe(problems.length);
  expect(problems).toEqual(
    expect.arrayContaining([
      'key/not-found',
      'request/invalid',
      'request/idempotency-conflict',
      'service/overloaded',
    ]),
  );
  expect(problemsOf(list!)).not.toEqual(expect.arrayContaining(['key/not-found']));
  expect(problemsOf(list!)).not.toEqual(expect.arrayContaining(['request/unsupported-media-type']));
});
