import { constants, createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type SignAlgorithm, signAlgorithms, suites } from '../../src/crypto/suites.ts';
import { auditRecords } from '../access/support.ts';
import { base64, bytes, driver, flipped } from '../envelope/support.ts';
import { startTestService, type TestService } from '../support/service.ts';

let service: TestService;
let calls: ReturnType<typeof driver>;

beforeAll(async () => {
  service = await startTestService();
  calls = driver(service);
  for (const name of signAlgorithms) await calls.createKey(name, { algorithm: name });
}, 120_000);
afterAll(() => service.dispose());

const message = Buffer.from('what is signed');
const at = (name: string, operation: string) => `/v1/keys/${name}/${operation}`;

async function sign(name: string, body: object): Promise<Buffer> {
  return bytes(String((await calls.must('POST', at(name, 'sign'), body))['signature']));
}

async function codeOf(name: string, operation: string, body: object): Promise<unknown> {
  const answer = await service.call('POST', at(name, operation), body);
  return answer.body['code'] ?? answer.status;
}

const isComposite = (name: SignAlgorithm) => name.startsWith('ml-dsa-65-');
const isRsa = (name: SignAlgorithm) => name.startsWith('rsa-');
const hasContext = (name: SignAlgorithm) => name.startsWith('ml-dsa-') || name.startsWith('slh-dsa-');
const takesDigest = (name: SignAlgorithm) => name.startsWith('ecdsa-') || isRsa(name) || isComposite(name);

/** The hash of a message, by the page of the interface. */
function hashOf(name: SignAlgorithm): 'sha256' | 'sha384' | 'sha512' {
  if (name === 'ecdsa-p384') return 'sha384';
  return name === 'ecdsa-p521' || name.endsWith('-4096') || isComposite(name) ? 'sha512' : 'sha256';
}

/** Whether OpenSSL by itself takes the signature, with the public key that the service shows. */
function opensslVerifies(
  name: SignAlgorithm,
  key: KeyObject,
  signature: Uint8Array,
  { context, hash = hashOf(name) }: { context?: Buffer; hash?: string } = {},
): boolean {
  if (name.startsWith('rsa-pss-')) {
    const padding = constants.RSA_PKCS1_PSS_PADDING;
    const saltLength = createHash(hash).digest().length;
    return verify(hash, message, { key, padding, saltLength }, signature);
  }
  if (isRsa(name) || name.startsWith('ecdsa-')) return verify(hash, message, key, signature);
  return verify(null, message, { key, ...(context && { context }) }, signature);
}

describe.each(signAlgorithms)('%s', (name) => {
  /** Guarantees that what is signed verifies here and by OpenSSL, and nothing else does. */
  test('signs and verifies', async () => {
    const made = await calls.must('POST', at(name, 'sign'), { message: base64(message) });
    expect(made).toMatchObject({ algorithm: name, keyVersion: 1, keyId: expect.any(String) });
    const signature = bytes(String(made['signature']));
    const body = { message: base64(message), signature: base64(signature) };
    expect(await calls.must('POST', at(name, 'verify'), body)).toEqual({
      ...{ valid: true, keyId: made['keyId'], keyVersion: 1 },
    });
    const shown = await calls.must('GET', at(name, 'public-key'));
    expect(shown).toMatchObject({ algorithm: name, suite: suites[name].id, keyVersion: 1 });
    if (!isComposite(name)) {
      const key = createPublicKey(String(shown['pem']));
      expect(opensslVerifies(name, key, signature)).toBe(true);
      const ofJwk = createPublicKey({ key: shown['jwk'] as Record<string, string>, format: 'jwk' });
      expect(ofJwk.equals(key)).toBe(true);
    }
    const wrong = [
      { ...body, message: base64(flipped(message, 3)) },
      { ...body, message: '' },
      { ...body, signature: base64(flipped(signature, 8 * signature.length - 9)) },
      { ...body, signature: base64(flipped(signature, 300)) },
      { ...body, signature: base64(signature.subarray(1)) },
      { ...body, signature: base64(Buffer.concat([signature, Buffer.of(0)])) },
      { ...body, signature: '' },
      { ...body, signature: base64(Buffer.alloc(signature.length)) },
    ];
    for (const other of wrong) expect(await codeOf(name, 'verify', other)).toBe('signature/invalid');
  });

  /** Guarantees that a context is bound where the algorithm has one, and refused where not. */
  test('context', async () => {
    const context = Buffer.from('a context');
    const body = { message: base64(message), context: base64(context) };
    if (!hasContext(name)) {
      expect(await codeOf(name, 'sign', body)).toBe('request/invalid');
      return;
    }
    const signature = await sign(name, body);
    const signed = { ...body, signature: base64(signature) };
    expect(await codeOf(name, 'verify', signed)).toBe(200);
    for (const other of ['', base64(Buffer.from('another'))])
      expect(await codeOf(name, 'verify', { ...signed, context: other })).toBe('signature/invalid');
    if (isComposite(name)) return;
    const key = createPublicKey(String((await calls.must('GET', at(name, 'public-key')))['pem']));
    expect(opensslVerifies(name, key, signature, { context })).toBe(true);
  });

  /** Guarantees that a digest stands for its message, both ways, where the algorithm takes one. */
  test('digest', async () => {
    const digest = createHash(hashOf(name)).update(message).digest();
    const body = { digest: base64(digest) };
    if (!takesDigest(name)) {
      expect(await codeOf(name, 'sign', { digest: base64(Buffer.alloc(64)) })).toBe('request/invalid');
      return;
    }
    const [ofDigest, ofMessage] = [await sign(name, body), await sign(name, { message: base64(message) })];
    const either = [body, { message: base64(message) }];
    for (const signature of [ofDigest, ofMessage].map(base64)) {
      for (const form of either) expect(await codeOf(name, 'verify', { ...form, signature })).toBe(200);
      const other = { digest: base64(flipped(digest, 9)), signature };
      expect(await codeOf(name, 'verify', other)).toBe('signature/invalid');
    }
    for (const signature of ['', base64(ofDigest.subarray(1)), base64(Buffer.alloc(ofDigest.length))])
      expect(await codeOf(name, 'verify', { ...body, signature })).toBe('signature/invalid');
    const wrong = { digest: base64(Buffer.alloc(digest.length === 48 ? 64 : 48)) };
    expect(await codeOf(name, 'sign', wrong)).toBe('request/invalid');
  });
});

