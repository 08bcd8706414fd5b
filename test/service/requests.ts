import fc from 'fast-check';
import type { Document, Operation, Schema } from './document.ts';

/** What refusals and logs must never repeat; it has the form of a name. */
export const marker = 'planted7f3a';

/** One request as it goes over the wire. */
export interface Shot {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[]>>;
  /** Base64, so that a counterexample can be read and sent again. */
  readonly body: string | undefined;
  /** Sent in so many chunks; 0: with a Content-Length. */
  readonly chunks: number;
  /** The operation of the document that it is aimed at, when method and path are still its own. */
  readonly aim: string | undefined;
  /** The token is one that works. */
  readonly known: boolean;
}

/** A shot as a failing run shows it: long bodies are cut. */
export function legible(shot: Shot): string {
  const body =
    shot.body !== undefined && shot.body.length > 2_000 ? `${shot.body.slice(0, 2_000)}…` : shot.body;
  return JSON.stringify({ ...shot, body });
}

/** Things that exist, for requests that get far. */
export interface Pool {
  readonly keys: readonly string[];
  readonly ciphertexts: readonly string[];
  readonly tokenIds: readonly string[];
  /** By operation: what random members would hardly ever fit together to. */
  readonly right: Readonly<
    Record<string, { readonly key: string; readonly at?: string; readonly body: object }>
  >;
  readonly credentials: readonly { readonly authorization: string | undefined; readonly known: boolean }[];
}

const names = [
  '',
  '__proto__',
  'constructor',
  'toString',
  'key',
  'plaintext',
  'name',
  marker,
  'a',
  '\u0000',
  '💥',
];
const odd: readonly unknown[] = [
  ...[
    null,
    true,
    false,
    0,
    -1,
    1.5,
    2 ** 53,
    1e308,
    '',
    'A',
    'AAAA',
    'AAA=',
    'AA==',
    'AB==',
    '====',
    'A A=',
    '_-_-',
  ],
  ...[
    marker,
    `${marker}-%00`,
    '\ud800',
    '\u0000',
    'ﬀ',
    '*',
    'a'.repeat(64),
    'a'.repeat(6000),
    [],
    {},
    [[]],
    [null],
  ],
  ...[
    '9999-12-31T23:59:59Z',
    '0000-00-00T00:00:00Z',
    '2026-02-30T00:00:00Z',
    '01a20c80-c28c-71e4-b835-c1e27fa00f78',
  ],
  { [marker]: marker },
  { a: { a: { a: 1 } } },
];

/** Values a schema takes, mostly, with things that exist where the name of the place says so. */
function valueOf(document: Document, given: Schema, pool: Pool, place = ''): fc.Arbitrary<unknown> {
  const schema = document.resolve(given) as Record<string, unknown>;
  const at = (inner: unknown, name: string) => valueOf(document, inner as Schema, pool, name);
  if (place === 'key' || place === 'key in path' || place === 'toKey') return fc.constantFrom(...pool.keys);
  // An epoch's keys take a process half a second: few shots are right.
  if (place === 'dataset in path')
    return fc.constantFrom(...Array.from({ length: 30 }, () => 'fuzz-absent'), 'fuzz-dataset');
  if (place === 'epoch in path' || place === 'ordinal in path') return fc.constantFrom('1', '2', '9');
  if (place === 'id in path') return fc.oneof(fc.constantFrom(...pool.tokenIds), textOf(schema));
  if (place === 'ciphertext')
    return fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...pool.ciphertexts) }, base64(0, 300));
  if (place === 'name') return fc.constantFrom(...pool.keys, marker, 'fuzz-a', 'fuzz-b').chain(grown);
  // Most contexts are those of the ciphertexts, and few keys are disabled: else nothing could be opened for long.
  if (place === 'context') return fc.oneof(fc.constantFrom({}, { table: 'row' }), objectOf(schema, at));
  if (place === 'timeZone') return fc.constantFrom('UTC', 'Europe/Berlin', 'Mars/Base', marker);
  if (place === 'expression') return fc.constantFrom('0 3 1 * *', '* * * * *', '0 0 30 2 *', marker);
  if (place === 'url') return fc.constantFrom('https://hooks.example.com/', 'https://10.0.0.1/', marker);
  // Another takes seconds: a pair of RSA is made.
  if (place === 'wrapping') return fc.constant('hpke-x-wing');
  if (place === 'state')
    return fc.constantFrom(...Array.from({ length: 30 }, () => 'enabled'), 'decrypt-only', 'disabled');
  if (schema['const'] !== undefined) return fc.constant(schema['const']);
  if (Array.isArray(schema['enum'])) return fc.constantFrom(...(schema['enum'] as unknown[]));
  const choices = (schema['oneOf'] ?? schema['anyOf']) as unknown[] | undefined;
  if (choices) return fc.oneof(...choices.map((choice) => at(choice, place)));
  switch (schema['type']) {
    case 'boolean':
      return fc.boolean();
    case 'integer':
      return fc.integer({
        min: Number(schema['minimum'] ?? 0),
        max: Math.max(Number(schema['minimum'] ?? 0), Math.min(Number(schema['maximum'] ?? 5), 2000)),
      });
    case 'array':
      return fc.array(at(schema['items'], place), {
        minLength: Number(schema['minItems'] ?? 0),
        maxLength: Math.min(Number(schema['maxItems'] ?? 3), 4),
      });
    case 'object':
      return objectOf(schema, at);
    default:
      return textOf(schema);
  }
}

