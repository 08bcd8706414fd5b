import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';

export type Schema = { readonly [keyword: string]: unknown };

interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required?: boolean;
  readonly schema: Schema;
}

interface AnswerRow {
  readonly headers?: Readonly<Record<string, { readonly $ref: string }>>;
  readonly content?: Readonly<Record<string, { readonly schema: Schema }>>;
}

interface OperationRow {
  readonly operationId: string;
  readonly security?: readonly unknown[];
  readonly parameters?: readonly (Parameter | { readonly $ref: string })[];
  readonly requestBody?: {
    readonly required: boolean;
    readonly description?: string;
    readonly content: Readonly<Record<string, { readonly schema: Schema; readonly example?: unknown }>>;
  };
  readonly responses: Readonly<Record<string, AnswerRow>>;
}

interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, OperationRow>>>>;
  readonly components: Readonly<Record<string, Readonly<Record<string, Schema>>>>;
}

export interface Operation {
  readonly operationId: string;
  readonly method: string;
  /** As in the document: `/v1/keys/{key}`. */
  readonly path: string;
  /** Needs no token. */
  readonly open: boolean;
  readonly parameters: readonly Parameter[];
  readonly body: Schema | undefined;
  /** Its body is bytes. */
  readonly raw: boolean;
  readonly example: unknown;
  readonly idempotent: boolean;
  readonly statuses: readonly string[];
}

export interface Received {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly text: string;
}

/** The served description of the interface, and the service held against it. */
export interface Document {
  readonly operations: readonly Operation[];
  /** Follows a reference of a schema. */
  resolve(schema: Schema): Schema;
  /** What is wrong with an answer according to the document; empty when nothing is. */
  faults(operationId: string, answer: Received): string[];
  /** What is wrong with a request's body according to the document. */
  bodyFaults(operationId: string, value: unknown): string[];
}

const dateTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/;

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** @param openApi as `GET /openapi.json` gave it */
export function readDocument(openApi: unknown): Document {
  const { paths, components } = openApi as OpenApi;
  const ajv = new Ajv2020({ strict: true, strictTypes: false, strictRequired: false, allErrors: true });
  ajv.addFormat('date-time', dateTime);
  ajv.addFormat('date', /^\d{4}-\d\d-\d\d$/);
  ajv.addFormat('uri-reference', /^[!-~]*$/);
  ajv.removeKeyword('contentEncoding');
  ajv.addKeyword({
    keyword: 'contentEncoding',
    type: 'string',
    validate: (_: string, text: string) => Buffer.from(text, 'base64').toString('base64') === text,
  });
  ajv.addVocabulary(['example', 'openapi', 'info', 'servers', 'security', 'tags', 'paths', 'components']);
  ajv.addSchema({ $id: 'openapi', ...(openApi as object) }, 'openapi');
  const compiled = new Map<Schema, ValidateFunction>();
  const validator = (schema: Schema): ValidateFunction => {
    const known = compiled.get(schema);
    if (known) return known;
    const made = ajv.compile(JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"openapi#/')) as object);
    compiled.set(schema, made);
    return made;
  };
  const complaints = (schema: Schema, value: unknown): string[] => {
    const validate = validator(schema);
    if (validate(value)) return [];
    return (validate.errors ?? []).map(
      ({ instancePath, message }) => `${instancePath || '/'} ${message ?? ''}`,
    );
  };

  const rows = new Map<string, OperationRow>();
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, row]): Operation => {
      rows.set(row.operationId, row);
      const references = (row.parameters ?? []).flatMap((entry) => ('$ref' in entry ? [entry.$ref] : []));
      const json = row.requestBody?.content['application/json'];
      return {
        ...{ operationId: row.operationId, method: method.toUpperCase(), path },
        open: row.security?.length === 0,
        parameters: (row.parameters ?? []).flatMap((entry) => ('name' in entry ? [entry] : [])),
        body: json?.schema,
        raw: row.requestBody?.content['application/octet-stream'] !== undefined,
        example: json?.example,
        idempotent: references.some((reference) => reference.endsWith('/IdempotencyKey')),
        statuses: Object.keys(row.responses),
      };
    }),
  );

  function rowOf(operationId: string): OperationRow {
    const row = rows.get(operationId);
    if (!row) throw new Error(`the document has no operation ${operationId}`);
    return row;
  }

  return {
    operations,
    resolve(schema) {
      const reference = schema['$ref'];
      if (typeof reference !== 'string') return schema;
      const name = reference.slice(reference.lastIndexOf('/') + 1);
      const found = components['schemas']?.[name];
      if (!found) throw new Error(`nothing is at ${reference}`);
      return found;
    },
    faults(operationId, { status, headers, text }) {
      const { responses } = rowOf(operationId);
      const row = responses[String(status)] ?? (status >= 400 ? responses['default'] : undefined);
      if (!row) return [`${operationId} may not answer ${status}`];
      const missing = Object.keys(row.headers ?? {}).filter(
        (name) => headers[name.toLowerCase()] === undefined,
      );
      const found = missing.map((name) => `the header ${name} is missing`);
      if (row.content === undefined)
        return text === '' ? found : [...found, 'a body where none is described'];
      const type = (headers['content-type'] ?? '').replace(/;.*$/, '');
      const media = row.content[type];
      if (!media) return [...found, `the content type ${type} is not described`];
      if (type === 'application/x-ndjson') {
        const lines = text.trimEnd().split('\n');
        return [...found, ...lines.flatMap((line) => complaints(media.schema, parsed(line)))];
      }
      if (!type.endsWith('json')) return found;
      const value = parsed(text);
      return value === undefined ? [...found, 'no JSON'] : [...found, ...complaints(media.schema, value)];
    },
    bodyFaults(operationId, value) {
      const json = rowOf(operationId).requestBody?.content['application/json'];
      return json ? complaints(json.schema, value) : ['no body is described'];
    },
  };
}
