import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freshName, makeKey, makeToken, member } from '../access/support.ts';
import { emptyDirectory, freshDataDir, removeDirectory, runMain } from '../support/data.ts';
import { type Answer, startTestService, type TestService } from '../support/service.ts';
import { filesUnder, formsOf, type Planted, processTexts, tracesIn } from './traces.ts';

let service: TestService;
let dataDir: string;
const planted: Planted[] = [];
/** What the service said that was no answer for the owner of a secret: refusals, and answers of descriptions. */
const said: { place: string; text: string }[] = [];

function plant(name: string, bytes: Buffer): Buffer {
  planted.push({ name, bytes });
  return bytes;
}

function plantToken(name: string, secret: string): string {
  // The text, its random part and the end of it: a token that lost its prefix is one all the same.
  plant(`${name} (text)`, Buffer.from(secret.slice(28)));
  plant(name, Buffer.from(secret.slice(4), 'base64url').subarray(16));
  return secret;
}

beforeAll(async () => {
  dataDir = await freshDataDir();
  service = await startTestService({ dataDir, env: { STATHERA_LOG_LEVEL: 'trace' } });
  plant('PIN', Buffer.from((await readFile(join(dataDir, 'hsm', 'pin'), 'utf8')).trim()));
  plantToken('bootstrap token', service.token);
  await everyOperation();
  await everyRefusal();
});
afterAll(async () => {
  await service.kill();
  await removeDirectory(dataDir);
});

function noted(place: string, answer: Answer): Answer {
  said.push({ place, text: `${JSON.stringify([...answer.headers])} ${answer.text}` });
  return answer;
}

let key: string;
const sealed: string[] = [];

/** Everything that handles a secret, each with one of its own. */
async function everyOperation(): Promise<void> {
  key = freshName('key');
  await makeKey(service, key);
  for (const length of [16, 47, 1_000, 4_096]) {
    const plaintext = plant(`plaintext of ${length}`, randomBytes(length)).toString('base64');
    const answer = await service.call('POST', `/v1/keys/${key}/encrypt`, { plaintext });
    sealed.push(member(answer, 'ciphertext') ?? '');
  }
  await service.call('POST', `/v1/keys/${key}/rotate`, {});
  for (const ciphertext of sealed) {
    await service.call('POST', `/v1/keys/${key}/decrypt`, { ciphertext });
    noted('rewrap', await service.call('POST', `/v1/keys/${key}/rewrap`, { ciphertext }));
  }
  const made = await service.call('POST', `/v1/keys/${key}/data-keys`, { count: 3, plaintext: true });
  for (const item of made.body['items'] as { plaintext: string; wrapped: string }[]) {
    plant('data key', Buffer.from(item.plaintext, 'base64'));
    await service.call('POST', '/v1/decrypt', { ciphertext: item.wrapped });
  }
  const random = await service.call('POST', '/v1/random', { bytes: 64 });
  plant('random bytes', Buffer.from(member(random, 'bytes') ?? '', 'base64'));
  const inBatch = plant('plaintext of a batch', randomBytes(48)).toString('base64');
  const operations = [
    { operation: 'encrypt', key, plaintext: inBatch },
    { operation: 'decrypt', ciphertext: sealed[0] },
    { operation: 'data-keys', key, plaintext: true },
    { operation: 'random', bytes: 48 },
  ];
  const batch = await service.call(
    'POST',
    '/v1/batch',
    { operations },
    { headers: { 'idempotency-key': 'batch' } },
  );
  const results = batch.body['results'] as { items?: { plaintext: string }[]; bytes?: string }[];
  plant('data key of a batch', Buffer.from(results[2]?.items?.[0]?.plaintext ?? '', 'base64'));
  plant('random bytes of a batch', Buffer.from(results[3]?.bytes ?? '', 'base64'));
  const scopes = ['keys:encrypt'];
  const headers = { 'idempotency-key': 'token' };
  const request = { name: freshName('token'), scopes };
  const once = await service.call('POST', '/v1/access/tokens', request, { headers });
  plantToken('token of an idempotent creation', member(once, 'secret') ?? '');
  noted('replay', await service.call('POST', '/v1/access/tokens', request, { headers }));
  const revoked = await makeToken(service, { scopes });
  plantToken('revoked token', revoked.secret);
  await service.call('DELETE', `/v1/access/tokens/${revoked.id}`);
  for (const path of ['/v1/keys', `/v1/keys/${key}`, `/v1/keys/${key}/versions`, '/v1/access/tokens']) {
    noted(path, await service.call('GET', path));
  }
  noted('revoked', await service.call('GET', '/v1/keys', undefined, { token: revoked.secret }));
}

