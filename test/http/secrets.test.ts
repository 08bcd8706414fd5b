import fc from 'fast-check';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { errorCodes } from '../../src/core/errors.ts';
import { problemKinds, traceOf } from '../../src/http/problem.ts';
import { violations } from '../../src/http/violations.ts';
import { raw, startDemo, statuses, token } from './demo.ts';

const secret = 'PLANTED5ecret';

/** Requests of all shapes that are refused, each with the secret somewhere. */
const bodies = [
  { plaintext: secret },
  { plaintext: 'AAEC', [secret]: 1 },
  { plaintext: 'AAEC', context: { [secret]: 1 } },
  { plaintext: 'AAEC', context: { a: [secret] } },
  { plaintext: 'AAEC', context: { [secret]: '\ud800' } },
  { plaintext: 'AAEC', context: secret },
  { plaintext: 'AAEC', tags: { [secret]: { [secret]: secret } } },
  { plaintext: 'AAEC', mode: secret },
  { plaintext: 'AAEC', at: secret },
  { plaintext: 'AAEC', name: secret },
  { plaintext: 'AAEC', note: `${secret}\udc00` },
  { plaintext: 'AAEC', count: secret },
  { plaintext: 'AAEC', operations: [{ operation: secret }] },
  { plaintext: 'AAEC', operations: [{ operation: 'a', [secret]: secret, id: { [secret]: 1 } }] },
  { plaintext: 'AAEC', operations: { [secret]: secret } },
  secret,
  { [secret]: { [secret]: [secret] } },
];

const texts = [
  `{"${secret}":1,"${secret}":2}`,
  `{"plaintext":"${secret}`,
  secret,
  `{"plaintext":"AAEC",${secret}}`,
];

/** Guarantees that what a client sent, wherever it was, comes back in no refusal and goes into no log line. */
test('repeats nothing that was sent', async () => {
  const { call, post, logs, port } = await startDemo({ logLevel: 'trace' });
  const answers: Response[] = [];
  for (const body of [...bodies, ...texts]) answers.push(await post('/v1/demo/k/seal', body));
  answers.push(
    await call(`/v1/demo?${secret}=1`),
    await call(`/v1/demo?limit=${secret}`),
    await call(`/v1/demo?cursor=${secret}&cursor=${secret}`),
    await call(`/v1/demo/${secret}`, { method: 'DELETE' }),
    await call(`/${secret}`),
    await call('/v1/demo', { headers: { authorization: `Bearer ${secret}` } }),
    await post('/v1/demo/k/seal', '{}', { 'content-digest': secret }),
    await post('/v1/demo/k/seal', '{}', { 'content-type': secret }),
    await post('/v1/demo/k/seal', '{}', { 'content-encoding': secret }),
    await post('/v1/demo/k/seal', '{}', { 'idempotency-key': `${secret} é` }),
    await post('/v1/demo/k/seal', '{}', { 'x-request-id': `${secret} !` }),
  );
  for (const response of answers) {
    expect(response.status).toBeGreaterThanOrEqual(400);
    expect(await response.text()).not.toContain(secret);
    expect(JSON.stringify([...response.headers])).not.toContain(secret);
  }
  for (const text of [
    `${secret}\r\n\r\n`,
    `GET / HTTP/1.1\r\nHost: ${secret}/@\r\n\r\n`,
    `GET http://${secret}:x/ HTTP/1.1\r\nHost: x\r\n\r\n`,
  ]) {
    const received = await raw(port, [text]);
    expect(statuses(received)).toEqual([400]);
    expect(received).not.toContain(secret);
  }
  expect(logs.length).toBeGreaterThanOrEqual(answers.length);
  expect(logs.join('')).not.toContain(secret);
  expect(logs.join('')).not.toContain(token);
});

/** Guarantees that a pointer ends before a name the client chose, also in maps whose schema would give it away. */
test('points to nothing of the client', () => {
  const schema = z.strictObject({ known: z.record(z.string(), z.strictObject({ inner: z.int() })) });
  const result = schema.safeParse({ known: { [secret]: { inner: secret }, inner: { inner: 'x' } } });
  expect(violations(result.error ?? new z.ZodError([]), schema)).toEqual([
    { pointer: '/known', detail: 'must be of type number' },
    { pointer: '/known/inner/inner', detail: 'must be of type number' },
  ]);
});

