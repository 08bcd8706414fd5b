import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { auditRecords, freshName, makeKey, makeToken, rowsOf, seal } from '../access/support.ts';
import { runMain } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';

const env = { STATHERA_DESTRUCTION_MIN_SECONDS: '1', STATHERA_RETENTION_CHECK_SECONDS: '1' };
const reason = 'tried in a test';
let service: TestService;
beforeAll(async () => {
  service = await startTestService({ env });
});
afterAll(() => service.dispose());

/** Ten times what it may take: a look each second, after the window. */
const ceilingMilliseconds = 30_000;

async function post(path: string, body: object = {}): Promise<[number, unknown, Record<string, unknown>]> {
  const { status, body: answer } = await service.call('POST', `/v1/keys/${path}`, body);
  return [status, answer['code'], answer];
}

async function must(path: string, body: object = {}): Promise<Record<string, unknown>> {
  const [status, , answer] = await post(path, body);
  expect([path, status, status === 200 ? '' : answer['detail']]).toEqual([path, 200, '']);
  return answer;
}

/** A key of so many versions, and a ciphertext of each. */
async function keyOf(versions: number): Promise<{ name: string; ciphertexts: string[] }> {
  const name = freshName('key');
  await makeKey(service, name);
  const ciphertexts = [await seal(service, name)];
  while (ciphertexts.length < versions) {
    await must(`${name}/rotate`);
    ciphertexts.push(await seal(service, name));
  }
  return { name, ciphertexts };
}

async function states(name: string): Promise<unknown[]> {
  const { body } = await service.call('GET', `/v1/keys/${name}/versions?limit=1000`);
  return (body['items'] as { state: unknown }[]).map(({ state }) => state).toReversed();
}

async function destructions(name: string): Promise<Record<string, unknown>[]> {
  const { body } = await service.call('GET', `/v1/keys/${name}/destructions`);
  return body['items'] as Record<string, unknown>[];
}

const open = async (ciphertext: string | undefined) => {
  const { status, body } = await service.call('POST', '/v1/decrypt', { ciphertext });
  return body['code'] ?? status;
};

