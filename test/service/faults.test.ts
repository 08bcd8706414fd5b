import { spawnSync } from 'node:child_process';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, expect, test, vi } from 'vitest';
import { freshName, makeKey, makeToken, member, plaintext, recordsOnDisk, seal } from '../access/support.ts';
import { freshDataDir, removeDirectory, runMain } from '../support/data.ts';
import { type Answer, startTestService, type TestService } from '../support/service.ts';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';

const services: TestService[] = [];
const directories: string[] = [];
const mounts: string[] = [];
afterEach(async () => {
  await Promise.all(services.splice(0).map((service) => service.kill()));
  for (const mount of mounts.splice(0)) spawnSync('umount', ['-l', mount]);
  await Promise.all(directories.splice(0).map(removeDirectory));
});

async function start(dataDir: string): Promise<TestService> {
  const service = await startTestService({ dataDir });
  services.push(service);
  return service;
}

async function dataDirectory(): Promise<string> {
  const directory = await freshDataDir();
  directories.push(directory);
  return directory;
}

async function verified(dataDir: string, ...args: string[]): Promise<{ records: number; heads: string[] }> {
  const { code, stdout, stderr } = await runMain(['audit', 'verify', '--json', ...args], {
    STATHERA_DATA_DIR: dataDir,
  });
  expect([code, stderr]).toEqual([0, '']);
  const report = JSON.parse(stdout) as {
    ok: boolean;
    records: number;
    heads: { writer: string; sequence: number; head: string }[];
  };
  expect(report.ok).toBe(true);
  return {
    records: report.records,
    heads: report.heads.map(({ writer, sequence, head }) => `${writer}:${sequence}:${head}`),
  };
}

/** One of every kind of operation. */
function operationsOn(key: string, ciphertext: string, tokenId: string): [string, string, unknown?][] {
  return [
    ['POST', '/v1/keys', { name: freshName('refused') }],
    ['GET', '/v1/keys'],
    ['GET', `/v1/keys/${key}`],
    ['PATCH', `/v1/keys/${key}`, { description: 'x' }],
    ['POST', `/v1/keys/${key}/rotate`, {}],
    ['GET', `/v1/keys/${key}/versions`],
    ['PATCH', `/v1/keys/${key}/versions/1`, { state: 'disabled' }],
    ['POST', `/v1/keys/${key}/encrypt`, { plaintext }],
    ['POST', `/v1/keys/${key}/decrypt`, { ciphertext }],
    ['POST', '/v1/decrypt', { ciphertext }],
    ['POST', `/v1/keys/${key}/rewrap`, { ciphertext }],
    ['POST', `/v1/keys/${key}/data-keys`, { plaintext: true }],
    ['POST', '/v1/random', { bytes: 16 }],
    ['POST', '/v1/batch', { operations: [{ operation: 'random', bytes: 16 }] }],
    ['GET', '/v1/access/namespaces'],
    ['POST', '/v1/access/namespaces', { name: freshName('refused') }],
    ['GET', '/v1/access/tokens'],
    ['POST', '/v1/access/tokens', { name: freshName('refused'), scopes: ['keys:admin'] }],
    ['DELETE', `/v1/access/tokens/${tokenId}`],
    ['GET', '/v1/audit/records'],
  ];
}

async function expectRefused(answer: Answer, begun: number): Promise<void> {
  expect(performance.now() - begun).toBeLessThan(1_000);
  expect([answer.status, answer.body['code']]).toEqual([503, 'audit/unavailable']);
  expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
}

/** Tries one cheap operation until it is answered as wanted. @returns the requests it took */
async function until(service: TestService, status: number, withinMs = 10_000): Promise<number> {
  const deadline = performance.now() + withinMs;
  for (let tries = 1; ; tries += 1) {
    const answer = await service.call('POST', '/v1/random', { bytes: 1 });
    if (answer.status === status) return tries;
    if (performance.now() > deadline) throw new Error(`still ${answer.status}: ${answer.text}`);
    await delay(20);
  }
}

/** What holds of a service whose log cannot be written, and of the same service once it can be. */
async function throughTheFault(
  service: TestService,
  fault: () => Promise<void>,
  repair: () => Promise<void>,
) {
  const key = freshName('key');
  await makeKey(service, key);
  const ciphertext = await seal(service, key);
  const token = await makeToken(service, { scopes: ['keys:admin'] });
  await fault();
  await until(service, 503);
  for (const [method, path, body] of operationsOn(key, ciphertext, token.id)) {
    const begun = performance.now();
    await expectRefused(await service.call(method, path, body), begun);
  }
  const denied = await service.call('GET', '/v1/keys', undefined, { token: null });
  expect(denied.status).toBe(401);
  expect((await service.call('GET', '/healthz', undefined, { token: null })).status).toBe(200);
  await vi.waitFor(async () => {
    const ready = await service.call('GET', '/readyz', undefined, { token: null });
    expect([ready.status, ready.body['checks']]).toMatchObject([503, { audit: 'unavailable' }]);
  }, 10_000);
  await repair();
  await until(service, 200);
  await vi.waitFor(async () => {
    expect((await service.call('GET', '/readyz')).status).toBe(200);
  }, 30_000);
  const opened = await service.call('POST', '/v1/decrypt', { ciphertext });
  expect(opened.body).toMatchObject({ plaintext });
  const described = await service.call('GET', `/v1/keys/${key}`);
  expect(described.body).toMatchObject({ currentVersion: 1, description: '' });
  expect((await service.call('GET', '/v1/keys', undefined, { token: token.secret })).status).toBe(200);
  const listed = await service.call('GET', '/v1/keys?limit=1000');
  expect(listed.text).not.toContain('"refused-');
}

