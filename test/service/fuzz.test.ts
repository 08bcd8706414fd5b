import { constants, publicEncrypt } from 'node:crypto';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createClient, wrapKey } from '../../src/client/node/index.ts';
import { errorCodes } from '../../src/core/errors.ts';
import { freshName, makeKey, makeToken, plaintext, seal, waitingJob } from '../access/support.ts';
import { agesDataset, makeContributors } from '../aggregate/asking.ts';
import { epochKey, salaries, uploadFor } from '../aggregate/support.ts';
import { documentRequests, schemaOf } from '../fields/support.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { type Document, type Received, readDocument } from './document.ts';
import { legible, marker, type Pool, type Shot, shots } from './requests.ts';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';
const requests = nightly ? 100_000 : 1_000_000;
const limitMilliseconds = nightly ? undefined : 38_000;
const together = 24;
const answerWithinMs = 5_000;

let service: TestService;
let document: Document;
let pool: Pool;
const agent = new Agent({ keepAlive: true, maxSockets: 8 });

beforeAll(async () => {
  service = await startTestService({ env: { STATHERA_LOG_LEVEL: 'debug', STATHERA_JOBS_CONCURRENCY: '0' } });
  document = readDocument((await service.call('GET', '/openapi.json', undefined, { token: null })).body);
  const keys = ['fuzz-a', 'fuzz-b', 'fuzz-disabled'];
  const ids: string[] = [];
  const ciphertexts: string[] = [];
  for (const key of keys) {
    ids.push(await makeKey(service, key));
    ciphertexts.push(await seal(service, key), await seal(service, key, { context: { table: 'row' } }));
  }
  await service.call('PATCH', '/v1/keys/fuzz-disabled', { state: 'disabled' });
  const limited = await makeToken(service, { scopes: ['keys:encrypt'], keys: ['fuzz-a'] });
  const revoked = await makeToken(service, { scopes: ['keys:encrypt'] });
  const spare = await makeToken(service, { scopes: ['keys:encrypt'] });
  pool = {
    right: await rightRequests(),
    keys: [
      ...[...keys, 'fuzz-pair', 'fuzz-agreeing', 'fuzz-mac', 'fuzz-signing'],
      ...[...ids, 'fuzz-absent', marker],
    ],
    ciphertexts,
    tokenIds: [...(await webhooks()), revoked.id, spare.id, await waitingJob(service), 'absent', marker],
    credentials: [
      { authorization: `Bearer ${service.token}`, known: true },
      { authorization: `Bearer ${limited.secret}`, known: true },
      { authorization: `Bearer stk_${'A'.repeat(64)}`, known: false },
      { authorization: undefined, known: false },
    ],
  };
});
afterAll(async () => {
  agent.destroy();
  await service.dispose();
});

async function webhooks(): Promise<string[]> {
  const body = { url: 'https://hooks.example.com/' };
  const made = Array.from({ length: 10 }, () => service.call('POST', '/v1/webhooks', body));
  return (await Promise.all(made)).map((answer) => String(answer.body['id']));
}