function grown(name: string): fc.Arbitrary<string> {
  return fc.nat(999).map((number) => (number % 3 === 0 ? `${name}-${number}` : name));
}

function objectOf(
  schema: Record<string, unknown>,
  at: (inner: unknown, name: string) => fc.Arbitrary<unknown>,
): fc.Arbitrary<unknown> {
  const properties = schema['properties'] as Record<string, unknown> | undefined;
  if (!properties) {
    const free = schema['additionalProperties'];
    const value = typeof free === 'object' && free !== null ? at(free, '') : fc.string({ maxLength: 20 });
    return fc.dictionary(fc.constantFrom('table', 'row', marker, 'é'), value, { maxKeys: 3 });
  }
  const required = (schema['required'] as string[] | undefined) ?? [];
  return fc.record(
    Object.fromEntries(Object.entries(properties).map(([name, inner]) => [name, at(inner, name)])),
    { requiredKeys: required },
  );
}

function textOf(schema: Record<string, unknown>): fc.Arbitrary<string> {
  if (schema['contentEncoding'] === 'base64') return base64(0, 64);
  if (schema['format'] === 'date-time')
    return fc.constantFrom('2099-01-01T00:00:00Z', '2020-01-01T00:00:00.5Z');
  const pattern = schema['pattern'];
  if (typeof pattern === 'string') return fc.stringMatching(new RegExp(pattern));
  return fc.oneof(
    fc.constant(marker),
    fc.string({ maxLength: Math.min(Number(schema['maxLength'] ?? 20), 20) }),
  );
}

function base64(min: number, max: number): fc.Arbitrary<string> {
  return fc
    .uint8Array({ minLength: min, maxLength: max })
    .map((bytes) => Buffer.from(bytes).toString('base64'));
}

/** A change of a value somewhere inside it. */
const valueChange = fc.record({
  kind: fc.constantFrom('remove', 'replace', 'add', 'wrap'),
  at: fc.nat(1000),
  name: fc.constantFrom(...names),
  value: fc.constantFrom(...odd),
});

function changed(
  value: unknown,
  { kind, at, name, value: other }: typeof valueChange extends fc.Arbitrary<infer T> ? T : never,
): unknown {
  if (kind === 'wrap') return [value];
  if (typeof value !== 'object' || value === null) return kind === 'replace' ? other : value;
  const entries = Object.entries(value);
  const [member, inner] = entries[at % Math.max(1, entries.length)] ?? [name, undefined];
  // Every other time further down.
  const deeper = at % 2 === 1 && typeof inner === 'object' && inner !== null;
  const next = deeper ? changed(inner, { kind, at: Math.floor(at / 2), name, value: other }) : other;
  if (Array.isArray(value))
    return entries.map(([, each], index) => (index === at % entries.length ? next : (each as unknown)));
  const kept = kind === 'remove' && !deeper ? entries.filter(([each]) => each !== member) : entries;
  const added: [string, unknown] = kind === 'add' && !deeper ? [name, other] : [member, next];
  if (kind === 'remove' && !deeper) return Object.fromEntries(kept);
  return Object.fromEntries([...kept, added]);
}

