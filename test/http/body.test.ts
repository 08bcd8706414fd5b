import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { authorized, bodyLimit, problem, raw, sha, startDemo, statuses } from './demo.ts';

const seal = '/v1/demo/k/seal';
const post = `POST ${seal} HTTP/1.1\r\n${authorized}Content-Type: application/json\r\n`;
const good = '{"plaintext":"AAEC"}';

/** A body of exactly `length` bytes that is accepted. */
const padded = (length: number) => `${good}${' '.repeat(length - good.length)}`;

/** Guarantees that the byte limit of a route holds to the byte, with a length announced and in chunks. */
test('limits bodies', async () => {
  const { post: send, port } = await startDemo();
  expect((await send(seal, padded(bodyLimit))).status).toBe(200);
  const over = await send(seal, padded(bodyLimit + 1));
  expect([over.status, (await problem(over)).code]).toEqual([413, 'request/too-large']);
  const chunked = (length: number) => [
    `${post}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n`,
    ...Array.from({ length: length / 64 }, () => `40\r\n${' '.repeat(64)}\r\n`),
    `14\r\n${good}\r\n0\r\n\r\n`,
  ];
  expect(statuses(await raw(port, chunked(4032)))).toEqual([200]);
  const received = await raw(port, chunked(4096));
  expect(statuses(received)).toEqual([413]);
  expect(received).toMatch(/\r\nconnection: close\r\n/i);
});

/** Guarantees that a body announced too large is refused unread, and that its sender reads the answer. */
test('refuses a large body at once', async () => {
  const { port } = await startDemo();
  const started = performance.now();
  const received = await raw(port, [
    `${post}Content-Length: 100000000\r\n\r\n`,
    Buffer.alloc(200_000, 32),
    Buffer.alloc(200_000, 32),
  ]);
  expect(statuses(received)).toEqual([413]);
  expect(received).toContain('"code":"request/too-large"');
  expect(performance.now() - started).toBeLessThan(2_000);
});

/** Guarantees that a client that asks before it sends is refused without having sent. */
test('answers Expect: 100-continue', async () => {
  const { port } = await startDemo();
  const expecting = `${post}Expect: 100-continue\r\nConnection: close\r\n`;
  expect(statuses(await raw(port, [`${expecting}Content-Length: 20\r\n\r\n`, good], 50))).toEqual([100, 200]);
  expect(statuses(await raw(port, [`${expecting}Content-Length: 5000\r\n\r\n`]))).toEqual([413]);
  const stranger = `POST ${seal} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 20\r\n\r\n`;
  expect(statuses(await raw(port, [stranger]))).toEqual([401]);
});

/** Guarantees that a body that trickles in is given up after the time allowed, and its connection closed. */
test('bounds slow bodies', async () => {
  const { port } = await startDemo({ bodyTimeoutMs: 150 });
  const started = performance.now();
  const received = await raw(port, [`${post}Content-Length: 20\r\n\r\n`, ...good.split('')], 30);
  expect(statuses(received)).toEqual([408]);
  expect(received).toContain('"code":"request/timeout"');
  expect(performance.now() - started).toBeLessThan(2_000);
});

/** Guarantees that bodies are JSON in UTF-8 without a content coding. */
test('accepts one media type', async () => {
  const { post: send } = await startDemo();
  for (const type of [
    'application/json',
    'Application/JSON',
    'application/json; charset=utf-8',
    'application/json;charset="UTF-8"',
  ]) {
    expect([type, (await send(seal, good, { 'content-type': type })).status]).toEqual([type, 200]);
  }
  for (const type of [
    'text/plain',
    'application/jsonx',
    'application/json; charset=latin1',
    'application/json; charset=utf-8; x=1',
    'application/problem+json',
    'application/json, application/json',
    '',
  ]) {
    const response = await send(seal, good, { 'content-type': type });
    expect([type, response.status]).toEqual([type, 415]);
    expect((await problem(response)).code).toBe('request/unsupported-media-type');
  }
  for (const coding of ['gzip', 'br', 'identity, gzip', 'deflate']) {
    expect((await send(seal, good, { 'content-encoding': coding })).status).toBe(415);
  }
  expect((await send(seal, good, { 'content-encoding': 'identity' })).status).toBe(200);
});

