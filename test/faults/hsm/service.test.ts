import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { CKR } from '../../../src/hsm/pkcs11/cryptoki.ts';
import { auditRecords, freshName, makeKey, plaintext, seal } from '../../access/support.ts';
import { type Answer, startTestService, type TestService } from '../../support/service.ts';
import { buildFaultyModule, type FaultyModule } from './faulty-module.ts';

let faults: FaultyModule | undefined;
let service: TestService;
let key: string;
let ciphertext: string;
beforeAll(async () => {
  faults = buildFaultyModule();
  if (faults === undefined) return;
  const { module, environment } = faults;
  service = await startTestService({ env: { ...environment, STATHERA_PKCS11_MODULE: module } });
  key = freshName('key');
  await makeKey(service, key);
  ciphertext = await seal(service, key);
});
afterAll(async () => {
  faults?.clear();
  await service?.dispose();
  faults?.remove();
});
beforeEach(({ skip }) => {
  if (faults === undefined) skip('needs a C compiler');
});

const open = (): Promise<Answer> => service.call('POST', '/v1/decrypt', { ciphertext });
const readiness = (): Promise<Answer> => service.call('GET', '/readyz', undefined, { token: null });

/** Asks until the answer has this status. @returns that answer */
async function answered(status: number, call: () => Promise<Answer>): Promise<Answer> {
  for (const deadline = performance.now() + 20_000; ; ) {
    const answer = await call();
    if (answer.status === status) return answer;
    if (performance.now() > deadline) throw new Error(`still ${answer.status}: ${answer.text}`);
  }
}

/** What clients see while the device is away, and of the same process afterwards. */
async function expectAwayThenHealed(): Promise<void> {
  const calls: [string, string, unknown?][] = [
    ['POST', '/v1/decrypt', { ciphertext }],
    ['POST', `/v1/keys/${key}/encrypt`, { plaintext }],
    ['POST', `/v1/keys/${key}/data-keys`, { plaintext: true }],
    ['POST', `/v1/keys/${key}/rotate`, {}],
    ['POST', '/v1/random', { bytes: 16 }],
  ];
  for (const [method, path, body] of calls) {
    const answer = await service.call(method, path, body);
    expect([path, answer.status, answer.body['code']]).toEqual([path, 503, 'hsm/unavailable']);
    expect([1, 2, 3, 4, 5]).toContain(Number(answer.headers.get('retry-after')));
  }
  await vi.waitFor(async () => expect((await readiness()).status).toBe(503), 10_000);
  expect((await service.call('GET', '/healthz', undefined, { token: null })).status).toBe(200);
  faults?.clear();
  expect((await answered(200, open)).body).toMatchObject({ plaintext });
  await vi.waitFor(async () => expect((await readiness()).status).toBe(200), 30_000);
  expect((await service.call('GET', `/v1/keys/${key}`)).body).toMatchObject({ currentVersion: 1 });
  expect((await service.call('POST', `/v1/keys/${key}/encrypt`, { plaintext })).status).toBe(200);
}

/** Guarantees that a device that fails everything is told as such, with when to come back, and heals in the process. */
test('a failing device', async () => {
  faults?.setAll({ kind: 'fail', code: CKR.GENERAL_ERROR });
  expect((await answered(503, open)).body).toMatchObject({ code: 'hsm/unavailable' });
  await expectAwayThenHealed();
});

/** Guarantees the same of a device whose sessions are lost whenever they are used. */
test('lost sessions', async () => {
  faults?.set('C_DecryptInit', { kind: 'loseSessions' });
  expect((await answered(503, open)).body).toMatchObject({ code: 'hsm/unavailable' });
  await expectAwayThenHealed();
});

/** Guarantees that readiness tells of a hung device long before its callers give up, while keys in the token still work. */
test('a hung device', async () => {
  faults?.set('C_UnwrapKey', { kind: 'hang' });
  // The root is tried every two seconds.
  await answered(503, readiness);
  expect((await open()).body).toMatchObject({ plaintext });
  faults?.clear();
  await answered(200, readiness);
  expect((await open()).body).toMatchObject({ plaintext });
});

/** Guarantees that signatures and pairs of a failing device are told and recorded as failed, once each; none is kept. */
test.each([
  ['C_SignInit', 'C_Sign'],
  ['C_Sign', 'C_GenerateKeyPair'],
])('a device that fails in %s and %s', async (inSigning, inMaking) => {
  const signer = freshName('signer');
  const made = await service.call('POST', '/v1/keys', { name: signer, algorithm: 'ecdsa-p256' });
  expect(made.status).toBe(201);
  const message = plaintext;
  const sign = () => service.call('POST', `/v1/keys/${signer}/sign`, { message });
  const rotate = () => service.call('POST', `/v1/keys/${signer}/rotate`, {});
  const attempts: Answer[] = [await answered(200, sign)];
  for (const [name, call] of [
    [inSigning, sign],
    [inMaking, rotate],
  ] as const) {
    // What was made is lost as well.
    faults?.set(name, { kind: 'doAndFail', code: CKR.DEVICE_ERROR });
    const failed = await call();
    expect([name, failed.status, failed.body['code']]).toEqual([name, 503, 'hsm/unavailable']);
    attempts.push(failed);
    faults?.clear();
    await answered(200, open);
  }
  const signed = await sign();
  attempts.push(signed);
  const { signature } = signed.body;
  const verified = await service.call('POST', `/v1/keys/${signer}/verify`, { message, signature });
  expect(verified.body).toMatchObject({ valid: true, keyVersion: 1 });
  expect((await service.call('GET', `/v1/keys/${signer}`)).body).toMatchObject({ currentVersion: 1 });
  const records = await auditRecords(service);
  for (const { status, headers } of attempts) {
    const id = headers.get('x-request-id');
    const outcomes = records.filter(({ requestId }) => requestId === id).map(({ outcome }) => outcome);
    expect([id, outcomes]).toEqual([id, [status === 200 ? 'allowed' : 'failed']]);
  }
});
