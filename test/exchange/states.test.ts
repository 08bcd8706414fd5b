import { afterAll, beforeAll, expect, test } from 'vitest';
import { publicKeyOf } from '../../src/crypto/kem/pairs.ts';
import { exchangeAlgorithms, suites } from '../../src/crypto/suites.ts';
import { versionFromRow } from '../../src/keys/key.ts';
import { openSeed } from '../../src/keys/sealed-seed.ts';
import { base64, driver } from '../envelope/support.ts';
import { inside } from '../keys/support.ts';
import { freshDataDir, removeDirectory } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';

let dataDir: string;
let service: TestService;
let calls: ReturnType<typeof driver>;

beforeAll(async () => {
  dataDir = await freshDataDir();
  service = await startTestService({ dataDir });
  calls = driver({ ...service, call: (...parameters) => service.call(...parameters) });
});
afterAll(async () => {
  await service.dispose();
  await removeDirectory(dataDir);
});

async function codeOf(path: string, body?: object, token?: string): Promise<unknown> {
  const method = body === undefined ? 'GET' : 'POST';
  const answer = await service.call(method, path, body, token === undefined ? {} : { token });
  return answer.body['code'] ?? answer.status;
}

/** Guarantees that after a rotation the new version makes secrets, and old ciphertexts open by their version alone. */
test('rotation', async () => {
  await calls.createKey('turned', { purpose: 'exchange' });
  const old = await calls.must('POST', '/v1/keys/turned/encapsulate', {});
  const before = await calls.must('GET', '/v1/keys/turned/public-key');
  await calls.must('POST', '/v1/keys/turned/rotate', {});
  const made = await calls.must('POST', '/v1/keys/turned/encapsulate', {});
  expect([old['keyVersion'], made['keyVersion']]).toEqual([1, 2]);
  const { ciphertext, confirmation, sharedSecret } = old;
  const open = (version?: number) =>
    calls.must('POST', '/v1/keys/turned/decapsulate', { ciphertext, ...(version && { version }) });
  expect((await open(1))['sharedSecret']).toBe(sharedSecret);
  expect((await open())['sharedSecret']).not.toBe(sharedSecret);
  expect(await codeOf('/v1/keys/turned/decapsulate', { ciphertext, confirmation })).toBe('exchange/refused');
  expect(await codeOf('/v1/keys/turned/decapsulate', { ciphertext, version: 3 })).toBe('key/not-found');
  expect(await calls.must('GET', '/v1/keys/turned/public-key?version=1')).toEqual(before);
  expect(await calls.must('GET', '/v1/keys/turned/public-key')).toMatchObject({ keyVersion: 2 });
  expect(await codeOf('/v1/keys/turned/public-key?version=3')).toBe('key/not-found');
  const { lastUsedAt } = await calls.must('GET', '/v1/keys/turned');
  expect(lastUsedAt).toEqual(expect.any(String));
});

/** Guarantees what each state allows: of a version that only decrypts, a disabled one, and a disabled key. */
test('states', async () => {
  await calls.createKey('stated', { algorithm: 'ml-kem-768' });
  const { ciphertext, confirmation } = await calls.must('POST', '/v1/keys/stated/encapsulate', {});
  const answers = async () =>
    await Promise.all([
      codeOf('/v1/keys/stated/encapsulate', {}),
      codeOf('/v1/keys/stated/decapsulate', { ciphertext }),
      codeOf('/v1/keys/stated/confirm', { ciphertext, confirmation }),
      codeOf('/v1/keys/stated/public-key'),
    ]);
  const set = (path: string, state: string) => calls.must('PATCH', `/v1/keys/stated${path}`, { state });
  expect(await answers()).toEqual([200, 200, 200, 200]);
  await set('/versions/1', 'decrypt-only');
  expect(await answers()).toEqual(['key/version-disabled', 200, 200, 200]);
  await set('/versions/1', 'disabled');
  const disabled = 'key/version-disabled';
  expect(await answers()).toEqual([disabled, disabled, disabled, 200]);
  await set('/versions/1', 'enabled');
  await set('', 'disabled');
  expect(await answers()).toEqual(['key/disabled', 'key/disabled', 'key/disabled', 200]);
});

const plaintext = base64(Buffer.from('x'));
const peerPublicKey = base64(Buffer.alloc(32, 9));