/** Guarantees that with no room for its record every operation is refused at once, has no effect, and works again when there is room. */
test('refuses everything while the disk of the log is full', { timeout: 60_000 }, async ({ skip }) => {
  const directory = await dataDirectory();
  const audit = join(directory, 'audit');
  await mkdir(audit, { recursive: true });
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', audit]);
  skip(mounted.status !== 0, 'needs the right to mount a small file system');
  mounts.push(audit);
  const service = await start(directory);
  const ballast = join(audit, 'ballast');
  await throughTheFault(
    service,
    async () => {
      await writeFile(ballast, Buffer.alloc(2 * 1024 * 1024)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOSPC') throw error;
      });
    },
    () => rm(ballast),
  );
  await verified(directory);
  expect(await service.stop()).toBe(0);
});

interface Load {
  /** Request ids of what was acknowledged, and of all that was sent. */
  readonly acknowledged: Set<string>;
  readonly sent: Set<string>;
  readonly sealed: {
    readonly ciphertext: string;
    readonly plaintext: string;
    readonly key: string;
    readonly version: number;
  }[];
  readonly keys: Map<string, number>;
  readonly statuses: Map<number, number>;
}

function newLoad(): Load {
  return { acknowledged: new Set(), sent: new Set(), sealed: [], keys: new Map(), statuses: new Map() };
}

let requests = 0;

/** One of encrypt, create and rotate; what is acknowledged is noted, and so is what might have been done. */
async function oneRequest(service: TestService, load: Load, choice: number): Promise<void> {
  requests += 1;
  const [id, made] = [`load-${requests}`, `made-${requests}`];
  load.sent.add(id);
  const keys = [...load.keys.keys()];
  const key = keys[choice % keys.length] ?? '';
  const headers = { 'x-request-id': id };
  const call = (path: string, body: object) => service.call('POST', path, body, { headers });
  const text = Buffer.from(`message ${requests}`).toString('base64');
  let answer: Answer;
  if (choice % 10 === 0) answer = await call('/v1/keys', { name: made });
  else if (choice % 10 < 4) answer = await call(`/v1/keys/${key}/rotate`, {});
  else answer = await call(`/v1/keys/${key}/encrypt`, { plaintext: text });
  load.statuses.set(answer.status, (load.statuses.get(answer.status) ?? 0) + 1);
  if (answer.status >= 300) return;
  load.acknowledged.add(id);
  if (choice % 10 === 0) load.keys.set(made, 1);
  else if (choice % 10 < 4) {
    load.keys.set(key, Math.max(load.keys.get(key) ?? 0, Number(answer.body['currentVersion'])));
  } else {
    load.sealed.push({
      ...{ ciphertext: member(answer, 'ciphertext') ?? '', plaintext: text, key },
      version: Number(answer.body['keyVersion']),
    });
  }
}

/** Clients that go on until told to stop, or until the service is gone. */
async function underLoad(
  service: TestService,
  load: Load,
  choices: readonly number[],
  work: () => Promise<void>,
) {
  let stopped = false;
  let next = 0;
  const client = async () => {
    while (!stopped) {
      next += 1;
      await oneRequest(service, load, choices[next % choices.length] ?? 0).catch(() => {
        stopped = true;
      });
    }
  };
  const clients = Array.from({ length: 6 }, client);
  await work();
  stopped = true;
  await Promise.all(clients);
}

/** Every acknowledged operation is on record exactly once, no other more than once. */
async function expectRecorded(dataDir: string, load: Load): Promise<void> {
  const counts = new Map<string, number>();
  for (const { requestId } of await recordsOnDisk(dataDir))
    counts.set(requestId, (counts.get(requestId) ?? 0) + 1);
  expect([...load.acknowledged].filter((id) => counts.get(id) !== 1)).toEqual([]);
  expect([...load.sent].filter((id) => (counts.get(id) ?? 0) > 1)).toEqual([]);
}

