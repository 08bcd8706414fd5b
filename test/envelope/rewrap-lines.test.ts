import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isStatheraError } from '../../src/client/errors.ts';
import { createClient, createLocalEncryption } from '../../src/client/node/index.ts';
import { pipe } from '../cli/support.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { base64, bytes, type Context, driver, flipped } from './support.ts';

let service: TestService;
let calls: ReturnType<typeof driver>;
beforeAll(async () => {
  service = await startTestService();
  calls = driver(service);
  for (const name of ['lines', 'other', 'large']) await calls.createKey(name);
});
afterAll(() => service.dispose());

interface Told {
  readonly line?: number;
  readonly id?: string;
  readonly status?: string;
  readonly ciphertext?: string;
  readonly fromVersion?: number;
  readonly keyVersion?: number;
  readonly problem?: { readonly code: string };
  readonly end?: Readonly<Record<string, unknown>>;
}

const json = (value: unknown) => `${JSON.stringify(value)}\n`;

async function send(body: string, key = 'lines', headers: Record<string, string> = {}) {
  const options = { headers: { 'content-type': 'application/x-ndjson', ...headers } };
  const answer = await service.call('POST', `/v1/keys/${key}/rewrap-lines`, body, options);
  const told = answer.status === 200 ? answer.text.trimEnd().split('\n') : [];
  return { ...answer, told: told.map((line) => JSON.parse(line) as Told) };
}

const codeOf = ({ status, problem }: Told) => problem?.code ?? status;

/** Guarantees that each line has what became of it, with its versions, and that what was moved opens as it did. */
test('moves what is not of the newest version', async () => {
  const context: Context = { row: '1' };
  const large = randomBytes(10_000);
  const old = await calls.encrypt('lines', Buffer.from('old'), context);
  const payload = await calls.encrypt('lines', large, context);
  const foreign = await calls.encrypt('other', Buffer.from('foreign'));
  await calls.must('POST', '/v1/keys/lines/rotate', {});
  const recent = await calls.encrypt('lines', Buffer.from('new'), context);
  const requestId = `lines-${randomBytes(6).toString('hex')}`;
  const { told } = await send(
    [
      json({ id: 'a', ciphertext: base64(old), context }),
      json({ id: 'b', ciphertext: base64(recent), context: { not: 'asked' } }),
      json({ ciphertext: base64(payload), context }),
      json({ id: 'wrong', ciphertext: base64(old), context: { row: '2' } }),
      json({ id: 'changed', ciphertext: base64(flipped(old, 800)), context }),
      json({ id: 'foreign', ciphertext: base64(foreign) }),
      json({ id: 'none', ciphertext: 'AAAA' }),
      json({ id: 'bad', ciphertext: 'not base64' }),
      'no JSON\n',
      json({ id: 7, ciphertext: base64(old) }),
    ].join(''),
    'lines',
    { 'x-request-id': requestId },
  );
  const failed = 'envelope/decryption-failed';
  expect(told.slice(0, -1).map((each) => [each.line, each.id, codeOf(each)])).toEqual([
    [1, 'a', 'rewrapped'],
    [2, 'b', 'newest'],
    [3, undefined, 'rewrapped'],
    [4, 'wrong', failed],
    [5, 'changed', failed],
    [6, 'foreign', failed],
    [7, 'none', failed],
    [8, 'bad', 'request/invalid'],
    [9, undefined, 'request/invalid'],
    [10, undefined, 'request/invalid'],
  ]);
  expect(told.at(-1)).toEqual({ end: { lines: 10, rewrapped: 2, newest: 1, failed: 7 } });
  const [first, second, third] = told;
  expect([first?.fromVersion, first?.keyVersion, second?.keyVersion]).toEqual([1, 2, 2]);
  expect(await calls.decrypt(bytes(first?.ciphertext), context)).toEqual(Buffer.from('old'));
  expect(await calls.decrypt(bytes(third?.ciphertext), context)).toEqual(large);
  expect(bytes(third?.ciphertext).subarray(-10_000)).toEqual(payload.subarray(-10_000));
  const page = await calls.must('GET', `/v1/audit/records?requestId=${requestId}`);
  const [record, ...more] = page['items'] as {
    action: string;
    items: { outcome: string; target?: object }[];
  }[];
  expect([record?.action, more]).toEqual(['envelope.rewrap-lines', []]);
  expect(record?.items.map(({ outcome }) => outcome)).toEqual([
    ...['allowed', 'allowed', 'allowed'],
    ...Array<string>(7).fill('refused'),
  ]);
  expect(record?.items[0]?.target).toMatchObject({ name: 'lines', version: 2 });
});

