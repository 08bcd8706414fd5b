import { execFileSync } from 'node:child_process';
import { constants, createPublicKey, publicEncrypt } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient } from '../../src/client/node/index.ts';
import { oaepHashes } from '../../src/crypto/oaep.ts';
import { decryptAlgorithms, suites } from '../../src/crypto/suites.ts';
import { base64, driver, flipped } from '../envelope/support.ts';
import { startTestService, type TestService } from '../support/service.ts';

let service: TestService;
let calls: ReturnType<typeof driver>;
const pems = new Map<string, string>();

beforeAll(async () => {
  service = await startTestService();
  calls = driver(service);
  for (const algorithm of decryptAlgorithms) {
    await calls.createKey(algorithm, { algorithm });
    pems.set(algorithm, String((await calls.must('GET', `/v1/keys/${algorithm}/public-key`))['pem']));
  }
}, 300_000);
afterAll(() => service.dispose());

type Algorithm = (typeof decryptAlgorithms)[number];

function encrypt(
  algorithm: Algorithm,
  plaintext: Uint8Array,
  hash = 'sha256',
  label = Buffer.alloc(0),
): Buffer {
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const key = { key: pems.get(algorithm) ?? '', padding, oaepHash: hash, oaepLabel: label };
  return publicEncrypt(key, plaintext);
}

async function codeOf(path: string, body: object, token?: string): Promise<unknown> {
  const answer = await service.call('POST', path, body, token === undefined ? {} : { token });
  return answer.body['code'] ?? answer.status;
}

const client = () => createClient({ url: service.url, credentials: service.token });

/** Guarantees that what node:crypto encrypts to the public key is decrypted, with each hash, at every length and label. */
test.each(decryptAlgorithms)('%s', async (algorithm) => {
  for (const hash of oaepHashes) {
    const longest = suites[algorithm].keyBytes - 2 * ({ sha256: 32, sha384: 48, sha512: 64 }[hash] + 1);
    for (const length of [0, 1, 32, longest]) {
      const plaintext = Buffer.alloc(length, 0x5a);
      const ciphertext = encrypt(algorithm, plaintext, hash);
      const opened = await client().decryptOaep({ key: algorithm, ciphertext, hash });
      expect(Buffer.from(opened.plaintext)).toEqual(plaintext);
    }
    const oaepLabel = Buffer.from('a label');
    const labelled = encrypt(algorithm, Buffer.from('x'), hash, oaepLabel);
    const opened = await client().decryptOaep({ key: algorithm, ciphertext: labelled, hash, oaepLabel });
    expect(Buffer.from(opened.plaintext).toString()).toBe('x');
  }
});

/** Guarantees the public key's forms: PEM and JWK are one key, of the algorithm's length. */
test('public key', async () => {
  for (const algorithm of decryptAlgorithms) {
    const shown = await client().getPublicKey({ key: algorithm });
    const key = createPublicKey(shown.pem ?? '');
    expect(key.asymmetricKeyDetails?.modulusLength).toBe(suites[algorithm].keyBytes * 8);
    expect(shown.jwk).toEqual({ ...key.export({ format: 'jwk' }), use: 'enc' });
    expect(Buffer.from(shown.publicKey)).toEqual(key.export({ format: 'der', type: 'pkcs1' }));
  }
});