/** Every change that took effect is on record exactly once, acknowledged or not; and no change is that did not. */
async function expectEveryChangeRecorded(dataDir: string, keys: readonly KeyView[]): Promise<void> {
  const changes = (await recordsOnDisk(dataDir)).filter(({ outcome }) => outcome === 'allowed');
  const count = (action: string, id: string) =>
    changes.filter((record) => record.action === action && record.target?.id === id).length;
  const recorded = keys.map(({ name, id }) => [name, count('keys.create', id), 1 + count('keys.rotate', id)]);
  expect(recorded).toEqual(keys.map(({ name, currentVersion }) => [name, 1, currentVersion]));
  const created = changes.filter(({ action }) => action === 'keys.create');
  expect(new Set(created.map(({ target }) => target?.id))).toEqual(new Set(keys.map(({ id }) => id)));
}

interface KeyView {
  readonly id: string;
  readonly name: string;
  readonly currentVersion: number;
}

async function allKeys(service: TestService): Promise<KeyView[]> {
  const keys: KeyView[] = [];
  for (let cursor = ''; ; ) {
    const page = await service.call('GET', `/v1/keys?limit=1000${cursor}`);
    keys.push(...(page.body['items'] as KeyView[]));
    const next = member(page, 'nextCursor');
    if (next === undefined) return keys;
    cursor = `&cursor=${next}`;
  }
}

/** Every acknowledged ciphertext opens, with the version it named; every acknowledged version is there. */
async function expectKept(service: TestService, load: Load): Promise<void> {
  for (let at = 0; at < load.sealed.length; at += 500) {
    const part = load.sealed.slice(at, at + 500);
    const operations = part.map(({ ciphertext }) => ({ operation: 'decrypt', ciphertext }));
    const answer = await service.call('POST', '/v1/batch', { operations });
    const results = answer.body['results'] as { plaintext?: string; keyVersion?: number }[];
    expect(results.map(({ plaintext: opened, keyVersion }) => [opened, keyVersion])).toEqual(
      part.map((each) => [each.plaintext, each.version]),
    );
  }
  for (const [key, version] of load.keys) {
    const { body } = await service.call('GET', `/v1/keys/${key}`);
    expect([key, Number(body['currentVersion']) >= version]).toEqual([key, true]);
  }
}

const sampleChoices = () => fc.sample(fc.nat(9_999), 500);

/** Guarantees the same when the directory of the log is taken away under load, and that nothing acknowledged is lost with it. */
test('refuses everything while the log is gone', { timeout: 60_000 }, async () => {
  const directory = await dataDirectory();
  const service = await start(directory);
  const audit = join(directory, 'audit');
  const load = newLoad();
  load.keys.set('first', 1);
  await makeKey(service, 'first');
  await underLoad(service, load, sampleChoices(), async () => {
    await delay(300);
    await rename(audit, `${audit}.away`);
    await delay(700);
    await rename(`${audit}.away`, audit);
    await until(service, 200);
    await delay(200);
  });
  expect(load.statuses.get(503) ?? 0).toBeGreaterThan(0);
  expect([...load.statuses.keys()].filter((status) => ![200, 201, 409, 503].includes(status))).toEqual([]);
  await throughTheFault(
    service,
    () => rename(audit, `${audit}.away`),
    () => rename(`${audit}.away`, audit),
  );
  await expectKept(service, load);
  expect(await service.stop()).toBe(0);
  await expectRecorded(directory, load);
  await verified(directory, '--with-token');
});

/** Guarantees that a service killed under load has lost nothing it acknowledged: no version, no message, no record. */
test('loses nothing to kill -9', { timeout: nightly ? 1_200_000 : 120_000 }, async () => {
  const rounds = nightly ? 50 : 6;
  const directory = await dataDirectory();
  const load = newLoad();
  const delays = fc.sample(fc.integer({ min: 50, max: 900 }), rounds);
  let heads: string[] = [];
  for (const [round, wait] of delays.entries()) {
    const service = await start(directory);
    if (round === 0) {
      await makeKey(service, 'first');
      load.keys.set('first', 1);
    }
    await expectKept(service, load);
    // Messages that were opened once after a crash need not be opened after each.
    load.sealed.splice(200);
    await underLoad(service, load, sampleChoices(), async () => {
      await delay(wait);
      await service.kill();
    });
    if (round % 4 !== 1) continue;
    // Beside nobody: what a crash left is no damage.
    ({ heads } = await verified(directory, ...heads.flatMap((head) => ['--expect', head])));
  }
  const service = await start(directory);
  await expectKept(service, load);
  const keys = await allKeys(service);
  expect(await service.stop()).toBe(0);
  await expectRecorded(directory, load);
  await expectEveryChangeRecorded(directory, keys);
  const { records } = await verified(
    directory,
    '--with-token',
    ...heads.flatMap((head) => ['--expect', head]),
  );
  expect(records).toBeGreaterThan(load.acknowledged.size);
  expect(load.acknowledged.size).toBeGreaterThan(rounds * 10);
  process.stdout.write(
    `kill -9: ${rounds} times, ${load.acknowledged.size} of ${load.sent.size} acknowledged, none lost\n`,
  );
});