/** Requests about key pairs that are answered as they are. */
async function rightRequests(): Promise<Pool['right']> {
  const post = async (path: string, body: object) => (await service.call('POST', path, body)).body;
  await post('/v1/keys', { name: 'fuzz-pair', purpose: 'exchange' });
  await post('/v1/keys', { name: 'fuzz-agreeing', algorithm: 'p256' });
  const made = await post('/v1/keys/fuzz-pair/encapsulate', {});
  const opening = {
    key: 'fuzz-pair',
    body: { ciphertext: made['ciphertext'], confirmation: made['confirmation'] },
  };
  await post('/v1/keys', { name: 'fuzz-signing', algorithm: 'ed25519' });
  const message = 'AAAA';
  const { signature } = await post('/v1/keys/fuzz-signing/sign', { message });
  const signing = { key: 'fuzz-signing', body: { message } };
  const verifying = { key: 'fuzz-signing', body: { message, signature } };
  const { body: shown } = await service.call('GET', '/v1/keys/fuzz-agreeing/public-key');
  const deriving = { key: 'fuzz-agreeing', body: { peerPublicKey: shown['publicKey'], label: 'fuzz' } };
  const { enc, ciphertext } = await post('/v1/keys/fuzz-pair/seal', { plaintext });
  const sealing = { plaintext, recipientPublicKey: shown['publicKey'] };
  await post('/v1/keys', { name: 'fuzz-mac', purpose: 'mac' });
  const { mac } = await post('/v1/keys/fuzz-mac/mac', { message: plaintext });
  await post('/v1/keys', { name: 'fuzz-oaep', algorithm: 'rsa-oaep-2048' });
  const { pem } = (await service.call('GET', '/v1/keys/fuzz-oaep/public-key')).body;
  const oaep = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
  const encrypted = publicEncrypt({ key: String(pem), ...oaep }, Buffer.from('x')).toString('base64');
  await post('/v1/keys', { name: 'fuzz-external', origin: 'external' });
  const client = createClient({ url: service.url, credentials: service.token });
  const parameters = await client.getImportParameters({ key: 'fuzz-external' });
  const { importId, wrappedKey } = await wrapKey(parameters, Buffer.alloc(parameters.keyBytes, 7));
  const importing = { importId, wrappedKey: Buffer.from(wrappedKey).toString('base64') };
  await post('/v1/keys', { name: 'fuzz-ending' });
  await post('/v1/keys/fuzz-ending/rotate', {});
  await post('/v1/keys/fuzz-ending/destroy', { versions: [1] });
  const lifecycle = {
    restoreKeyVersions: { key: 'fuzz-ending', at: 'restore', body: { versions: [1] } },
    destroyKeyVersions: { key: 'fuzz-ending', at: 'destroy', body: { versions: [1], dryRun: true } },
    setRetention: { key: 'fuzz-ending', at: 'retention', body: { keepLatest: 1_000 } },
  };
  const coverage = {
    place: { system: 'other', database: 'd', table: 't', column: 'c' },
    ...{ currentVersion: 1, agreed: true, scanSeconds: 0 },
    ...{ rows: 0, nulls: 0, foreign: 0, unreadable: 0, versions: [] },
  };
  return {
    ...{ decapsulate: opening, confirm: opening, derive: deriving, sign: signing, verify: verifying },
    decryptOaep: { key: 'fuzz-oaep', at: 'decrypt-oaep', body: { ciphertext: encrypted } },
    importKey: { key: 'fuzz-external', at: 'import', body: importing },
    signJws: { key: 'fuzz-signing', at: 'sign-jws', body: { payload: message } },
    createCsr: { key: 'fuzz-signing', at: 'csr', body: { subject: { commonName: 'fuzz' } } },
    authSeal: { key: 'fuzz-agreeing', at: 'auth-seal', body: sealing },
    encapsulate: { key: 'fuzz-pair', body: {} },
    reportCoverage: { key: 'fuzz-pair', at: 'coverage', body: coverage },
    planRotation: { key: 'fuzz-mac', at: 'rotation-plan', body: { policy: { everyDays: 9 } } },
    seal: { key: 'fuzz-pair', body: { plaintext } },
    sendExport: { key: 'fuzz-pair', at: 'send-export', body: {} },
    mac: { key: 'fuzz-mac', body: { message: plaintext } },
    open: { key: 'fuzz-pair', body: { enc, ciphertext } },
    ...lifecycle,
    receiveExport: { key: 'fuzz-pair', at: 'receive-export', body: { enc } },
    verifyMac: { key: 'fuzz-mac', at: 'verify-mac', body: { message: plaintext, mac } },
  };
}

/** Requests about a dataset, each once: most of them take a process of their own. */
async function datasetRequests(): Promise<
  [operationId: string, method: string, path: string, body?: unknown][]
