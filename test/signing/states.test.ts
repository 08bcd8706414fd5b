import { afterAll, beforeAll, expect, test } from 'vitest';
import { type SignAlgorithm, suites } from '../../src/crypto/suites.ts';
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

const message = base64(Buffer.from('a message'));

/** One of each way in which private keys are kept. */
const kept = [
  'ecdsa-p256',
  'rsa-pss-2048',
  'ed25519',
  'ml-dsa-65',
  'slh-dsa-sha2-128f',
  'ml-dsa-65-p256',
] as const;

/** Guarantees that after a rotation the new version signs, and old signatures verify by their version alone. */
test.each(['ecdsa-p384', 'ml-dsa-44'])('rotation of %s', async (algorithm) => {
  const name = `turned-${algorithm}`;
  const at = `/v1/keys/${name}`;
  await calls.createKey(name, { algorithm });
  const old = await calls.must('POST', `${at}/sign`, { message });
  const shown = await calls.must('GET', `${at}/public-key`);
  await calls.must('POST', `${at}/rotate`, {});
  const made = await calls.must('POST', `${at}/sign`, { message });
  expect([old['keyVersion'], made['keyVersion']]).toEqual([1, 2]);
  const verify = (signature: unknown, version?: number) =>
    codeOf(`${at}/verify`, { message, signature, ...(version && { version }) });
  expect(await verify(old['signature'], 1)).toBe(200);
  expect(await verify(old['signature'])).toBe('signature/invalid');
  expect(await verify(made['signature'])).toBe(200);
  expect(await verify(made['signature'], 1)).toBe('signature/invalid');
  expect(await verify(made['signature'], 3)).toBe('key/not-found');
  expect(await calls.must('GET', `${at}/public-key?version=1`)).toEqual(shown);
  expect((await calls.must('GET', `${at}/public-key`))['publicKey']).not.toBe(shown['publicKey']);
});

/** Guarantees what each state allows: of a version that only decrypts, a disabled one, and a disabled key. */
test.each(['ecdsa-p256', 'ed25519'])('states of %s', async (algorithm) => {
  const at = `/v1/keys/stated-${algorithm}`;
  await calls.createKey(`stated-${algorithm}`, { algorithm });
  const { signature } = await calls.must('POST', `${at}/sign`, { message });
  const answers = async () => [
    await codeOf(`${at}/sign`, { message }),
    await codeOf(`${at}/verify`, { message, signature }),
    await codeOf(`${at}/public-key`),
  ];
  const set = (path: string, state: string) => calls.must('PATCH', `${at}${path}`, { state });
  expect(await answers()).toEqual([200, 200, 200]);
  await set('/versions/1', 'decrypt-only');
  expect(await answers()).toEqual(['key/version-disabled', 200, 200]);
  await set('/versions/1', 'disabled');
  expect(await answers()).toEqual(['key/version-disabled', 'key/version-disabled', 200]);
  await set('/versions/1', 'enabled');
  await set('', 'disabled');
  expect(await answers()).toEqual(['key/disabled', 'key/disabled', 200]);
});

const purposes = { signing: 'ecdsa-p256', sealed: 'ed25519', cipher: 'aes-256-gcm', exchange: 'x25519' };

/** Guarantees one refusal for every operation that a key is not for, and none for whoever may not see the key. */
test('wrong purpose', async () => {
  for (const [name, algorithm] of Object.entries(purposes)) await calls.createKey(name, { algorithm });
  const signature = base64(Buffer.alloc(64));
  const ciphertext = base64(await calls.encrypt('cipher', Buffer.from('x')));
  const peerPublicKey = base64(Buffer.alloc(32, 9));
  const ofSigners: [string, object][] = ['signing', 'sealed'].flatMap((key) => [
    [`/v1/keys/${key}/encrypt`, { plaintext: message }],
    [`/v1/keys/${key}/data-keys`, {}],
    [`/v1/keys/${key}/encapsulate`, {}],
    [`/v1/keys/${key}/decapsulate`, { ciphertext: base64(Buffer.alloc(32)) }],
    [`/v1/keys/${key}/derive`, { peerPublicKey, label: 'a' }],
    [`/v1/keys/cipher/rewrap`, { ciphertext, toKey: key }],
  ]);
  const ofOthers: [string, object][] = ['cipher', 'exchange'].flatMap((key) => [
    [`/v1/keys/${key}/sign`, { message }],
    [`/v1/keys/${key}/verify`, { message, signature }],
  ]);
  const scopes = ['keys:admin', 'keys:encrypt', 'keys:decrypt', 'keys:rewrap', 'keys:sign', 'keys:verify'];
  const hidden = await calls.createToken({ scopes, keys: ['other-*', 'cipher'] });
  for (const [path, body] of [...ofSigners, ...ofOthers]) {
    expect([path, await codeOf(path, body)]).toEqual([path, 'key/wrong-purpose']);
    const seen = path.startsWith('/v1/keys/cipher/') && !('toKey' in body);
    const told = seen ? 'key/wrong-purpose' : 'key/not-found';
    expect([path, await codeOf(path, body, hidden)]).toEqual([path, told]);
  }
});