/** Guarantees that OpenSSL's command encrypts what is decrypted here. */
test('encrypted by openssl', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'stathera-oaep-'));
  try {
    writeFileSync(join(folder, 'pem'), pems.get('rsa-oaep-2048') ?? '');
    writeFileSync(join(folder, 'in'), 'by openssl');
    const options = ['rsa_padding_mode:oaep', 'rsa_oaep_md:sha512', 'rsa_mgf1_md:sha512'];
    const args = ['pkeyutl', '-encrypt', '-pubin', '-inkey', 'pem', '-in', 'in', '-out', 'out'];
    execFileSync('/usr/bin/openssl', [...args, ...options.flatMap((one) => ['-pkeyopt', one])], {
      cwd: folder,
    });
    const ciphertext = readFileSync(join(folder, 'out'));
    const opened = await client().decryptOaep({ key: 'rsa-oaep-2048', ciphertext, hash: 'sha512' });
    expect(Buffer.from(opened.plaintext).toString()).toBe('by openssl');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** Guarantees that whatever is wrong is refused with the same words: length, number, padding, hash, label, version's key. */
test('failures look alike', async () => {
  const right = encrypt('rsa-oaep-2048', Buffer.from('x'));
  const key = createPublicKey(pems.get('rsa-oaep-2048') ?? '');
  const raw = (number: Uint8Array) => publicEncrypt({ key, padding: constants.RSA_NO_PADDING }, number);
  const wrong: [Uint8Array, object?][] = [
    ...[0, 100, 2047].map((bit): [Uint8Array] => [flipped(right, bit)]),
    ...[0, 1, 255].map((end): [Uint8Array] => [right.subarray(0, end)]),
    [Buffer.concat([right, Buffer.of(0)])],
    // Not below the modulus; 0 and 1; a first byte that is not zero; PKCS #1 v1.5.
    ...[
      Buffer.alloc(256, 0xff),
      Buffer.alloc(256),
      raw(Buffer.concat([Buffer.alloc(255), Buffer.of(1)])),
    ].map((one): [Uint8Array] => [one]),
    [raw(Buffer.concat([Buffer.of(1), Buffer.alloc(255, 7)]))],
    [publicEncrypt({ key, padding: constants.RSA_PKCS1_PADDING }, Buffer.from('x'))],
    [right, { hash: 'sha512' }],
    [right, { oaepLabel: 'AAAA' }],
    [encrypt('rsa-oaep-3072', Buffer.from('x'))],
  ];
  const texts = new Set<string>();
  for (const [ciphertext, more] of wrong) {
    const body = { ciphertext: base64(ciphertext), ...more };
    const answer = await service.call('POST', '/v1/keys/rsa-oaep-2048/decrypt-oaep', body);
    const { requestId: _, ...problem } = answer.body;
    texts.add(JSON.stringify([answer.status, problem]));
  }
  expect([...texts]).toEqual([expect.stringContaining('"code":"envelope/decryption-failed"')]);
});

/** Guarantees rotation, states, and one refusal for what a key is not for. */
test('versions, states and purposes', { timeout: 120_000 }, async () => {
  const name = 'turned';
  const made = await calls.createKey(name, { algorithm: 'rsa-oaep-2048' });
  expect(made).toMatchObject({ purpose: 'decrypt', protection: 'hsm' });
  const { pem } = await calls.must('GET', `/v1/keys/${name}/public-key`);
  const oaep = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
  const ciphertext = base64(publicEncrypt({ key: String(pem), ...oaep }, Buffer.from('old')));
  await calls.must('POST', `/v1/keys/${name}/rotate`, {});
  const path = `/v1/keys/${name}/decrypt-oaep`;
  expect(await codeOf(path, { ciphertext })).toBe('envelope/decryption-failed');
  expect(await calls.must('POST', path, { ciphertext, version: 1 })).toMatchObject({
    ...{ plaintext: base64(Buffer.from('old')), keyVersion: 1 },
  });
  expect(await codeOf(path, { ciphertext, version: 3 })).toBe('key/not-found');
  await calls.must('PATCH', `/v1/keys/${name}/versions/1`, { state: 'decrypt-only' });
  expect(await codeOf(path, { ciphertext, version: 1 })).toBe(200);
  await calls.must('PATCH', `/v1/keys/${name}/versions/1`, { state: 'disabled' });
  expect(await codeOf(path, { ciphertext, version: 1 })).toBe('key/version-disabled');
  await calls.must('PATCH', `/v1/keys/${name}`, { state: 'disabled' });
  expect(await codeOf(path, { ciphertext, version: 1 })).toBe('key/disabled');
  await calls.createKey('sealing');
  await calls.createKey('signing', { algorithm: 'ecdsa-p256' });
  const hidden = await calls.createToken({
    scopes: ['keys:decrypt', 'keys:encrypt', 'keys:sign'],
    keys: ['x'],
  });
  for (const [wrong, body] of [
    ['/v1/keys/sealing/decrypt-oaep', { ciphertext }],
    ['/v1/keys/signing/decrypt-oaep', { ciphertext }],
    ['/v1/keys/rsa-oaep-2048/encrypt', { plaintext: '' }],
    ['/v1/keys/rsa-oaep-2048/sign', { message: '' }],
  ] as const) {
    expect([wrong, await codeOf(wrong, body)]).toEqual([wrong, 'key/wrong-purpose']);
    expect([wrong, await codeOf(wrong, body, hidden)]).toEqual([wrong, 'key/not-found']);
  }
});
