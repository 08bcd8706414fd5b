import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { macAlgorithms, suites } from '../../src/crypto/suites.ts';
import { auditRecords } from '../access/support.ts';
import { base64, driver } from '../envelope/support.ts';
import { freshDataDir, removeDirectory } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';

let dataDir: string;
let service: TestService;
let calls: ReturnType<typeof driver>;

beforeAll(async () => {
  dataDir = await freshDataDir();
  service = await startTestService({ dataDir });
  calls = driver({ ...service, call: (...parameters) => service.call(...parameters) });
  for (const algorithm of macAlgorithms) await calls.createKey(algorithm, { algorithm });
});
afterAll(async () => {
  await service.dispose();
  await removeDirectory(dataDir);
});

async function macOf(key: string, message: Uint8Array, bytes?: number): Promise<Buffer> {
  const body = { message: base64(message), ...(bytes !== undefined && { bytes }) };
  return Buffer.from(String((await calls.must('POST', `/v1/keys/${key}/mac`, body))['mac']), 'base64');
}

async function verdict(
  key: string,
  message: Uint8Array,
  mac: Uint8Array,
  more: object = {},
): Promise<unknown> {
  const body = { message: base64(message), mac: base64(mac), ...more };
  const answer = await service.call('POST', `/v1/keys/${key}/verify-mac`, body);
  return answer.body['code'] ?? answer.body['valid'];
}

async function codeOf(path: string, body: object, token?: string): Promise<unknown> {
  const answer = await service.call('POST', path, body, token === undefined ? {} : { token });
  return answer.body['code'] ?? answer.status;
}

const message = Buffer.from('pay 100 to Alice');

/** Guarantees that each algorithm has MACs of its length, that they hold for their message and key, and for no other. */
test.each(macAlgorithms)('%s', async (algorithm) => {
  const mac = await macOf(algorithm, message);
  expect(mac).toHaveLength(suites[algorithm].macBytes);
  expect(await macOf(algorithm, message)).toEqual(mac);
  expect(await verdict(algorithm, message, mac)).toBe(true);
  expect(await verdict(algorithm, Buffer.from('pay 900 to Alice'), mac)).toBe('mac/invalid');
  for (const other of macAlgorithms.filter((name) => name !== algorithm))
    expect([other, await verdict(other, message, mac)]).toEqual([other, 'mac/invalid']);
  const empty = await macOf(algorithm, Buffer.alloc(0));
  expect(await verdict(algorithm, Buffer.alloc(0), empty)).toBe(true);
  const long = Buffer.alloc(65_536, 7);
  expect(await verdict(algorithm, long, await macOf(algorithm, long))).toBe(true);
});

/** Guarantees that no bit of a MAC can change, and that nothing shorter or longer is taken for it. */
test('forgeries are refused alike', async () => {
  const mac = await macOf('hmac-sha-256', message);
  const forged = Array.from({ length: mac.length * 8 }, (_, bit) => {
    const copy = Buffer.from(mac);
    copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit % 8));
    return copy;
  });
  const lengths = [mac.subarray(0, 31), mac.subarray(0, 16), Buffer.alloc(0), Buffer.concat([mac, mac])];
  const texts = new Set<string>();
  for (const one of [...forged, ...lengths]) {
    const body = { message: base64(message), mac: base64(one) };
    const answer = await service.call('POST', '/v1/keys/hmac-sha-256/verify-mac', body);
    const { requestId: _, ...problem } = answer.body;
    texts.add(JSON.stringify(problem));
  }
  expect([...texts]).toEqual([expect.stringContaining('"code":"mac/invalid"')]);
});

/** Guarantees that a shorter MAC is the beginning of the whole one, down to half of it, and that a verifier chooses. */
test.each(macAlgorithms)('truncation of %s', async (algorithm) => {
  const whole = suites[algorithm].macBytes;
  const mac = await macOf(algorithm, message);
  for (const bytes of [whole / 2, whole - 1, whole]) {
    const short = await macOf(algorithm, message, bytes);
    expect(short).toEqual(mac.subarray(0, bytes));
    expect(await verdict(algorithm, message, short, { bytes })).toBe(true);
    // Whoever gives the MAC does not choose its length.
    if (bytes < whole) expect(await verdict(algorithm, message, short)).toBe('mac/invalid');
    if (bytes < whole) expect(await verdict(algorithm, message, mac, { bytes })).toBe('mac/invalid');
  }
  for (const bytes of [whole / 2 - 1, whole + 1]) {
    const body = { message: base64(message), bytes };
    const answer = await service.call('POST', `/v1/keys/${algorithm}/mac`, body);
    expect([answer.status, answer.body['code']]).toEqual([400, 'request/invalid']);
    const [error] = answer.body['errors'] as { pointer: string; detail: string }[];
    expect(error?.pointer).toBe('/bytes');
    const verifying = { ...body, mac: base64(mac.subarray(0, bytes)) };
    expect(await codeOf(`/v1/keys/${algorithm}/verify-mac`, verifying)).toBe('request/invalid');
  }
});