/** Guarantees one refusal for every operation that a key is not for, and none for whoever may not see the key. */
test('wrong purpose', async () => {
  await calls.createKey('sealing');
  await calls.createKey('kem', { algorithm: 'ml-kem-512' });
  await calls.createKey('dh', { algorithm: 'x25519' });
  await calls.createKey('hybrid', { algorithm: 'x-wing' });
  const sealed = await calls.encrypt('sealing', Buffer.from('x'));
  // A ciphertext that names the key pair and its version.
  const { id } = await calls.must('GET', '/v1/keys/kem');
  const forged = Buffer.from(sealed);
  forged.set(Buffer.from(String(id).replaceAll('-', ''), 'hex'), 4);
  const confirmation = base64(Buffer.alloc(32));
  const opening = { ciphertext: base64(Buffer.alloc(768)), confirmation };
  const wrong: [string, object?][] = [
    ['/v1/keys/kem/encrypt', { plaintext }],
    ['/v1/keys/kem/data-keys', {}],
    ['/v1/keys/sealing/rewrap', { ciphertext: base64(sealed), toKey: 'kem' }],
    ['/v1/decrypt', { ciphertext: base64(forged) }],
    ['/v1/keys/kem/derive', { peerPublicKey, label: 'a' }],
    ['/v1/keys/dh/encapsulate', {}],
    ['/v1/keys/dh/decapsulate', opening],
    ['/v1/keys/dh/confirm', opening],
    ['/v1/keys/sealing/encapsulate', {}],
    ['/v1/keys/sealing/decapsulate', opening],
    ['/v1/keys/sealing/confirm', opening],
    ['/v1/keys/sealing/derive', { peerPublicKey, label: 'a' }],
    ['/v1/keys/sealing/public-key'],
    // HPKE has neither ML-KEM-512 here nor a sender's key with X-Wing.
    ...['kem', 'sealing'].flatMap((name): [string, object][] => [
      [`/v1/keys/${name}/seal`, { plaintext }],
      [`/v1/keys/${name}/auth-seal`, { plaintext, recipientPublicKey: peerPublicKey }],
      [`/v1/keys/${name}/open`, { enc: 'AAAA', ciphertext: 'AAAA' }],
      [`/v1/keys/${name}/send-export`, {}],
      [`/v1/keys/${name}/receive-export`, { enc: 'AAAA' }],
    ]),
    ['/v1/keys/hybrid/auth-seal', { plaintext, recipientPublicKey: peerPublicKey }],
    ['/v1/keys/hybrid/open', { enc: 'AAAA', ciphertext: 'AAAA', senderPublicKey: peerPublicKey }],
  ];
  const hidden = await calls.createToken({
    scopes: ['keys:admin', 'keys:encrypt', 'keys:decrypt', 'keys:rewrap'],
    keys: ['other'],
  });
  for (const [path, body] of wrong) {
    expect([path, await codeOf(path, body)]).toEqual([path, 'key/wrong-purpose']);
    const unseen = /rewrap|v1.decrypt/.test(path) ? 'envelope/decryption-failed' : 'key/not-found';
    expect([path, await codeOf(path, body, hidden)]).toEqual([path, unseen]);
  }
  const reuse = { dataKeyReuse: { messages: 1, bytes: 1, seconds: 1 } };
  const answer = await service.call('PATCH', '/v1/keys/kem', reuse);
  expect(answer.body['code']).toBe('key/wrong-purpose');
  const batch = await calls.batch([{ operation: 'encrypt', key: 'kem', plaintext }]);
  expect(batch[0]?.problem?.code).toBe('key/wrong-purpose');
});

/** Guarantees that purpose and algorithm must fit, and each stands for the other when it is absent. */
test('creation', async () => {
  const made = await calls.must('POST', '/v1/keys', { name: 'made-pair', purpose: 'exchange' });
  expect(made).toMatchObject({ algorithm: 'x-wing', purpose: 'exchange', protection: 'hsm-sealed' });
  expect(await calls.must('POST', '/v1/keys', { name: 'made-cipher' })).toMatchObject({
    ...{ algorithm: 'aes-256-gcm', purpose: 'encrypt' },
  });
  for (const body of [
    { purpose: 'exchange', algorithm: 'aes-256-gcm' },
    { purpose: 'encrypt', algorithm: 'x25519' },
    { purpose: 'sign', algorithm: 'x25519' },
    { algorithm: 'x448' },
    { algorithm: 'p256', dataKeyReuse: { messages: 1, bytes: 1, seconds: 1 } },
  ])
    expect(await codeOf('/v1/keys', { name: 'never-made', ...body })).toBe('request/invalid');
});

/** Guarantees that a row holds its seed sealed, of the algorithm's length, and the public key that it gives. */
test('rows', async () => {
  for (const algorithm of exchangeAlgorithms) await calls.createKey(`row-${algorithm}`, { algorithm });
  await service.stop();
  await inside(dataDir, async ({ hsm, store, systemKeys }) => {
    for (const algorithm of exchangeAlgorithms) {
      const row = await store.db
        .selectFrom('key_versions')
        .selectAll()
        .where('algorithm', '=', algorithm)
        .orderBy('id', 'desc')
        .executeTakeFirstOrThrow();
      const seed = await openSeed(hsm, versionFromRow(row, await systemKeys.kek(row.kek_id)));
      expect([row.usage, seed.length]).toEqual(['exchange', suites[algorithm].keyBytes]);
      expect(row.blob).toHaveLength(40 + 12 + seed.length + 16);
      expect(Buffer.from(row.blob).includes(Buffer.from(seed.subarray(0, 8)))).toBe(false);
      expect(Buffer.from(publicKeyOf(algorithm, seed) ?? []).equals(row.public_key ?? Buffer.of(1))).toBe(
        true,
      );
    }
    // A public key in another's place: its MAC is the row's.
    const [one, other] = await store.db
      .selectFrom('key_versions')
      .selectAll()
      .where('algorithm', '=', 'x25519')
      .orderBy('id', 'desc')
      .limit(2)
      .execute();
    if (!one || !other) throw new Error('no rows');
    const moved = store.db.updateTable('key_versions').set({ public_key: other.public_key });
    await moved.where('id', '=', one.id).execute();
  });
  service = await startTestService({ dataDir });
  expect(await codeOf('/v1/keys/row-x25519/public-key')).toBe('internal');
  expect(await codeOf('/v1/keys/row-x25519/derive', { peerPublicKey, label: 'a' })).toBe('internal');
  expect(await codeOf('/v1/keys/row-p256/public-key')).toBe(200);
});