> {
  const path = '/v1/datasets/fuzz-dataset';
  const created = await service.call('POST', '/v1/datasets', { name: 'fuzz-dataset', ...salaries });
  expect(created.status, created.text).toBe(201);
  const upload = await uploadFor(await epochKey(service, 'fuzz-dataset'));
  const askable = await agesDataset(service, await makeContributors(service, 5));
  const count = { statistic: 'count', epochs: [1], epsilon: 1 };
  const asked = await service.call('POST', `/v1/datasets/${askable}/queries`, count);
  return [
    ['createDataset', 'POST', '/v1/datasets', { name: 'fuzz-other', ...salaries }],
    ['getDataset', 'GET', path],
    ['listEpochs', 'GET', `${path}/epochs`],
    ['getEpochKey', 'GET', `${path}/epoch-key`],
    ['contribute', 'POST', `${path}/epochs/1/contributions/1`, upload],
    ['openEpoch', 'POST', `${path}/epochs`, {}],
    ['shredEpoch', 'POST', `${path}/epochs/1/shred`, {}],
    ['queryDataset', 'POST', `/v1/datasets/${askable}/queries`, { ...count, epsilon: 2 }],
    ['estimateQuery', 'POST', `/v1/datasets/${askable}/queries/dry-run`, count],
    ['listQueries', 'GET', `/v1/datasets/${askable}/queries`],
    ['getQuery', 'GET', `/v1/datasets/${askable}/queries/${String(asked.body['id'])}`],
    ['getBudget', 'GET', `/v1/datasets/${askable}/budget`],
  ];
}

/** Requests about schemas of fields and documents, each once: chance finds no name of a schema. */
async function fieldRequests(): ReturnType<typeof datasetRequests> {
  await service.call('POST', '/v1/keys', { name: 'fuzz-fields', purpose: 'fields' });
  const { name, ...definition } = schemaOf('fuzz-schema', 'fuzz-fields');
  return [
    ['createFieldSchema', 'POST', '/v1/fields/schemas', { name, ...definition }],
    ['getFieldSchema', 'GET', `/v1/fields/schemas/${name}`],
    ['addFieldSchemaVersion', 'POST', `/v1/fields/schemas/${name}/versions`, definition],
    ...documentRequests(name).map(([operationId, path, body]): [string, string, string, object] => [
      ...([operationId, 'POST', path, body] as const),
    ]),
  ];
}

/** The rest of what chance hardly finds, each once. */
async function otherRequests(): ReturnType<typeof datasetRequests> {
  const hook = await service.call('POST', '/v1/webhooks', { url: 'https://hooks.example.com/' });
  expect(hook.status, hook.text).toBe(201);
  const webhook = `/v1/webhooks/${String(hook.body['id'])}`;
  const job = `/v1/jobs/${await waitingJob(service)}`;
  const sealed = { ciphertext: await seal(service, 'fuzz-a') };
  return [
    ['setDefaultRotationPolicy', 'PATCH', '/v1/rotation/default-policy', { policy: { everyDays: 365 } }],
    ['updateWebhook', 'PATCH', webhook, { state: 'enabled' }],
    ['listDeliveries', 'GET', `${webhook}/deliveries`],
    ['redeliver', 'POST', `${webhook}/redeliver`, {}],
    ['removeWebhook', 'DELETE', webhook],
    ['getJob', 'GET', job],
    ['cancelJob', 'POST', `${job}/cancel`, {}],
    ['decryptWithKey', 'POST', '/v1/keys/fuzz-a/decrypt', sealed],
    ['rewrap', 'POST', '/v1/keys/fuzz-a/rewrap', sealed],
  ];
}

interface Reply extends Received {
  readonly milliseconds: number;
}