/** Guarantees that any message has its MAC, in a batch as alone, and that an item that does not hold fails alone. */
test('batch', async () => {
  const messages = fc.sample(fc.uint8Array({ maxLength: 300 }), { numRuns: 40, seed: 7 });
  const key = 'hmac-sha-512';
  const made = await calls.batch(
    messages.map((one) => ({ operation: 'mac' as const, key, message: base64(one) })),
  );
  const macs = made.map((result) => String((result as unknown as { mac: string }).mac));
  expect(macs[3]).toBe(base64(await macOf(key, messages[3] ?? message)));
  const items = messages.map((one, index) => ({
    ...{ operation: 'verify-mac', key, message: base64(one) },
    mac: macs[index === 5 ? 6 : index],
  }));
  const results = await calls.batch([
    ...items,
    { operation: 'mac', key, message: '', bytes: 8 },
    { operation: 'mac', key: 'absent', message: '' },
  ]);
  expect(results.map(({ problem }) => problem?.code)).toEqual([
    ...messages.map((_, index) => (index === 5 ? 'mac/invalid' : undefined)),
    'request/invalid',
    'key/not-found',
  ]);
});

/** Guarantees that after a rotation the new version makes MACs, and old ones hold by their version alone. */
test('rotation and states', async () => {
  await calls.createKey('turned', { purpose: 'mac' });
  const old = await macOf('turned', message);
  await calls.must('POST', '/v1/keys/turned/rotate', {});
  const made = await calls.must('POST', '/v1/keys/turned/mac', { message: base64(message) });
  expect(made).toMatchObject({ keyVersion: 2 });
  expect(await verdict('turned', message, old)).toBe('mac/invalid');
  expect(await verdict('turned', message, old, { version: 1 })).toBe(true);
  expect(await verdict('turned', message, old, { version: 3 })).toBe('key/not-found');
  const set = (path: string, state: string) => calls.must('PATCH', `/v1/keys/turned${path}`, { state });
  await set('/versions/1', 'disabled');
  expect(await verdict('turned', message, old, { version: 1 })).toBe('key/version-disabled');
  await set('/versions/2', 'decrypt-only');
  expect(await codeOf('/v1/keys/turned/mac', { message: '' })).toBe('key/version-disabled');
  expect(await verdict('turned', message, Buffer.from(String(made['mac']), 'base64'))).toBe(true);
  await set('', 'disabled');
  expect(await codeOf('/v1/keys/turned/mac', { message: '' })).toBe('key/disabled');
  expect(await verdict('turned', message, old, { version: 1 })).toBe('key/disabled');
});

/** Guarantees one refusal for what a key is not for, and none for whoever may not see the key. */
test('wrong purpose', async () => {
  await calls.createKey('sealing');
  await calls.createKey('pair', { purpose: 'exchange' });
  const verifying = { message: '', mac: base64(Buffer.alloc(32)) };
  const wrong: [string, object][] = [
    ['/v1/keys/hmac-sha-256/encrypt', { plaintext: '' }],
    ['/v1/keys/hmac-sha-256/data-keys', {}],
    ['/v1/keys/aes-256-cmac/encapsulate', {}],
    ...['sealing', 'pair'].flatMap((key): [string, object][] => [
      [`/v1/keys/${key}/mac`, { message: '' }],
      [`/v1/keys/${key}/verify-mac`, verifying],
    ]),
  ];
  const scopes = ['keys:encrypt', 'keys:decrypt', 'keys:sign', 'keys:verify'];
  const hidden = await calls.createToken({ scopes, keys: ['other'] });
  for (const [path, body] of wrong) {
    expect([path, await codeOf(path, body)]).toEqual([path, 'key/wrong-purpose']);
    expect([path, await codeOf(path, body, hidden)]).toEqual([path, 'key/not-found']);
  }
});

/** Guarantees what a key of the purpose is made as, and that the record tells a MAC from a forged one. */
test('creation and record', async () => {
  const made = await calls.must('POST', '/v1/keys', { name: 'made-mac', purpose: 'mac' });
  expect(made).toMatchObject({ algorithm: 'hmac-sha-256', purpose: 'mac', protection: 'hsm' });
  for (const body of [
    { purpose: 'mac', algorithm: 'aes-256-gcm' },
    { purpose: 'encrypt', algorithm: 'aes-256-cmac' },
    { purpose: 'mac', dataKeyReuse: { messages: 1, bytes: 1, seconds: 1 } },
  ])
    expect(await codeOf('/v1/keys', { name: 'never-made', ...body })).toBe('request/invalid');
  const mac = await macOf('made-mac', message);
  expect(await verdict('made-mac', message, mac)).toBe(true);
  expect(await verdict('made-mac', Buffer.of(1), mac)).toBe('mac/invalid');
  const records = await auditRecords(service, { target: 'made-mac' });
  const told = records.map(({ action, outcome, code, target }) => [action, outcome, code, target?.version]);
  expect(told.toReversed().slice(1)).toEqual([
    ['mac.generate', 'allowed', undefined, 1],
    ['mac.verify', 'allowed', undefined, 1],
    ['mac.verify', 'refused', 'mac/invalid', 1],
  ]);
  const { lastUsedAt } = await calls.must('GET', '/v1/keys/made-mac');
  expect(lastUsedAt).toEqual(expect.any(String));
});