/** Guarantees that a missing body is refused where one is needed, and a body where none is taken. */
test('wants a body or none', async () => {
  const { call, port } = await startDemo();
  const missing = await call(seal, { method: 'POST' });
  expect([missing.status, (await problem(missing)).detail]).toEqual([400, 'This operation needs a body.']);
  const unwanted = await call('/v1/demo/k', { method: 'DELETE', body: '{}' });
  expect([unwanted.status, (await problem(unwanted)).detail]).toEqual([413, 'This operation takes no body.']);
  const empty = `DELETE /v1/demo/k HTTP/1.1\r\n${authorized}Content-Length: 0\r\nConnection: close\r\n\r\n`;
  expect(statuses(await raw(port, [empty]))).toEqual([204]);
});

/** Guarantees that a digest sent is checked: SHA-256, SHA-512 and both, beside algorithms not known. */
test('checks digests', async () => {
  const { post: send, call } = await startDemo();
  const md5 = `md5=:${createHash('md5').update(good).digest('base64')}:`;
  const right = [
    sha('sha-256', good),
    sha('sha-512', good),
    `${sha('sha-256', good)}, ${sha('sha-512', good)}`,
    `${md5} ,\t${sha('sha-256', good)}`,
  ];
  for (const digest of right) {
    expect([digest, (await send(seal, good, { 'content-digest': digest })).status]).toEqual([digest, 200]);
  }
  const wrong = [
    sha('sha-256', `${good} `),
    sha('sha-512', ''),
    `${sha('sha-256', good)}, ${sha('sha-512', '')}`,
    `${sha('sha-256', '')}, ${sha('sha-256', good)}`,
    `${sha('sha-256', good)}, ${sha('sha-256', good)}`,
    md5,
    '',
    ',',
    `${sha('sha-256', good)},`,
    sha('sha-256', good).replace('sha-256', 'SHA-256'),
    sha('sha-256', good).replace('=:', '='),
    sha('sha-256', good).slice(0, -1),
    sha('sha-256', good).replace('=:', '=: '),
    sha('sha-256', good).replace(/=:$/, ':'),
    `${sha('sha-256', good)};a=1`,
    'sha-256=?1',
    'sha-256="x"',
    `sha-256=:${'A'.repeat(400)}:`,
    `__proto__=:AAAA:, constructor=:AAAA:`,
    Array.from({ length: 20 }, (_, index) => `x${index}=:AAAA:`).join(', '),
  ];
  for (const digest of wrong) {
    const response = await send(seal, good, { 'content-digest': digest });
    expect([digest, response.status, (await problem(response)).code]).toEqual([
      digest,
      400,
      'request/digest-mismatch',
    ]);
  }
  const empty = { method: 'DELETE', headers: { 'content-digest': sha('sha-256', '') } };
  expect((await call('/v1/demo/k', empty)).status).toBe(204);
});

/** Guarantees that the strict reading of JSON is what a route's body goes through. */
test('reads bodies strictly', async () => {
  const { post: send } = await startDemo();
  const detail = async (body: string | Uint8Array) => (await problem(await send(seal, body))).detail;
  expect(await detail('{"plaintext":"AAEC","plaintext":"AAEC"}')).toContain('twice');
  expect(await detail('{"plaintext":"AAEC","__proto__":{}}')).toContain('forbidden');
  expect(await detail(`{"plaintext":"AAEC","context":${'['.repeat(40)}${']'.repeat(40)}}`)).toContain(
    'nested',
  );
  expect(await detail(Uint8Array.from([0x22, 0xff, 0x22]))).toContain('UTF-8');
  expect(await detail('{')).toBe('The body is not valid JSON.');
});