/** Sends over a kept connection. @throws when no whole answer comes in time */
function fire({ method, path, headers, body, chunks }: Shot): Promise<Reply> {
  const begun = performance.now();
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(service.url);
    const bytes = body === undefined ? undefined : Buffer.from(body, 'base64');
    const framing =
      chunks === 0 ? { 'content-length': String(bytes?.length) } : { 'transfer-encoding': 'chunked' };
    const sent = request({
      ...{ agent, hostname, port, method, path },
      headers: { ...headers, ...(bytes && framing) },
    });
    const timer = setTimeout(() => sent.destroy(new Error('no answer in time')), answerWithinMs);
    sent.on('response', (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', reject);
      response.on('end', () => {
        clearTimeout(timer);
        const fields = Object.entries(response.headers).map(
          ([name, value]) => [name, String(value)] as const,
        );
        resolve({
          status: response.statusCode ?? 0,
          headers: Object.fromEntries(fields),
          text: Buffer.concat(parts).toString('latin1'),
          milliseconds: performance.now() - begun,
        });
      });
    });
    sent.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    if (bytes === undefined) sent.end();
    else if (chunks === 0) sent.end(bytes);
    else {
      const size = Math.ceil(bytes.length / chunks) || 1;
      for (let at = 0; at < bytes.length; at += size) sent.write(bytes.subarray(at, at + size));
      sent.end();
    }
  });
}

/** Answers that may come whatever was asked, when the machine is slow. */
const busy = ['audit/unavailable', 'service/overloaded', 'hsm/unavailable', 'store/unavailable'];

/** What is wrong with an answer; empty when nothing is. */
function faultsOf(shot: Shot, reply: Reply): string[] {
  const { status, headers, text, milliseconds } = reply;
  const found: string[] = [];
  if (milliseconds >= answerWithinMs) found.push(`took ${milliseconds} ms`);
  if (status < 200 || (status >= 300 && status < 400) || status >= 600) found.push(`odd status ${status}`);
  if (JSON.stringify(headers).toLowerCase().includes(marker)) found.push('a header repeats the marker');
  if (status >= 400) {
    if (text.toLowerCase().includes(marker)) found.push('the answer repeats the marker');
    if (headers['content-type'] !== 'application/problem+json')
      found.push(`content type ${headers['content-type']}`);
    if (shot.method !== 'HEAD') found.push(...problemFaults(status, text));
    if (headers['x-request-id'] === undefined) found.push('no request id');
    if (status === 401 && headers['www-authenticate'] !== 'Bearer') found.push('no challenge');
    if (status === 503 && headers['retry-after'] === undefined) found.push('no Retry-After');
    if (status === 405 && headers['allow'] === undefined) found.push('no Allow');
  }
  if (!shot.known && status < 400 && shot.aim !== undefined && !shot.aim.startsWith('system.')) {
    found.push(`${shot.aim} served a stranger`);
  }
  if (shot.aim !== undefined) {
    found.push(...document.faults(shot.aim, reply));
    const described =
      shot.body !== undefined &&
      document.operations.find(({ operationId }) => operationId === shot.aim)?.body;
    if (status < 300 && described) {
      const value: unknown = JSON.parse(Buffer.from(shot.body, 'base64').toString());
      // Items of a batch fail alone: the request is right all the same.
      if (shot.aim !== 'batch')
        found.push(...document.bodyFaults(shot.aim, value).map((fault) => `accepted: ${fault}`));
    }
  }
  return found;
}

function problemFaults(status: number, text: string): string[] {
  try {
    const problem = JSON.parse(text) as Record<string, unknown>;
    const found: string[] = [];
    if (!errorCodes.some((code) => code === problem['code']))
      found.push(`unknown code ${String(problem['code'])}`);
    if (problem['status'] !== status) found.push('another status in the document');
    if (status >= 500 && !(status === 503 && busy.includes(String(problem['code']))))
      found.push(`status ${status}`);
    for (const member of ['type', 'title', 'detail', 'requestId']) {
      if (typeof problem[member] !== 'string') found.push(`no ${member}`);
    }
    return found;
  } catch {
    return ['no problem document'];
  }
}

async function stillWorks(): Promise<void> {
  const key = freshName('after');
  await makeKey(service, key);
  const ciphertext = await seal(service, key);
  const opened = await service.call('POST', '/v1/decrypt', { ciphertext });
  expect(opened.body).toMatchObject({ plaintext });
  expect((await service.call('GET', '/readyz')).status).toBe(200);
}