/** Requests that are refused, with secrets where they belong and where they do not. */
async function everyRefusal(): Promise<void> {
  // Its base64url begins with characters that neither a name nor base64 may have.
  const head = Buffer.of(0xfb, 0xff, 0xbf);
  const lost = plant('secret in the wrong place', Buffer.concat([head, randomBytes(30)]));
  const text = lost.toString('base64url');
  const unknown = plantToken('unknown token', `stk_${randomBytes(48).toString('base64url')}`);
  const bearer = (token: string) => ({ token: null, headers: { authorization: token } });
  const post = (path: string, body: unknown, headers = {}) => service.call('POST', path, body, { headers });
  const at = `/v1/keys/${key}`;
  const tries: Record<string, Promise<Answer>> = {
    unknown: service.call('GET', '/v1/keys', undefined, { token: unknown }),
    scheme: service.call('GET', '/v1/keys', undefined, bearer(`Basic ${unknown}`)),
    bare: service.call('GET', '/v1/keys', undefined, bearer(service.token)),
    path: service.call('GET', `/v1/keys/${text}`),
    elsewhere: service.call('GET', `/${text}`),
    query: service.call('GET', `/v1/keys?access_token=${service.token}`),
    cursor: service.call('GET', `/v1/keys?cursor=${text}`),
    revoke: service.call('DELETE', `/v1/access/tokens/${service.token}`),
    member: post(`${at}/encrypt`, { plaintext: lost.toString('base64'), [text]: text }),
    base64: post(`${at}/encrypt`, { plaintext: text }),
    tooLong: post(`${at}/encrypt`, {
      plaintext: Buffer.concat([lost, Buffer.alloc(800_000)]).toString('base64'),
    }),
    broken: post(`${at}/encrypt`, `{"plaintext":"${lost.toString('base64')}"`),
    twice: post(`${at}/encrypt`, `{"plaintext":"${text}","plaintext":"${text}"}`),
    absent: post('/v1/keys/absent/encrypt', { plaintext: lost.toString('base64') }),
    context: post(`${at}/encrypt`, { plaintext: lost.toString('base64'), context: { [text]: 1 } }),
    tampered: post('/v1/decrypt', { ciphertext: `${(sealed[0] ?? '').slice(0, -8)}AAAAAAA=` }),
    otherContext: post('/v1/decrypt', { ciphertext: sealed[1], context: { a: 'b' } }),
    foreign: post('/v1/decrypt', { ciphertext: lost.toString('base64') }),
    type: post(`${at}/encrypt`, { plaintext: lost.toString('base64') }, { 'content-type': `text/${text}` }),
    digest: post(`${at}/encrypt`, { plaintext: lost.toString('base64') }, { 'content-digest': text }),
    name: post('/v1/keys', { name: text }),
    batch: post('/v1/batch', { operations: [{ operation: text, [text]: lost }, text] }),
    method: service.call('PUT', '/v1/keys', { secret: text }),
    large: post(`${at}/encrypt`, `"${text.repeat(40_000)}"`),
  };
  for (const [place, answer] of Object.entries(tries)) {
    const { status } = noted(place, await answer);
    if (place !== 'batch' && status < 400) throw new Error(`${place} was not refused`);
  }
}

/** Guarantees that no refusal, description or measurement holds a secret, not even to whoever sent it. */
test('answers hold no secret', async () => {
  const metrics = await service.call('GET', '/metrics');
  expect(metrics.text).toContain('stathera_');
  const found = [...said, { place: '/metrics', text: metrics.text }].flatMap(({ place, text }) =>
    tracesIn(`the answer of ${place}`, Buffer.from(text), planted),
  );
  expect(found).toEqual([]);
  expect(planted.length).toBeGreaterThan(20);
});

