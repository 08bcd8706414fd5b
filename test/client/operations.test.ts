import { expect, test } from 'vitest';
import { z } from 'zod';
import { allRoutes } from '../../src/app.ts';
import { failedItem } from '../../src/client/answers.ts';
import { lineAnswers } from '../../src/client/lines.ts';
import { batchOperations, type OperationRow, operations } from '../../src/client/operations.ts';
import type { Shape } from '../../src/client/shapes.ts';
import { batchItem } from '../../src/envelope/routes-schemas.ts';
import { systemPaths } from '../../src/http/openapi-parts.ts';

const unused = {} as never;
const routes = allRoutes({
  ...{ keys: unused, envelopes: unused, exchanges: unused, sealings: unused, macs: unused },
  ...{ decryption: unused, publicKeys: unused, signing: unused, imports: unused, coverage: unused },
  lifecycle: unused,
  ...{ aggregation: unused, queries: unused },
  ...{ rotation: unused, rotationDefaults: unused, rotationOverview: unused },
  events: unused,
  ...{ fields: unused, fieldSchemas: unused },
  ...{ namespaces: unused, tokens: unused, jobs: unused, audit: unused, operations: unused },
});

interface Json {
  readonly type?: string;
  readonly contentEncoding?: string;
  readonly properties?: Readonly<Record<string, Json>>;
  readonly required?: readonly string[];
  readonly items?: Json;
  readonly anyOf?: readonly Json[];
  readonly oneOf?: readonly Json[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
}

function jsonOf(schema: z.ZodType | undefined, io: 'input' | 'output'): Json {
  return schema ? (z.toJSONSchema(schema, { io, unrepresentable: 'any', reused: 'inline' }) as Json) : {};
}

/** What the client's table should say of a part of an answer. */
function shapeOf(json: Json): Shape {
  if (json.contentEncoding === 'base64') return 'bytes';
  if (json.type === 'array' && json.items) return [shapeOf(json.items)];
  if (json.type === 'object' && json.properties === undefined) return 'strings';
  if (json.type === 'object') {
    return Object.fromEntries(
      Object.entries(json.properties ?? {}).map(([name, member]) => [
        json.required?.includes(name) ? name : `${name}?`,
        shapeOf(member),
      ]),
    );
  }
  if (json.type === 'number' && typeof json.const === 'number') return 'integer';
  if (json.type === 'string' || json.type === 'integer' || json.type === 'boolean') return json.type;
  if (json.type === 'number') return 'number';
  if (Object.keys(json).every((name) => name === 'description')) return 'json';
  throw new Error(`no shape for ${JSON.stringify(json)}`);
}

const namesOf = (json: Json) => Object.keys(json.properties ?? {}).toSorted();
/** Members that are bytes, as the client's table names them. */
const bytesOf = (json: Json) =>
  namesOf(json)
    .filter((name) => json.properties?.[name]?.contentEncoding)
    .map((name) => (json.required?.includes(name) ? name : `${name}?`));
const table: Readonly<Record<string, OperationRow>> = operations;

/** Guarantees that the client has every operation of the service, and none that is not there. */
test('the operations are the service’s', () => {
  const system = Object.values(systemPaths).map((path) => (path as { get: { operationId: string } }).get);
  const ids = [...routes, ...system].map(({ operationId }) => operationId);
  expect(ids.length).toBeGreaterThan(20);
  expect(new Set(Object.keys(table))).toEqual(new Set(ids));
  for (const [path, { get }] of Object.entries(systemPaths) as [string, { get: { operationId: string } }][]) {
    expect(table[get.operationId]).toMatchObject({ method: 'GET', path });
    expect('security' in get).toBe(table[get.operationId]?.open === true);
  }
});

/** Guarantees that each request goes to the method and path of its route, with every member where the route has it. */
test.each(routes.map((route) => [route.operationId, route] as const))(
  '%s sends what is taken',
  (id, route) => {
    const row = table[id]!;
    expect([row.method, row.path]).toEqual([route.method.toUpperCase(), route.path]);
    const [params, query, body] = [route.request.params, route.request.query, route.request.body].map(
      (schema) => jsonOf(schema, 'input'),
    );
    const inPath = [...row.path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => name);
    expect(inPath.toSorted()).toEqual(namesOf(params!));
    // The others have one place by the method: a second would need a table of members.
    expect(route.request.query === undefined || row.method === 'GET').toBe(true);
    expect(route.request.body !== undefined).toBe(row.method === 'POST' || row.method === 'PATCH');
    const others = [...namesOf(query!), ...namesOf(body!)];
    expect(new Set([...inPath, ...others]).size).toBe(inPath.length + others.length);
    expect(row.raw !== undefined).toBe(route.mediaType === 'application/octet-stream');
    expect([...(row.bytes ?? [])].toSorted()).toEqual(bytesOf(body!));
    expect(bytesOf(query!)).toEqual([]);
    expect(row.retry === 'key').toBe(route.idempotent === true);
  },
);

/** Guarantees that what the client holds answers against, and takes for bytes, is what the service's schemas say. */
test.each(routes.map((route) => [route.operationId, route] as const))(
  '%s gives what it should',
  (id, route) => {
    const { answer } = table[id]!;
    if (answer === 'batch' || answer === 'lines') return;
    expect(answer === undefined).toBe(route.answer.status === 204);
    if (answer !== undefined) expect(answer).toEqual(shapeOf(jsonOf(route.answer.body, 'output')));
  },
);

/** Guarantees that an item of a batch is encoded and decoded as the operation it names. */
test('the items of a batch are those of the service', () => {
  const items = (jsonOf(batchItem, 'input').oneOf ?? []).map((json) => [
    String(json.properties?.['operation']?.const),
    json,
  ]) as [keyof typeof batchOperations, Json][];
  expect(items.map(([name]) => name).toSorted()).toEqual(Object.keys(batchOperations).toSorted());
  for (const [name, json] of items) {
    expect([...((batchOperations[name] as OperationRow).bytes ?? [])]).toEqual(bytesOf(json));
  }
  const batch = routes.find(({ operationId }) => operationId === 'batch')!;
  const results = jsonOf(batch.answer.body, 'output').properties?.['results']?.items?.anyOf ?? [];
  const given = results.map(({ properties: { id: _, status: __, ...properties } = {}, required = [] }) =>
    shapeOf({ type: 'object', properties, required }),
  );
  const known = new Set<Shape>(Object.values(batchOperations).map((row) => row.answer));
  for (const shape of [...known, failedItem]) expect(given).toContainEqual(shape);
  expect(given).toHaveLength(known.size + 1);
});

/** Guarantees that what the client takes for the answer to a line is what the service gives. */
test('the answers to lines are those of the service', () => {
  const { answer } = routes.find(({ operationId }) => operationId === 'rewrapLines')!;
  const given = (jsonOf(answer.body, 'output').anyOf ?? []).filter((json) => !json.required?.includes('end'));
  const shapes = given.map((json) => [json.properties?.['status']?.const, shapeOf(json)]);
  expect(Object.fromEntries(shapes)).toEqual(lineAnswers);
});

/** Guarantees that the members the types call numbers and bytes are those that the schemas make of text. */
test('the types turn the right members', () => {
  const numbers = new Set<string>();
  const bytes = new Set<string>();
  const visit = (json: Json): void => {
    for (const [name, member] of Object.entries(json.properties ?? {})) {
      if (member.contentEncoding === 'base64') bytes.add(name);
      visit(member);
    }
    for (const part of [json.items, ...(json.anyOf ?? []), ...(json.oneOf ?? [])]) if (part) visit(part);
  };
  for (const { request, answer } of routes) {
    for (const schema of [request.params, request.query]) {
      for (const [name, member] of Object.entries(jsonOf(schema, 'input').properties ?? {})) {
        if (member.type === 'integer') numbers.add(name);
      }
    }
    visit(jsonOf(request.body, 'input'));
    visit(jsonOf(answer.body, 'output'));
  }
  visit(jsonOf(batchItem, 'input'));
  // NumberMember and ByteMember of src/client/types.ts.
  expect([...numbers].toSorted()).toEqual(['days', 'epoch', 'limit', 'ordinal', 'version']);
  expect([...bytes].toSorted()).toEqual([
    ...['aad', 'bytes', 'checkValue', 'ciphertext', 'confirmation', 'context', 'derived', 'digest', 'enc'],
    ...[
      'expectedConfirmation',
      'exported',
      'exporterContext',
      'info',
      'mac',
      'message',
      'mu',
      'oaepLabel',
      'payload',
    ],
    ...['peerPublicKey', 'plaintext', 'psk', 'pskId', 'publicKey', 'recipientPublicKey', 'senderPublicKey'],
    ...['sharedSecret', 'signature', 'verificationKey', 'wrapped', 'wrappedKey'],
  ]);
});