/** Guarantees that who may not rewrap, or may not see the key, learns nothing and is on the record. */
test('asks who it is', async () => {
  const reader = await calls.createToken({ scopes: ['keys:encrypt', 'keys:decrypt'] });
  const elsewhere = await calls.createToken({ scopes: ['keys:rewrap'], keys: ['other'] });
  const line = json({ ciphertext: 'AAAA' });
  for (const [token, status, code] of [
    [reader, 403, 'access/denied'],
    [elsewhere, 404, 'key/not-found'],
  ] as const) {
    for (const body of [line, '']) {
      const answer = await send(body, 'lines', { authorization: `Bearer ${token}` });
      expect([answer.status, answer.body['code']]).toEqual([status, code]);
    }
  }
  const page = await calls.must('GET', '/v1/audit/records?action=envelope.rewrap-lines&limit=4');
  const outcomes = (page['items'] as { outcome: string }[]).map(({ outcome }) => outcome);
  expect(outcomes).toEqual(Array(4).fill('refused'));
});

/** Guarantees that a token that is revoked while lines come moves nothing more from then on. */
test('asks again for each group', async () => {
  const made = await calls.must('POST', '/v1/access/tokens', { name: 'ends', scopes: ['keys:rewrap'] });
  const line = json({ ciphertext: base64(await calls.encrypt('lines', Buffer.from('x'))) });
  const { hostname, port } = new URL(service.url);
  const sending = request({
    ...{ hostname, port, method: 'POST', path: '/v1/keys/lines/rewrap-lines' },
    headers: { authorization: `Bearer ${String(made['secret'])}`, 'content-type': 'application/x-ndjson' },
  });
  const answer = new Promise<string>((resolve, reject) => {
    sending.on('response', (incoming) => {
      incoming.once('data', (first: Buffer) => {
        calls.must('DELETE', `/v1/access/tokens/${String(made['id'])}`).then(() => sending.end(line), reject);
        text(incoming).then((rest) => resolve(`${first}${rest}`), reject);
      });
    });
    sending.on('error', reject);
  });
  sending.write(line);
  const told = (await answer).trimEnd().split('\n');
  expect(told).toHaveLength(2);
  expect(JSON.parse(told[1] ?? '')).toMatchObject({
    end: { lines: 1, problem: { code: 'access/unauthenticated' } },
  });
});

/** Guarantees that the client and the command move any number of lines, in order, as the service tells of each. */
test('by client and command', async () => {
  const client = createClient({ url: service.url, credentials: service.token });
  const local = createLocalEncryption({ client, key: 'large' });
  const stream: Uint8Array[] = [];
  for await (const piece of local.encryptStream(Readable.from([randomBytes(100_000)])))
    stream.push(piece.slice());
  const header = Buffer.concat(stream).subarray(0, 400);
  const old = await calls.encrypt('large', Buffer.from('old'));
  await calls.must('POST', '/v1/keys/large/rotate', {});
  const count = 1_203;
  const lines = Array.from({ length: count }, (_, at) => ({
    id: `${at}`,
    ciphertext: at === 700 ? header : old,
  }));
  const answers = [];
  for await (const answer of client.rewrapLines({ key: 'large', lines })) answers.push(answer);
  expect(answers.map(({ line, id }) => [line, id])).toEqual(lines.map(({ id }, at) => [at + 1, id]));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set(['rewrapped']));
  const moved = answers[700];
  expect(moved?.status === 'rewrapped' && moved.ciphertext.length).toBe(header.length);
  const refused = client.rewrapLines({ key: 'absent', lines: [{ ciphertext: old }] }).next();
  await expect(refused).rejects.toSatisfy((error) => isStatheraError(error, 'key/not-found'));

  const env = { STATHERA_URL: service.url, STATHERA_TOKEN_FILE: `${service.dataDir}/bootstrap-token` };
  const input = [
    'no JSON\n',
    json({ id: 'a', ciphertext: base64(old) }),
    json({ ciphertext: 7 }),
    json({ id: 'b', ciphertext: base64(old), context: { wrong: '1' } }),
    '\n',
    json({ id: 'c', ciphertext: base64(old) }),
    json({}),
  ].join('');
  const ran = await pipe(env, Buffer.from(input), 'rewrap', '--lines', '--key', 'large');
  const told = `${ran.stdout}`
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Told);
  expect(told.map((each) => [each.line, each.id, codeOf(each)])).toEqual([
    [1, undefined, 'request/invalid'],
    [2, 'a', 'rewrapped'],
    [3, undefined, 'request/invalid'],
    [4, 'b', 'envelope/decryption-failed'],
    [6, 'c', 'rewrapped'],
    [7, undefined, 'request/invalid'],
  ]);
  expect([ran.code, ran.stderr]).toEqual([1, '']);
  expect(await calls.decrypt(bytes(told[1]?.ciphertext))).toEqual(Buffer.from('old'));
  const wrong = await pipe(env, Buffer.alloc(0), 'rewrap', '--lines');
  expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('--lines needs --key')]);
});