/** Guarantees the same for values and places that nobody thought of. */
test('repeats nothing of any body', async () => {
  const { post, logs } = await startDemo({ logLevel: 'trace' });
  const planted = fc.constantFrom(secret, `${secret}\n`, `é${secret}`, `${secret}/~1`, `[${secret}]`);
  const name = fc.oneof(
    planted,
    fc.constantFrom('plaintext', 'context', 'tags', 'operations', 'operation', 'note', 'x'),
  );
  const { value } = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      planted,
      fc.constantFrom(1, null, true, 'AAEC'),
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(name, tie('value'), { maxKeys: 4 }),
    ),
  }));
  await fc.assert(
    fc.asyncProperty(fc.dictionary(name, value), fc.integer({ min: 0, max: 400 }), async (body, cut) => {
      const text = JSON.stringify(body);
      for (const sent of [text, text.slice(0, Math.min(cut, text.length - 1))]) {
        const response = await post('/v1/demo/k/seal', sent);
        const answer = await response.text();
        if (response.status !== 200) expect(answer).not.toContain(secret);
      }
    }),
    { numRuns: 150 },
  );
  expect(logs.join('')).not.toContain(secret);
});

/** Guarantees that an error nobody foresaw loses its text: the client gets a bare 500, the log classes and frames. */
test('unknown errors lose their text', async () => {
  const { post, logs } = await startDemo();
  const response = await post('/v1/demo/fail', { code: 'unknown', secret });
  expect(response.status).toBe(500);
  const body = (await response.json()) as Record<string, unknown>;
  expect(body).toEqual({
    type: '/docs/problems#internal',
    title: 'Internal error',
    status: 500,
    detail: 'The request failed.',
    code: 'internal',
    requestId: response.headers.get('x-request-id'),
  });
  const line = logs.find((text) => text.includes('"status":500')) ?? '';
  expect(line).toContain('"level":50');
  expect(line).toContain('"class":"Error"');
  expect(line).toContain('"code":"E_SECRET"');
  expect(line).toContain('demo.ts');
  expect(logs.join('')).not.toContain(secret);
});

/** Guarantees that the cause of a known error is logged by class and code only, and that every code has its status. */
test('known errors keep their cause to themselves', async () => {
  const { post, logs } = await startDemo();
  for (const code of errorCodes) {
    const response = await post('/v1/demo/fail', { code, secret });
    expect([code, response.status]).toEqual([code, problemKinds[code].status]);
    const text = await response.text();
    expect(text).not.toContain(secret);
    expect(text.includes('A fixed text.')).toBe(code !== 'internal');
  }
  expect(logs.join('')).not.toContain(secret);
});

/** Guarantees that a trace holds no part of a message, whatever the message looks like. */
test('traces hold no message', () => {
  const hostile = fc.constantFrom(
    secret,
    `\n    at ${secret} (file:///a.ts:1:1)`,
    `    at /${secret}:1:1`,
    '\n',
    '$&',
    'Error: ',
  );
  fc.assert(
    fc.property(fc.array(hostile, { maxLength: 4 }), (parts) => {
      const error = new RangeError(parts.join(''), { cause: new Error(parts.join('x')) });
      expect(JSON.stringify(traceOf(error))).not.toContain(secret);
      error.message = 'changed later';
      expect(JSON.stringify(traceOf(error))).not.toContain(secret);
      expect(JSON.stringify(traceOf(secret))).not.toContain(secret);
    }),
  );
  expect(traceOf(new Error('x')).frames[0]).toMatch(/secrets\.test\.ts:\d+:\d+/);
});

/** Guarantees the level of each kind of line: failures and changes are seen, what strangers cause cannot fill a disk. */
test('logs by weight', async () => {
  const { call, post, logs, url } = await startDemo();
  await call('/v1/demo');
  await call('/v1/demo/k', { method: 'DELETE' });
  await call('/v1/demo?x=1');
  await fetch(`${url}/v1/demo`);
  await post('/v1/demo/fail', { code: 'hsm/unavailable', secret });
  const lines = logs.map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines.map((line) => [line['operationId'], line['status'], line['level']])).toEqual([
    ['demo.list', 200, 20],
    ['demo.delete', 204, 30],
    ['demo.list', 400, 30],
    ['demo.list', 401, 20],
    ['demo.fail', 503, 40],
  ]);
  expect(Object.keys(lines[0] ?? {})).toEqual(
    expect.arrayContaining([
      'requestId',
      'operationId',
      'status',
      'durationMs',
      'principalId',
      'bytesIn',
      'bytesOut',
    ]),
  );
});