/** Guarantees that no request makes the service fail, hang, repeat what was planted, or contradict its own document. */
test('survives every request', { timeout: nightly ? 3_600_000 : 120_000 }, async ({ annotate }) => {
  const statuses = new Map<string, number>();
  let [sent, slow, refusedForLoad] = [0, 0, 0];
  // These succeed only where all of several values are left as they are, which chance may never do.
  for (const [operationId, { key, at = operationId, body }] of Object.entries(pool.right)) {
    const { status, text } = await service.call('POST', `/v1/keys/${key}/${at}`, body);
    expect([200, 201], text).toContain(status);
    statuses.set(`${operationId} ${status}`, 1);
  }
  for (const [operationId, method, path, body] of [
    ...(await datasetRequests()),
    ...(await fieldRequests()),
    ...(await otherRequests()),
  ]) {
    const { status, text } = await service.call(method, path, body);
    expect(status < 300, text).toBe(true);
    statuses.set(`${operationId} ${status}`, 1);
  }
  await fc.assert(
    fc.asyncProperty(
      fc.array(shots(document, pool), { minLength: together, maxLength: together }),
      async (volley) => {
        const found = await Promise.all(
          volley.map(async (shot) => {
            const reply = await fire(shot).catch((error: Error) => error);
            if (reply instanceof Error) return [reply.message, legible(shot)];
            sent += 1;
            slow = Math.max(slow, reply.milliseconds);
            if (reply.status === 503) refusedForLoad += 1;
            const key = `${shot.aim ?? 'elsewhere'} ${reply.status}`;
            statuses.set(key, (statuses.get(key) ?? 0) + 1);
            const faults = faultsOf(shot, reply);
            return faults.length === 0 ? [] : [...faults, legible(shot), reply.text.slice(0, 500)];
          }),
        );
        expect(found.flat().join('\n')).toBe('');
      },
    ),
    {
      numRuns: Math.ceil(requests / together),
      ...(limitMilliseconds !== undefined && { interruptAfterTimeLimit: limitMilliseconds }),
      endOnFailure: true,
    },
  );
  const text = `${sent} requests, slowest ${Math.round(slow)} ms, ${refusedForLoad} refused for load, seed ${inject('seed')}`;
  await annotate(text);
  process.stdout.write(`fuzz: ${text}\n`);
  await stillWorks();
  expect(service.stderr().toLowerCase()).not.toContain(marker);
  expect(service.stderr()).not.toMatch(/"level":[56]0/);
  expect(refusedForLoad).toBeLessThan(Math.max(10, sent / 100));
  // It got far: each operation was served, and refused; on a machine too slow for that many, nine of ten.
  const reached = (aim: string, from: number, to: number) =>
    [...statuses].some(([key, count]) => {
      const [name, status] = key.split(' ');
      return name === aim && Number(status) >= from && Number(status) < to && count > 0;
    });
  const unreached = document.operations.filter(
    ({ operationId, open }) => !reached(operationId, 200, 300) || !(open || reached(operationId, 400, 500)),
  );
  const missed = unreached.map(({ operationId }) => operationId);
  expect(missed.slice(sent < 15_000 ? document.operations.length / 10 : 0)).toEqual([]);
});

/** What comes back for these bytes, until the connection is closed or nothing came for a while. */
function exchange(bytes: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(service.url);
    const socket = connect(Number(port), hostname);
    let received = '';
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
    });
    socket.on('close', () => resolve(received));
    socket.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'ECONNRESET' ? resolve(received) : reject(error),
    );
    socket.setTimeout(300, () => socket.destroy());
    socket.write(bytes);
  });
}