async function until(what: () => Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + ceilingMilliseconds; !(await what()); ) {
    if (performance.now() > deadline) throw new Error('it does not come about');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const isDestroyed = (name: string, version: number) => async () =>
  (await states(name))[version - 1] === 'destroyed';

/** Guarantees that a scheduled version is refused, opens again when it is restored, and is destroyed when its window is over. */
test('schedules, restores and destroys', async () => {
  const { name, ciphertexts } = await keyOf(2);
  const plan = await must(`${name}/destroy`, { versions: [1], reason });
  expect(plan).toMatchObject({ dryRun: false, windowSeconds: 2_592_000, versions: [{ version: 1 }] });
  expect(await states(name)).toEqual(['destroy-scheduled', 'enabled']);
  expect(await open(ciphertexts[0])).toBe('key/version-disabled');
  expect(await must(`${name}/restore`, { versions: [1] })).toMatchObject({ versions: [1] });
  expect(await open(ciphertexts[0])).toBe(200);
  await must(`${name}/destroy`, { versions: [1], reason, windowSeconds: 1 });
  await until(isDestroyed(name, 1));
  expect(await open(ciphertexts[0])).toBe('key/version-disabled');
  expect(await open(ciphertexts[1])).toBe(200);
  expect((await post(`${name}/restore`, { versions: [1] })).slice(0, 2)).toEqual([409, 'key/version-state']);
  const list = await destructions(name);
  expect(list.map(({ state, reason: why }) => [state, why])).toEqual([
    ['restored', reason],
    ['destroyed', reason],
  ]);
  const [row] = await rowsOf(
    service,
    "select blob, length(blob) as bytes from key_versions where state = 'destroyed' and key_id = $1",
    String(plan['keyId']),
  );
  expect(Number(row?.['bytes'])).toBe(0);
  const done = await auditRecords(service, { action: 'keys.destroy', target: String(plan['keyId']) });
  expect(done).toMatchObject([{ outcome: 'allowed', principal: { kind: 'system' }, target: { version: 1 } }]);
});

/** Guarantees that the current version of an enabled key cannot go, and that all of a disabled one can be, and come back. */
test('keeps what the key makes everything with', async () => {
  const { name, ciphertexts } = await keyOf(2);
  const [status, code, answer] = await post(`${name}/destroy`, { versions: [1, 2], reason });
  expect([status, code]).toEqual([409, 'key/version-state']);
  expect(answer['detail']).toContain('rotate the key first');
  expect(await states(name)).toEqual(['enabled', 'enabled']);
  await service.call('PATCH', `/v1/keys/${name}`, { state: 'disabled' });
  await must(`${name}/destroy`, { reason });
  expect(await states(name)).toEqual(['destroy-scheduled', 'destroy-scheduled']);
  expect((await post(`${name}/destroy`, { reason })).slice(0, 2)).toEqual([409, 'key/version-state']);
  await service.call('PATCH', `/v1/keys/${name}`, { state: 'enabled' });
  expect((await post(`${name}/encrypt`, { plaintext: '' })).slice(0, 2)).toEqual([
    ...[409, 'key/version-disabled'],
  ]);
  await must(`${name}/restore`);
  expect(await Promise.all(ciphertexts.map(open))).toEqual([200, 200]);
});

/** Guarantees that a version that was used goes only with a reason, one that was not without, and that a dry run says so and changes nothing. */
test('asks what depends on it', async () => {
  const { name } = await keyOf(1);
  await must(`${name}/rotate`);
  await must(`${name}/rotate`);
  const dry = await must(`${name}/destroy`, { dryRun: true, versions: [1, 2, 3] });
  expect(dry).toMatchObject({
    dryRun: true,
    dataKeySeconds: 0,
    versions: [
      { version: 1, usesReserved: 2 ** 20, effect: 'unknown', refusal: { code: 'key/version-in-use' } },
      { version: 2, usesReserved: 0, effect: 'nothing' },
      { version: 3, refusal: { code: 'key/version-state' } },
    ],
  });
  expect((dry['versions'] as object[])[1]).not.toHaveProperty('refusal');
  const [status, code, answer] = await post(`${name}/destroy`, { versions: [1] });
  expect([status, code]).toEqual([409, 'key/version-in-use']);
  expect(answer['detail']).toContain('rewrap');
  expect(await states(name)).toEqual(['enabled', 'enabled', 'enabled']);
  await must(`${name}/destroy`, { versions: [2] });
  // Of what is made outside nobody knows: to a public key anyone encrypts.
  const pair = freshName('pair');
  await service.call('POST', '/v1/keys', { name: pair, purpose: 'exchange' });
  await must(`${pair}/rotate`);
  expect((await post(`${pair}/destroy`, { versions: [1] }))[1]).toBe('key/version-in-use');
});

/** Guarantees that a used version goes without a reason once a report says that nothing depends on it, and not while one says that something does. */
test('goes by reports of coverage', async () => {
  const { name } = await keyOf(2);
  const { body } = await service.call('GET', `/v1/keys/${name}/versions`);
  const [, old] = body['items'] as { id: string }[];
  const report = (remaining: number) => ({
    place: { system: 'other', database: 'd', table: 't', column: 'c' },
    ...{ currentVersion: 2, agreed: true, scanSeconds: 0, rows: 3, nulls: 0, foreign: 0, unreadable: 0 },
    versions: [
      { version: 1, versionId: old?.id, found: 3, rewrapped: 3 - remaining, failed: remaining, remaining },
    ],
  });
  const reported = async (remaining: number) =>
    (await service.call('POST', `/v1/keys/${name}/coverage`, report(remaining))).status;
  expect(await reported(1)).toBe(201);
  const [status, code, answer] = await post(`${name}/destroy`, { versions: [1] });
  expect([status, code]).toEqual([409, 'key/version-in-use']);
  expect(answer['detail']).toContain('1 ciphertexts depend on it');
  await must(`${name}/retention`, { keepLatest: 1, finally: 'disable', dryRun: true });
  expect(await reported(0)).toBe(201);
  const plan = await must(`${name}/destroy`, { versions: [1], windowSeconds: 1 });
  expect(plan).toMatchObject({ versions: [{ effect: 'nothing', coverage: { found: 3, remaining: 0 } }] });
  await until(isDestroyed(name, 1));
  const [{ record } = {}] = await destructions(name);
  expect(record).toMatchObject({ coverage: { found: 3, remaining: 0 } });
  expect(record).not.toHaveProperty('forcedFor');
});

/** Guarantees that nonsense is refused by its rule, and changes nothing. */
test('refuses what makes no sense', async () => {
  const { name } = await keyOf(1);
  await must(`${name}/rotate`);
  const bodies = [
    { versions: [] },
    { versions: [0] },
    { versions: ['1'] },
    { versions: Array.from({ length: 501 }, (_, index) => index + 1) },
    { windowSeconds: 0 },
    { windowSeconds: 2_592_001 },
    { reason: '' },
    { reason: 'x'.repeat(257) },
    { reason: '\ud800' },
    { dryRun: 'yes' },
  ];
  for (const body of bodies)
    expect((await post(`${name}/destroy`, { versions: [1], reason, ...body })).slice(0, 2)).toEqual([
      ...[400, 'request/invalid'],
    ]);
  expect((await post(`${name}/destroy`, { versions: [3], reason }))[1]).toBe('key/not-found');
  expect((await post(`${name}/restore`, { versions: [1] })).slice(0, 2)).toEqual([409, 'key/version-state']);
  expect((await post(`${name}/restore`)).slice(0, 2)).toEqual([409, 'key/version-state']);
  for (const body of [{}, { keepLatest: 0 }, { finally: 'retire' }, { keepLatest: 1, finally: 'vanish' }])
    expect((await post(`${name}/retention`, body)).slice(0, 2)).toEqual([400, 'request/invalid']);
  expect(await states(name)).toEqual(['enabled', 'enabled']);
});

/** Guarantees that a version on its way to destruction, or destroyed, is not switched back by the way of the others. */
test('has one way back', async () => {
  const { name } = await keyOf(2);
  await must(`${name}/destroy`, { versions: [1], reason, windowSeconds: 3_600 });
  const patch = async () =>
    (await service.call('PATCH', `/v1/keys/${name}/versions/1`, { state: 'enabled' })).body['code'];
  expect(await patch()).toBe('key/version-state');
  await must(`${name}/restore`);
  await must(`${name}/destroy`, { versions: [1], reason, windowSeconds: 1 });
  await until(isDestroyed(name, 1));
  expect(await patch()).toBe('key/version-state');
});

/** Guarantees that a destroyed version opens nothing after a restart, and that the record of it is checked without the service, and not when a letter of it is changed. */
test('stays destroyed, and can show it', async () => {
  const { name, ciphertexts } = await keyOf(2);
  const { keyId } = await must(`${name}/destroy`, { versions: [1], reason, windowSeconds: 1 });
  const before = await rowsOf(
    service,
    'select blob from key_versions where key_id = $1 and ordinal = 1',
    String(keyId),
  );
  await until(isDestroyed(name, 1));
  const { databaseUrl, dataDir } = service;
  expect(await service.stop()).toBe(0);
  const settings = databaseUrl === undefined ? {} : { STATHERA_DATABASE_URL: databaseUrl };
  service = await startTestService({ dataDir, env: { ...env, ...settings } });
  expect(await states(name)).toEqual(['destroyed', 'enabled']);
  expect(await open(ciphertexts[0])).toBe('key/version-disabled');
  expect(await open(ciphertexts[1])).toBe(200);

  const [{ record } = {}] = (await destructions(name)) as { record: Record<string, unknown> }[];
  expect(record).toMatchObject({
    ...{ keyName: name, version: 1, forcedFor: reason, claims: { unrecoverable: false } },
    wrappedKeySha256: createHash('sha256')
      .update(before[0]?.['blob'] as Uint8Array)
      .digest('hex'),
  });
  const directory = await mkdtemp(join(tmpdir(), 'stathera-record-'));
  try {
    const check = async (text: string) => {
      const file = join(directory, 'record.json');
      await writeFile(file, text);
      const surroundings = { STATHERA_DATA_DIR: dataDir, ...settings };
      const args = ['keys', 'verify-destruction', file, '--json'];
      const { code, stdout } = await runMain(args, surroundings, { allowFailure: true });
      return code === 0 ? (JSON.parse(stdout) as object) : code;
    };
    expect(await check(JSON.stringify(record))).toMatchObject({ signed: true, record: { version: 1 } });
    expect(await check(JSON.stringify({ ...record, version: 2 }))).toBe(1);
    expect(await check(JSON.stringify({ ...record, more: 1 }))).toBe(1);
    expect(await check('{"format":')).toBe(1);
  } finally {
    await rm(directory, { recursive: true });
  }
});

/** Guarantees that retention retires what is past its time, holds what may be needed, and destroys it with a reason; what was restored by hand stays. */
test('retires and destroys by retention', async () => {
  const { name, ciphertexts } = await keyOf(4);
  const [status, code, answer] = await post(`${name}/retention`, { keepLatest: 2, finally: 'retire' });
  expect([status, code]).toEqual([200, undefined]);
  expect(answer).toMatchObject({ policy: { keepLatest: 2 }, versions: [{ version: 1 }, { version: 2 }] });
  await until(async () => (await states(name)).join() === 'decrypt-only,decrypt-only,enabled,enabled');
  expect(await Promise.all(ciphertexts.map(open))).toEqual([200, 200, 200, 200]);

  expect((await post(`${name}/retention`, { keepLatest: 2, finally: 'destroy' })).slice(0, 2)).toEqual([
    ...[409, 'key/version-in-use'],
  ]);
  const dry = await must(`${name}/retention`, { keepLatest: 2, finally: 'disable', dryRun: true });
  expect(dry['versions']).toMatchObject([{ held: 'coverage-unknown' }, { held: 'coverage-unknown' }]);
  await must(`${name}/destroy`, { versions: [2], reason });
  await must(`${name}/restore`, { versions: [2] });
  await must(`${name}/retention`, { keepLatest: 2, finally: 'destroy', windowSeconds: 1, reason });
  await until(isDestroyed(name, 1));
  expect(await states(name)).toEqual(['destroyed', 'decrypt-only', 'enabled', 'enabled']);
  const shown = (await service.call('GET', `/v1/keys/${name}/retention`)).body;
  expect(shown).toMatchObject({ policy: { reason }, versions: [{ version: 2, held: 'restored' }] });
  expect((await service.call('DELETE', `/v1/keys/${name}/retention`)).status).toBe(204);
  expect((await service.call('GET', `/v1/keys/${name}/retention`)).body).not.toHaveProperty('policy');
});

/** Guarantees that only who manages keys decides about their end, and that one who reads the log sees the records. */
test('is allowed to few', async () => {
  const { name } = await keyOf(2);
  const user = await makeToken(service, { scopes: ['keys:encrypt', 'keys:decrypt', 'audit:read'] });
  const as = { token: user.secret };
  for (const [path, body] of [
    ['destroy', { versions: [1], reason }],
    ['destroy', { versions: [1], dryRun: true }],
    ['restore', {}],
    ['retention', { keepLatest: 1 }],
  ] as const)
    expect((await service.call('POST', `/v1/keys/${name}/${path}`, body, as)).status).toBe(403);
  expect((await service.call('GET', `/v1/keys/${name}/destructions`, undefined, as)).status).toBe(200);
  expect(await states(name)).toEqual(['enabled', 'enabled']);
});