const deep = (levels: number) => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`;

/** Changes of a text that no value can express. */
const textChanges: readonly ((text: string) => Buffer)[] = [
  (text) => Buffer.from(text.replace(/^\{/, '{"__proto__":{"x":1},')),
  (text) => Buffer.from(text.replace(/^\{"([^"]*)":/, '{"$1":1,"$1":')),
  (text) =>
    Buffer.from(text.replace(/^\{"(.)/, (_, first: string) => `{"\\u00${first.charCodeAt(0).toString(16)}`)),
  (text) => Buffer.from(text.slice(0, text.length / 2)),
  (text) => Buffer.from(`${text}${text}`),
  (text) => Buffer.from(`\ufeff${text}`),
  (text) => Buffer.concat([Buffer.from(text.slice(0, -1)), Buffer.of(0xff, 0xfe, 0xc0, 0x80)]),
  (text) => Buffer.from(text.replace(/"/, '"\\ud800')),
  (text) => Buffer.from(text.replace(/\d+/, '1e999')),
  (text) => Buffer.from(text.replace(/\d+/, '-0')),
  (text) => Buffer.from(text.replace(/"[^"]*"(?=[,}])/, deep(33))),
  () => Buffer.from(deep(31)),
  () => Buffer.from(deep(50_000)),
  () => Buffer.from('['.repeat(100_000)),
  () => Buffer.from(`[${'1,'.repeat(100_001)}1]`),
  () => Buffer.from(`"${marker}`),
  () => Buffer.from('null'),
  () => Buffer.alloc(1024 * 1024 + 1, 0x20),
  () => Buffer.from(`{"${marker}":"${'x'.repeat(1024 * 1024 - 30)}"}`),
  (text) => Buffer.from(text, 'utf16le'),
];

interface Change {
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly method?: string;
  readonly path?: (path: string) => string;
  /** Refused before it is known what it is aimed at. */
  readonly early?: true;
}

/** Changes around the body. */
const changes: readonly Change[] = [
  { headers: { 'content-type': `text/${marker}` } },
  { headers: { 'content-type': 'application/json; charset=utf-16' } },
  { headers: { 'content-type': 'application/json; charset=utf-8' } },
  { headers: { 'content-type': 'multipart/form-data' } },
  { headers: { 'content-type': ['application/json', 'application/json'] } },
  { headers: { 'content-encoding': 'gzip' } },
  { headers: { 'content-digest': `sha-256=:${marker}:` } },
  { headers: { 'content-digest': 'md5=:AAAA:' } },
  { headers: { 'idempotency-key': marker } },
  { headers: { 'idempotency-key': `${marker} \u00e9` } },
  { headers: { 'idempotency-key': 'x'.repeat(129) } },
  { headers: { 'x-request-id': `${marker}!` } },
  { headers: { 'x-request-id': ['a', 'b'] } },
  { headers: { accept: 'text/html', 'accept-encoding': 'br' } },
  { headers: { 'x-forwarded-for': marker, forwarded: `for=${marker}`, 'x-http-method-override': 'DELETE' } },
  { headers: { host: marker }, early: true },
  { headers: { host: '' }, early: true },
  { headers: { cookie: `${marker}=${'x'.repeat(8000)}` } },
  { headers: { [marker]: 'x'.repeat(17_000) }, early: true },
  {
    headers: Object.fromEntries(Array.from({ length: 120 }, (_, index) => [`x-${marker}-${index}`, 'x'])),
    early: true,
  },
  { headers: { authorization: `Bearer ${marker}` } },
  { headers: { authorization: [`Bearer ${marker}`, 'Basic x'] } },
  { headers: { expect: '100-continue' } },
  { headers: { expect: marker } },
  { headers: { te: 'trailers', connection: 'close' } },
  { headers: { upgrade: 'h2c', connection: 'upgrade' } },
  { headers: { range: 'bytes=0-1', 'if-none-match': '*' } },
  ...['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'PATCH', 'TRACE', 'PROPFIND', 'M-SEARCH', 'QUERY'].map(
    (method) => ({ method }),
  ),
  ...[
    (path: string) => `${path}?${marker}=1`,
    (path: string) => `${path}?limit=${marker}&limit=1`,
    (path: string) => `${path}?limit=0&cursor=%00`,
    (path: string) => `${path}?limit=1&cursor=%ff%fe`,
    (path: string) => `${path}?__proto__=1&constructor=x`,
    (path: string) => `${path}?limit=1000&cursor=${'x'.repeat(600)}`,
    (path: string) => `${path}?`,
    (path: string) => `${path}/`,
    (path: string) => `/${path}`,
    (path: string) => `${path}//${marker}`,
    (path: string) => path.replace('/v1/', '/v1/../v1/'),
    (path: string) => path.replace('/v1/', '/v1/%2e%2e/'),
    (path: string) => path.replace('/v1/', '/V1/'),
    (path: string) => path.replace(/[^/]+$/, `%${marker}`),
    (path: string) => path.replace(/[^/]+$/, '%ed%a0%80'),
    (path: string) => path.replace(/[^/]+$/, '%c0%af%00'),
    (path: string) => path.replace(/[^/]+$/, 'a%2fb'),
    (path: string) => path.replace(/[^/]+$/, '\u00ff\u00fe'),
    (path: string) => path.replace(/[^/]+$/, 'x'.repeat(5000)),
    (path: string) => path.replace(/[^/]+$/, '..%2f..%2fetc%2fpasswd'),
    (path: string) => path.replace(/[^/]+$/, '__proto__'),
    (path: string) => `http://${marker}${path}`,
    (path: string) => `${path}#${marker}`,
    (path: string) => `${path};${marker}=1`,
    () => '*',
    () => `//${marker}/v1/keys`,
    () => `/${marker}`,
    () => `/${'../'.repeat(50)}etc/passwd`,
    () => '/docs/../stathera.db',
    () => '/docs/%2e%2e%2fpackage.json',
    () => '/openapi.json?x=1',
  ].map((path) => ({ path })),
];

/** Requests to every operation of the document: most nearly right, the others broken in one or two places. */
export function shots(document: Document, pool: Pool): fc.Arbitrary<Shot> {
  return fc
    .oneof(...document.operations.map((operation) => shotAt(document, operation, pool)))
    .map((shot) => Object.assign(shot, { [fc.toStringMethod]: () => legible(shot) }));
}

function shotAt(document: Document, operation: Operation, pool: Pool): fc.Arbitrary<Shot> {
  const right = pool.right[operation.operationId];
  const orRight = <T>(known: T | undefined, arbitrary: fc.Arbitrary<T>) =>
    known === undefined ? arbitrary : fc.oneof(fc.constant(known), arbitrary);
  const some = <T>(arbitrary: fc.Arbitrary<T>, oneIn: number) =>
    fc.oneof({ weight: oneIn - 1, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });
  return fc
    .record({
      parameters: orRight(
        right && { key: right.key },
        fc.record(
          Object.fromEntries(
            operation.parameters.map(({ name, in: place, schema }) => [
              name,
              valueOf(document, schema, pool, `${name} in ${place}`),
            ]),
          ),
          {
            requiredKeys: operation.parameters.flatMap(({ name, required }) => (required ? [name] : [])),
          },
        ),
      ),
      value: operation.body
        ? orRight(right?.body, valueOf(document, operation.body, pool))
        : fc.constant(undefined),
      stray: operation.body ? fc.constant(undefined) : some(fc.constantFrom('{}', marker), 12),
      valueChange: some(valueChange, 3),
      textChange: some(fc.constantFrom(...textChanges.keys()), 6),
      change: some(fc.constantFrom(...changes.keys()), 3),
      credential: fc.oneof(
        { weight: 12, arbitrary: fc.constant(pool.credentials[0]!) },
        fc.constantFrom(...pool.credentials),
      ),
      chunks: fc.constantFrom(0, 0, 0, 0, 1, 2, 9),
    })
    .map(
      ({ parameters, value, stray, valueChange: inside, textChange, change, credential, chunks }): Shot => {
        const { method = operation.method, path: move, headers, early } = changes[change ?? -1] ?? {};
        const path = pathOf(operation, parameters);
        const moved = move?.(path) ?? path;
        let body: Buffer | undefined = stray === undefined ? undefined : Buffer.from(stray);
        if (operation.body) {
          const text = JSON.stringify(inside === undefined ? value : changed(value, inside)) ?? '';
          body = textChanges[textChange ?? -1]?.(text) ?? Buffer.from(text);
        }
        const { authorization, known } = credential;
        return {
          ...{ method, path: moved, chunks },
          headers: {
            ...(authorization !== undefined && { authorization }),
            ...(body !== undefined && { 'content-type': 'application/json' }),
            ...headers,
          },
          body: body?.toString('base64'),
          aim:
            early !== true &&
            !/\/\.{0,2}(?:\/|$)/.test(path.replace(/\?.*/, '')) &&
            moved.startsWith(path) &&
            /^(\?|$)/.test(moved.slice(path.length)) &&
            method === operation.method
              ? operation.operationId
              : undefined,
          known: known && headers?.['authorization'] === undefined,
        };
      },
    );
}

function pathOf({ path, parameters }: Operation, values: Record<string, unknown>): string {
  const query = new URLSearchParams();
  let filled = path;
  for (const { name, in: place } of parameters) {
    const value = values[name];
    if (value === undefined) continue;
    if (place === 'path')
      filled = filled.replace(`{${name}}`, encodeURIComponent(textOfValue(value).toWellFormed()));
    else query.set(name, textOfValue(value));
  }
  return query.size === 0 ? filled : `${filled}?${query}`;
}

function textOfValue(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
