import { z } from 'zod';
import type { ErrorCode } from '../core/errors.ts';
import { interfaceVersion } from './exchange.ts';
import { lineLimits } from './lines.ts';
import { componentsOf, headerRefs, type JsonObject, systemPaths } from './openapi-parts.ts';
import { bodyLimitBytes } from './operation.ts';
import { problemKinds } from './problem.ts';
import type { AnyRoute } from './route.ts';

// OpenAPI 3.1 takes JSON Schema 2020-12 as it is, which zod emits itself; what remains is this assembling. The
// libraries that do it want to validate in middleware too, which cost a fifth of the throughput.

/** Describes the routes as an OpenAPI 3.1 document. The same routes give the same text. */
export function openApiDocument(routes: readonly AnyRoute[], version: string): JsonObject {
  const shared: JsonObject = {};
  const paths: { [path: string]: JsonObject } = {};
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method]: operation(route, shared) };
  }
  return {
    openapi: '3.1.1',
    info: {
      title: 'Stathera KMS',
      version,
      description: `Interface version ${interfaceVersion}. Bytes are standard padded base64, times RFC 3339 in UTC; every refusal is a problem document (RFC 9457).`,
    },
    servers: [{ url: '/' }],
    security: [{ bearer: [] }],
    tags: [...tagsOf(routes), 'system'].map((name) => ({ name })),
    paths: { ...paths, ...systemPaths },
    components: componentsOf(shared),
  };
}

/** Each where its last route stands: some come earlier than the rest, for the router's sake. */
function tagsOf(routes: readonly AnyRoute[]): string[] {
  return [...new Set(routes.map(({ tag }) => tag).toReversed())].toReversed();
}

/** Every code a route can answer with: its own and those that come from HTTP, access and the parts below. */
export function problemsOf(route: AnyRoute): readonly ErrorCode[] {
  const codes: ErrorCode[] = [
    'request/invalid',
    'request/digest-mismatch',
    'access/unauthenticated',
    'access/denied',
  ];
  codes.push('request/timeout', 'request/too-large');
  if (route.request.body !== undefined) codes.push('request/unsupported-media-type');
  if (route.idempotent === true) codes.push('request/idempotency-conflict', 'request/already-completed');
  codes.push('internal', 'audit/unavailable', 'hsm/unavailable', 'store/unavailable');
  codes.push('service/overloaded', 'service/rate-limited', 'service/shutting-down');
  return [...new Set([...codes, ...route.problems])];
}

function operation(route: AnyRoute, shared: JsonObject): JsonObject {
  const { params, query, body } = route.request;
  return {
    operationId: route.operationId,
    tags: [route.tag],
    summary: route.summary,
    ...(route.description !== undefined && { description: route.description }),
    parameters: [
      ...(params ? parameters(params, 'path', shared) : []),
      ...(query ? parameters(query, 'query', shared) : []),
      { $ref: '#/components/parameters/RequestId' },
      ...(route.idempotent === true ? [{ $ref: '#/components/parameters/IdempotencyKey' }] : []),
      ...(body && !route.lines ? [{ $ref: '#/components/parameters/ContentDigest' }] : []),
    ],
    ...(body && { requestBody: requestBody(route, body, shared) }),
    responses: { ...answer(route, shared), ...problemAnswers(problemsOf(route)) },
  };
}

function parameters(schema: z.ZodType, place: 'path' | 'query', shared: JsonObject): JsonObject[] {
  const { properties = {}, required = [] } = jsonSchema(schema, 'input', shared) as {
    properties?: JsonObject;
    required?: string[];
  };
  return Object.entries(properties).map(([name, member]) => {
    const { description, ...rest } = member as JsonObject;
    return {
      name,
      in: place,
      required: place === 'path' || required.includes(name),
      ...(description !== undefined && { description }),
      schema: rest,
    };
  });
}

function requestBody(route: AnyRoute, body: z.ZodType, shared: JsonObject): JsonObject {
  return {
    required: !route.lines && !body.safeParse(undefined).success,
    description: route.lines
      ? `Any number of lines, each as the schema has it and at most ${lineLimits.bytes} bytes.`
      : `At most ${bodyLimitBytes(route)} bytes.`,
    content: {
      [route.mediaType ?? mediaTypeOf(route)]:
        route.mediaType === 'application/octet-stream'
          ? {}
          : {
              schema: jsonSchema(body, 'input', shared),
              ...(route.example !== undefined && { example: route.example }),
            },
    },
  };
}

/** What bodies are: JSON, or lines of which the schema describes one. */
function mediaTypeOf({ lines }: AnyRoute): string {
  return lines ? 'application/x-ndjson' : 'application/json';
}

function answer(route: AnyRoute, shared: JsonObject): JsonObject {
  const { status, description, body } = route.answer;
  return {
    [status]: {
      description,
      headers: headerRefs,
      ...(body && { content: { [mediaTypeOf(route)]: { schema: jsonSchema(body, 'output', shared) } } }),
    },
  };
}

/** One answer a status, with the codes it may have. */
function problemAnswers(codes: readonly ErrorCode[]): JsonObject {
  const byStatus = Map.groupBy(codes, (code) => problemKinds[code].status);
  return Object.fromEntries(
    [...byStatus].map(([status, group]) => [
      status,
      {
        description: group.map((code) => `\`${code}\`: ${problemKinds[code].title}`).join('. '),
        headers: {
          ...headerRefs,
          ...(status === 503 && { 'Retry-After': { $ref: '#/components/headers/RetryAfter' } }),
        },
        content: {
          'application/problem+json': {
            schema: {
              allOf: [{ $ref: '#/components/schemas/Problem' }],
              properties: { status: { const: status }, code: { enum: group } },
            },
          },
        },
      },
    ]),
  );
}

const definitions = '#/$defs/';

/** A schema in JSON Schema 2020-12. Parts with an id (`.meta({ id })`) go to the shared components. */
function jsonSchema(schema: z.ZodType, io: 'input' | 'output', shared: JsonObject): JsonObject {
  const { $schema: _, $defs, ...own } = z.toJSONSchema(schema, { io, unrepresentable: 'any' }) as JsonObject;
  for (const [name, definition] of Object.entries(($defs ?? {}) as JsonObject)) {
    const { id: _id, ...text } = pointAtComponents(definition) as JsonObject;
    if (shared[name] !== undefined && JSON.stringify(shared[name]) !== JSON.stringify(text)) {
      throw new TypeError(`routes: two schemas have the id ${name}`);
    }
    shared[name] = text;
  }
  return pointAtComponents(own) as JsonObject;
}

function pointAtComponents(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(pointAtComponents);
  if (typeof node !== 'object' || node === null) return node;
  return Object.fromEntries(
    Object.entries(node).map(([name, value]) =>
      name === '$ref' && typeof value === 'string' && value.startsWith(definitions)
        ? [name, `#/components/schemas/${value.slice(definitions.length)}`]
        : [name, pointAtComponents(value)],
    ),
  );
}