/** Guarantees that RSA signs with the hash that is asked for, and verifies with that one alone. */
test.each(['rsa-pss-2048', 'rsa-pkcs1-2048'] as const)('%s with other hashes', async (name) => {
  const key = createPublicKey(String((await calls.must('GET', at(name, 'public-key')))['pem']));
  for (const hash of ['sha256', 'sha384', 'sha512']) {
    const body = { message: base64(message), hash };
    const signature = await sign(name, body);
    expect(opensslVerifies(name, key, signature, { hash })).toBe(true);
    for (const other of ['sha256', 'sha384', 'sha512']) {
      const code = await codeOf(name, 'verify', { ...body, hash: other, signature: base64(signature) });
      expect(code).toBe(other === hash ? 200 : 'signature/invalid');
    }
  }
  expect(await codeOf('ecdsa-p256', 'sign', { message: '', hash: 'sha256' })).toBe('request/invalid');
});

/** Guarantees both encodings of ECDSA, each verified as itself alone, of a message and of a digest. */
test.each(['ecdsa-p256', 'ecdsa-p384', 'ecdsa-p521', 'ecdsa-secp256k1'] as const)(
  '%s in both encodings',
  async (name) => {
    const { keyBytes } = suites[name];
    const digest = createHash(hashOf(name)).update(message).digest();
    const p1363 = await sign(name, { message: base64(message), encoding: 'p1363' });
    const der = await sign(name, { message: base64(message) });
    expect(p1363).toHaveLength(2 * keyBytes);
    const key = createPublicKey(String((await calls.must('GET', at(name, 'public-key')))['pem']));
    expect(verify(hashOf(name), message, { key, dsaEncoding: 'ieee-p1363' }, p1363)).toBe(true);
    for (const form of [{ message: base64(message) }, { digest: base64(digest) }]) {
      for (const encoding of ['p1363', 'der'] as const) {
        for (const [made, signature] of [
          ['p1363', p1363],
          ['der', der],
        ] as const) {
          const code = await codeOf(name, 'verify', { ...form, encoding, signature: base64(signature) });
          expect([encoding, made, code]).toEqual([
            ...[encoding, made, made === encoding ? 200 : 'signature/invalid'],
          ]);
        }
      }
    }
    expect(await codeOf('ed25519', 'sign', { message: '', encoding: 'der' })).toBe('request/invalid');
  },
);

/** Guarantees that there is one of message, digest and mu, and a mu without a context beside it. */
test('what is signed is said once', async () => {
  const mu = base64(Buffer.alloc(64));
  for (const body of [
    {},
    { message: '', digest: mu },
    { message: '', mu },
    { digest: mu, mu },
    { mu, context: '' },
    { mu: base64(Buffer.alloc(63)) },
    { message: '', context: base64(Buffer.alloc(256)) },
  ])
    expect(await codeOf('ml-dsa-65', 'sign', body)).toBe('request/invalid');
  expect(await codeOf('ed25519', 'sign', { mu })).toBe('request/invalid');
  expect(await codeOf('ml-dsa-65', 'sign', { digest: mu })).toBe('request/invalid');
});

/** Guarantees that operations are recorded with key and version, and nothing of what they were about. */
test('records', async () => {
  const signature = base64(await sign('ecdsa-p256', { message: base64(message) }));
  await codeOf('ecdsa-p256', 'verify', { message: base64(message), signature });
  await codeOf('ecdsa-p384', 'verify', { message: base64(message), signature });
  for (const [action, outcome, name] of [
    ['signing.sign', 'allowed', 'ecdsa-p256'],
    ['signing.verify', 'refused', 'ecdsa-p384'],
  ] as const) {
    const [record] = await auditRecords(service, { action });
    expect(record).toMatchObject({ outcome, target: { kind: 'key', name, version: 1 } });
    expect(JSON.stringify(record)).not.toContain(signature.slice(0, 20));
    expect(JSON.stringify(record)).not.toContain(base64(message).slice(0, 10));
  }
});