/** Guarantees that neither the output at its most talkative, nor arguments, nor the environment hold a secret. */
test('output and processes hold no secret', async () => {
  expect(service.stderr().split('\n').length).toBeGreaterThan(50);
  const places = [
    { path: 'stdout', content: Buffer.from(service.stdout()) },
    { path: 'stderr', content: Buffer.from(service.stderr()) },
    ...(await processTexts(service.pid)),
  ];
  expect(places.flatMap(({ path, content }) => tracesIn(path, content, planted))).toEqual([]);
});

/** Guarantees that no file the service keeps holds a secret: not the database or its journal, not the log, not the token's store. */
test('files hold no secret', { timeout: 60_000 }, async () => {
  const own = [join(dataDir, 'hsm', 'pin'), join(dataDir, 'bootstrap-token')];
  const look = async () => {
    const files = await filesUnder(dataDir, own);
    return { files, found: files.flatMap(({ path, content }) => tracesIn(path, content, planted)) };
  };
  const running = await look();
  expect(running.found).toEqual([]);
  const names = running.files.map(({ path }) => path.slice(dataDir.length));
  expect(names).toEqual(expect.arrayContaining(['/stathera.db', '/stathera.db-wal']));
  expect(names.some((name) => name.startsWith('/audit/'))).toBe(true);
  expect(await service.stop()).toBe(0);
  expect((await look()).found).toEqual([]);
  expect(tracesIn('stderr', Buffer.from(service.stderr()), planted)).toEqual([]);
  // The commands that look at them say no more.
  for (const args of [['doctor'], ['audit', 'verify', '--with-token'], ['init']]) {
    const { stdout, stderr } = await runMain(args, { STATHERA_DATA_DIR: dataDir }, { allowFailure: true });
    expect(tracesIn(args.join(' '), Buffer.from(stdout + stderr), planted)).toEqual([]);
  }
});

/** Guarantees that the search above finds what is there: each secret, in each form, wherever it begins. */
test('planted traces are found', async () => {
  const folder = await emptyDirectory();
  try {
    await mkdir(join(folder, 'deep'));
    const [secret] = [{ name: 'control', bytes: randomBytes(20) }];
    for (const before of [0, 1, 2, 7]) {
      const whole = Buffer.concat([randomBytes(before), secret.bytes, randomBytes(5)]);
      const texts = [whole, whole.toString('hex'), whole.toString('base64'), whole.toString('base64url')];
      for (const text of [...texts, JSON.stringify(whole)]) {
        await writeFile(join(folder, 'deep', 'file'), text);
        const files = await filesUnder(folder, []);
        expect(files.flatMap(({ path, content }) => tracesIn(path, content, [secret]))).not.toEqual([]);
      }
    }
    const clean = await filesUnder(folder, [join(folder, 'deep', 'file')]);
    expect(clean).toEqual([]);
    expect(formsOf(secret.bytes).every(({ needle }) => needle.length >= 20)).toBe(true);
    const other = [{ name: 'other', bytes: randomBytes(20) }];
    expect(tracesIn('text', Buffer.from(secret.bytes.toString('base64')), other)).toEqual([]);
  } finally {
    await removeDirectory(folder);
  }
  // The files that are theirs to hold the PIN and the first token do, and are seen to.
  const all = await filesUnder(dataDir, []);
  const held = all.flatMap(({ path, content }) => tracesIn(path.slice(dataDir.length), content, planted));
  expect(held).toEqual(
    expect.arrayContaining(['PIN in /hsm/pin, raw', 'bootstrap token (text) in /bootstrap-token, raw']),
  );
  const texts = await processTexts(process.pid);
  const argument = [{ name: 'argument', bytes: Buffer.from(process.execPath) }];
  expect(texts.flatMap(({ path, content }) => tracesIn(path, content, argument))).not.toEqual([]);
});