/**
 * Guarantees that no operation takes the key that seals a seed, or a row of the service's own keys: what is named is
 * looked for among the keys of callers, and those ids are in other tables or, of a version, none of a key.
 */
test('internal keys have no name', async () => {
  const { id } = await calls.createKey('sealing', { algorithm: 'ed25519' });
  const { items } = await calls.must('GET', '/v1/keys/sealing/versions');
  const [version] = items as { id: string }[];
  await service.stop();
  const internal = await inside(dataDir, async ({ store }) => {
    const rows = await store.db.selectFrom('system_keys').select('id').execute();
    return rows.map((row) => row.id);
  });
  service = await startTestService({ dataDir });
  expect(internal.length).toBeGreaterThan(2);
  for (const ref of [...internal, version?.id ?? '']) {
    expect(await codeOf(`/v1/keys/${ref}/sign`, { message })).toBe('key/not-found');
    expect(await codeOf(`/v1/keys/${ref}/verify`, { message, signature: '' })).toBe('key/not-found');
    expect(await codeOf(`/v1/keys/${ref}/public-key`)).toBe('key/not-found');
  }
  expect(await codeOf(`/v1/keys/${id}/sign`, { message })).toBe(200);
});

/** Guarantees that a key that was answered for survives a kill, signs on, and verifies what it signed before. */
test('kill and restart', async () => {
  const before = new Map<SignAlgorithm, { signature: unknown; shown: object }>();
  for (const algorithm of kept) {
    await calls.createKey(`kept-${algorithm}`, { algorithm });
    const { signature } = await calls.must('POST', `/v1/keys/kept-${algorithm}/sign`, { message });
    const shown = await calls.must('GET', `/v1/keys/kept-${algorithm}/public-key`);
    before.set(algorithm, { signature, shown });
  }
  await service.kill();
  service = await startTestService({ dataDir });
  for (const [algorithm, { signature, shown }] of before) {
    const at = `/v1/keys/kept-${algorithm}`;
    expect(await calls.must('GET', `${at}/public-key`)).toEqual(shown);
    expect(await codeOf(`${at}/verify`, { message, signature })).toBe(200);
    const { signature: again } = await calls.must('POST', `${at}/sign`, { message });
    expect(await codeOf(`${at}/verify`, { message, signature: again })).toBe(200);
  }
});

/** Guarantees what a row holds: a wrapped private key, or a sealed seed of the algorithm's length, and never it in clear. */
test('rows', async () => {
  const made = kept.map((algorithm) => [algorithm, `row-${algorithm}`] as const);
  for (const [algorithm, name] of made) {
    const key = await calls.must('POST', '/v1/keys', { name, algorithm });
    expect(key).toMatchObject({ purpose: 'sign', protection: suites[algorithm].protection });
  }
  await service.stop();
  await inside(dataDir, async ({ hsm, store, systemKeys }) => {
    for (const [algorithm] of made) {
      const row = await store.db
        .selectFrom('key_versions')
        .selectAll()
        .where('algorithm', '=', algorithm)
        .orderBy('id', 'desc')
        .executeTakeFirstOrThrow();
      expect(row.usage).toBe('sign');
      expect(row.public_key?.length).toBeGreaterThan(31);
      if (suites[algorithm].protection === 'hsm') continue;
      const seed = await openSeed(hsm, versionFromRow(row, await systemKeys.kek(row.kek_id)));
      expect(seed).toHaveLength(suites[algorithm].keyBytes);
      expect(row.blob).toHaveLength(40 + 12 + seed.length + 16);
      expect(Buffer.from(row.blob).includes(Buffer.from(seed.subarray(0, 8)))).toBe(false);
    }
    // A public key in another's place: its MAC is the row's.
    const of = (algorithm: string) =>
      store.db
        .selectFrom('key_versions')
        .selectAll()
        .where('algorithm', '=', algorithm)
        .orderBy('id', 'desc')
        .limit(2)
        .execute();
    const [one, other] = await of('ecdsa-p256');
    if (!one || !other) throw new Error('no rows');
    const moved = store.db.updateTable('key_versions').set({ public_key: other.public_key });
    await moved.where('id', '=', one.id).execute();
  });
  service = await startTestService({ dataDir });
  expect(await codeOf('/v1/keys/row-ecdsa-p256/public-key')).toBe('internal');
  expect(await codeOf('/v1/keys/row-ecdsa-p256/sign', { message })).toBe('internal');
  expect(await codeOf('/v1/keys/row-ed25519/sign', { message })).toBe(200);
});
