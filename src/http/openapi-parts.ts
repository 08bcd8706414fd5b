import { errorCodes } from '../core/errors.ts';

export type JsonObject = { [name: string]: unknown };

/** Header fields of every answer. */
export const headerRefs: JsonObject = {
  'X-Request-Id': { $ref: '#/components/headers/RequestId' },
  'Stathera-Version': { $ref: '#/components/headers/Version' },
};

/** @param schemas those that routes share */
export function componentsOf(schemas: JsonObject): JsonObject {
  return {
    securitySchemes: { bearer: { type: 'http', scheme: 'bearer', description: 'A token of the service.' } },
    schemas: { Problem: problem, Violation: violation, ...schemas },
    parameters: { RequestId: requestId, IdempotencyKey: idempotencyKey, ContentDigest: contentDigest },
    headers: {
      RequestId: {
        description: 'Names the request in the logs.',
        required: true,
        schema: { type: 'string' },
      },
      Version: {
        description: 'The version of the interface.',
        required: true,
        schema: { type: 'string', format: 'date' },
      },
      RetryAfter: {
        description: 'Seconds after which trying again makes sense.',
        required: true,
        schema: { type: 'integer', minimum: 1 },
      },
    },
  };
}

const violation: JsonObject = {
  type: 'object',
  required: ['pointer', 'detail'],
  additionalProperties: false,
  properties: {
    pointer: {
      type: 'string',
      description: 'A JSON Pointer (RFC 6901) into the body, or one after `#query`, `#path` or `#header`.',
    },
    detail: { type: 'string' },
  },
};

const problem: JsonObject = {
  type: 'object',
  description: 'A problem document (RFC 9457).',
  required: ['type', 'title', 'status', 'detail', 'code', 'requestId'],
  properties: {
    type: { type: 'string', format: 'uri-reference', description: 'The page that explains the code.' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    code: { type: 'string', enum: errorCodes, description: 'Stable: it never changes its meaning.' },
    requestId: { type: 'string' },
    errors: { type: 'array', maxItems: 20, items: { $ref: '#/components/schemas/Violation' } },
  },
};

const requestId: JsonObject = {
  name: 'X-Request-Id',
  in: 'header',
  description: 'Names the request; one is made when it is absent or has another form.',
  schema: { type: 'string', pattern: '^[A-Za-z0-9._-]{1,64}$' },
};

const idempotencyKey: JsonObject = {
  name: 'Idempotency-Key',
  in: 'header',
  description:
    'A request sent again with the same key, path and body is not done again; the first answer is given again, unless it held a secret (`request/already-completed`).',
  schema: { type: 'string', pattern: '^[!-~]{1,128}$' },
};

const contentDigest: JsonObject = {
  name: 'Content-Digest',
  in: 'header',
  description: 'SHA-256 or SHA-512 of the body (RFC 9530); when it is sent, it must match.',
  schema: { type: 'string', examples: ['sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:'] },
};

function readiness(description: string): JsonObject {
  const schema = {
    type: 'object',
    required: ['status', 'checks'],
    additionalProperties: false,
    properties: {
      status: { enum: ['ready', 'unavailable', 'draining'] },
      checks: { type: 'object', additionalProperties: { type: 'string' } },
    },
  };
  return { description, headers: headerRefs, content: { 'application/json': { schema } } };
}

function page(operationId: string, summary: string, responses: JsonObject, open: boolean): JsonObject {
  return { get: { operationId, tags: ['system'], summary, ...(open && { security: [] }), responses } };
}

const healthy = { type: 'object', required: ['status'], properties: { status: { const: 'ok' } } };

/** What every service has beside the routes given to it. */
export const systemPaths: JsonObject = {
  '/healthz': page(
    'system.health',
    'Tells that the process works',
    {
      200: {
        description: 'It does.',
        headers: headerRefs,
        content: { 'application/json': { schema: healthy } },
      },
    },
    true,
  ),
  '/readyz': page(
    'system.ready',
    'Tells whether requests will be served',
    { 200: readiness('They will.'), 503: readiness('They will not, at the moment.') },
    true,
  ),
  '/metrics': page(
    'service.metrics',
    'Measurements of this process for Prometheus',
    {
      200: {
        description: 'The text format 0.0.4.',
        headers: headerRefs,
        content: { 'text/plain': { schema: { type: 'string' } } },
      },
      default: {
        description: 'A problem document.',
        headers: headerRefs,
        content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
      },
    },
    false,
  ),
};
