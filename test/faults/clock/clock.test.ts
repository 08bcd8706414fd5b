import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, onTestFinished, test, vi } from 'vitest';
import { auditRecords, makeKey, makeToken, member, plaintext, seal } from '../../access/support.ts';
import { emptyDirectory, freshDataDir, removeDirectory, runMain } from '../../support/data.ts';
import { startPostgres, whyNoPostgres } from '../../support/postgres.ts';
import { type Answer, startTestService, type TestService } from '../../support/service.ts';

const folder = mkdtempSync(join(tmpdir(), 'stathera-clock-'));
const library = join(folder, 'clock.so');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** @returns why there is none, or undefined once `library` is compiled */
function compileClock(): string | undefined {
  if (process.platform !== 'linux') return 'needs LD_PRELOAD of Linux';
  const options = ['-O1', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC', '-o', library];
  const source = join(import.meta.dirname, 'clock.c');
  const { error, status, stderr } = spawnSync('cc', [...options, source, '-ldl'], { encoding: 'utf8' });
  if (error && process.env['CI'] !== 'true') return 'needs a C compiler';
  if (status !== 0) throw new Error(stderr, { cause: error });
  return undefined;
}

const hour = 3_600;

/** A service whose wall clock a test sets. */
async function startStepped(place: Record<string, string>, name: string) {
  const file = openSync(join(folder, name), 'w');
  const set = (seconds: number) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(seconds));
    writeSync(file, bytes, 0, 8, 0);
  };
  set(0);
  const env = { ...place, LD_PRELOAD: library, CLOCK_OFFSET: join(folder, name) };
  const service = await startTestService({ dataDir: place['STATHERA_DATA_DIR'] ?? '', env });
  onTestFinished(async () => {
    await service.kill();
    closeSync(file);
  });
  return { service, set };
}

/** Clients that encrypt and make keys at the services in turn, and are never refused. */
function load(services: readonly TestService[]) {
  const answers: { id: string; answer: Answer; milliseconds: number }[] = [];
  let [going, count] = [true, 0];
  const clients = [0, 1, 2, 3].map(async () => {
    while (going) {
      count += 1;
      const service = services[count % services.length] as TestService;
      const id = `load-${count}`;
      const [path, body] =
        count % 5 === 0 ? ['/v1/keys', { name: `made-${count}` }] : ['/v1/keys/key/encrypt', { plaintext }];
      const begun = performance.now();
      const answer = await service.call('POST', path, body, { headers: { 'x-request-id': id } });
      answers.push({ id, answer, milliseconds: performance.now() - begun });
    }
  });
  const stop = async () => {
    going = false;
    await Promise.all(clients);
  };
  onTestFinished(() => stop().catch(() => undefined));
  return { answers, stop };
}

/**
 * Guarantees that a wall clock that jumps by hours, of one of two nodes and not the other's, is felt by nobody: no
 * request fails or waits, no process takes itself or the other for late, changes reach the other at once, what was
 * revoked stays so, an answer is replayed, the log is in order and whole. What ends by the wall clock, a token, ends by
 * that of the node that is asked.
 */
test('clocks jump', { timeout: 240_000 }, async ({ skip }) => {
  const missing = compileClock();
  skip(missing !== undefined, missing);
  // Nodes watch each other's parts of a log that is in PostgreSQL.
  const server = whyNoPostgres() === undefined ? await startPostgres() : undefined;
  onTestFinished(() => server?.remove());
  const dataDir = server ? await emptyDirectory() : await freshDataDir();
  onTestFinished(() => removeDirectory(dataDir));
  const database = server && { STATHERA_DATABASE_URL: await server.createDatabase() };
  const place = { STATHERA_DATA_DIR: dataDir, ...database };
  await runMain(['init'], place);
  const { service: steady } = await startStepped(place, 'steady');
  const { service: jumping, set } = await startStepped(place, 'jumping');
  await makeKey(steady, 'key');
  const old = await seal(steady, 'key');
  const inTwoHours = new Date(Date.now() + 2 * hour * 1_000).toISOString();
  const ending = await makeToken(steady, { scopes: ['keys:encrypt'], expiresAt: inTwoHours });
  const revoked = await makeToken(steady, { scopes: ['keys:encrypt'] });
  await steady.call('DELETE', `/v1/access/tokens/${revoked.id}`);
  const encrypts = async (service: TestService, token: string) =>
    (await service.call('POST', '/v1/keys/key/encrypt', { plaintext }, { token })).status;
  const once = (service: TestService) =>
    service.call('POST', '/v1/keys', { name: 'once' }, { headers: { 'idempotency-key': 'once' } });
  const made = await once(jumping);
  expect(made.status).toBe(201);

  const { answers, stop } = load([steady, jumping]);
  for (const [offset, ended] of [
    [20 * hour, true],
    [-1_000 * hour, false],
    [0, false],
  ] as const) {
    set(offset);
    const before = answers.length;
    for (const { call } of [steady, jumping]) expect((await call('GET', '/readyz')).status).toBe(200);
    expect(await encrypts(jumping, ending.secret)).toBe(ended ? 401 : 200);
    expect(await encrypts(steady, ending.secret)).toBe(200);
    for (const service of [steady, jumping]) expect(await encrypts(service, revoked.secret)).toBe(401);
    const again = await once(jumping);
    expect([again.status, again.text]).toEqual([201, made.text]);
    expect((await jumping.call('POST', '/v1/keys/key/rotate', {})).status).toBe(200);
    const rotated = Number((await steady.call('GET', '/v1/keys/key')).body['currentVersion']);
    expect((await steady.call('POST', '/v1/keys/key/encrypt', { plaintext })).body).toMatchObject({
      keyVersion: rotated,
    });
    expect((await jumping.call('POST', '/v1/decrypt', { ciphertext: old })).body).toMatchObject({
      plaintext,
    });
    await vi.waitFor(() => expect(answers.length).toBeGreaterThan(before + 20), 30_000);
  }
  await stop();
  expect(answers.filter(({ answer }) => answer.status >= 300).map(({ answer }) => answer.text)).toEqual([]);
  expect(Math.max(...answers.map(({ milliseconds }) => milliseconds))).toBeLessThan(10_000);

  const records = await auditRecords(steady);
  const seen = new Map<string, number>();
  for (const { requestId } of records) seen.set(requestId, (seen.get(requestId) ?? 0) + 1);
  expect(answers.filter(({ id }) => seen.get(id) !== 1)).toEqual([]);
  const writers = Map.groupBy(records, (record) => member({ body: record } as never, 'writer') ?? '');
  expect([...writers.keys()].toSorted()).toEqual(['w1', 'w2']);
  for (const list of writers.values()) {
    const sequences = list.map(({ sequence }) => sequence);
    expect(sequences).toEqual(sequences.toSorted((a, b) => b - a));
  }
  for (const service of [steady, jumping]) {
    const events = service
      .stderr()
      .split('\n')
      .filter((line) => /"level":[456]0.*"msg":"(?!lifecycle\.clock-set-forward)[a-z]+\./.test(line));
    expect(events).toEqual([]);
    expect(await service.stop()).toBe(0);
  }
  const verified = await runMain(['audit', 'verify', '--with-token'], place);
  expect(verified.stdout).toMatch(/^ok$/m);
});