/** Guarantees the same for bytes that are no request, or two in one: nothing but whole answers and closed connections. */
test('survives every byte', { timeout: nightly ? 600_000 : 60_000 }, async () => {
  const auth = `Authorization: Bearer ${service.token}\r\n`;
  const good = `POST /v1/random HTTP/1.1\r\nHost: x\r\n${auth}Content-Type: application/json\r\nContent-Length: 12\r\n\r\n{"bytes": 1}`;
  const piece = fc.oneof(
    fc.constantFrom(
      ...[good, '\r\n', '\0', ' ', ':', 'Host: x\r\n', 'Host: y\r\n', 'Transfer-Encoding: chunked\r\n'],
      ...[
        'Content-Length: 5\r\n',
        'Content-Length: -1\r\n',
        'Transfer-Encoding: gzip, chunked\r\n',
        '0\r\n\r\n',
      ],
      ...[
        'ffffffffffffffff\r\n',
        `${marker}\r\n`,
        'HTTP/1.1',
        'HTTP/2.0',
        'GET',
        `/${marker}`,
        '\u00ff\u00fe',
        auth,
      ],
      ...[
        'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
        '\u0016\u0003\u0001\u0002',
        'x'.repeat(20_000),
        'Connection: close\r\n',
      ],
    ),
    fc.string({ unit: 'binary', maxLength: 20 }),
  );
  const cut = fc.record({ at: fc.nat(good.length), drop: fc.nat(30), put: piece });
  const stream = fc.oneof(
    fc.array(piece, { minLength: 1, maxLength: 8 }).map((parts) => parts.join('')),
    cut.map(({ at, drop, put }) => good.slice(0, at) + put + good.slice(at + drop)),
    fc.tuple(cut, cut).map(([first, second]) => {
      const once = good.slice(0, first.at) + first.put + good.slice(first.at);
      return once.slice(0, second.at) + second.put + once.slice(second.at + second.drop);
    }),
  );
  let sent = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(stream, { minLength: 16, maxLength: 16 }), async (streams) => {
      for (const received of await Promise.all(
        streams.map((text) => exchange(Buffer.from(text, 'latin1'))),
      )) {
        sent += 1;
        if (received === '') continue;
        expect(received).toMatch(/^HTTP\/1\.1 (?:100|200|204|4\d\d) /);
        expect(received).not.toMatch(/HTTP\/1\.1 5\d\d/);
        expect(received.toLowerCase()).not.toContain(marker);
      }
    }),
    {
      numRuns: nightly ? 600 : 1_000,
      interruptAfterTimeLimit: nightly ? 300_000 : 8_000,
      endOnFailure: true,
    },
  );
  expect(sent).toBeGreaterThan(100);
  await stillWorks();
  process.stdout.write(`fuzz: ${sent} raw connections\n`);
});

/** Guarantees that the fuzzer would notice: each kind of wrong answer is reported. */
test('wrong answers are noticed', async () => {
  const shot: Shot = {
    method: 'GET',
    path: '/v1/keys',
    headers: {},
    body: undefined,
    chunks: 0,
    aim: 'listKeys',
    known: true,
  };
  const good = await fire({ ...shot, headers: { authorization: `Bearer ${service.token}` } });
  const refused = await fire(shot);
  expect([faultsOf(shot, good), faultsOf(shot, refused)]).toEqual([[], []]);
  const wrong = (change: Partial<Reply>, of = refused, at = shot) =>
    faultsOf(at, { ...of, ...change }).length;
  expect(wrong({ status: 500 })).toBeGreaterThan(0);
  expect(wrong({ text: '{}' })).toBeGreaterThan(0);
  expect(wrong({ text: 'Unauthorized' })).toBeGreaterThan(0);
  expect(wrong({ text: refused.text.replace('No valid', marker) })).toBe(1);
  expect(
    wrong({ text: refused.text.replaceAll('access/unauthenticated', 'access/unheard-of') }),
  ).toBeGreaterThan(0);
  expect(wrong({ headers: { ...refused.headers, 'content-type': 'text/html' } })).toBeGreaterThan(0);
  expect(wrong({ headers: { ...refused.headers, location: `/${marker}` } })).toBe(1);
  expect(wrong({ milliseconds: answerWithinMs })).toBe(1);
  expect(wrong({}, good, { ...shot, known: false })).toBe(1);
  expect(wrong({ text: '{"items":[{}]}' }, good)).toBeGreaterThan(0);
});
