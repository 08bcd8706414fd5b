import { execFileSync, spawnSync } from 'node:child_process';
import { createPublicKey, verify, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compactVerify, createLocalJWKSet, decodeProtectedHeader, importJWK, type JWK } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type SignAlgorithm, signAlgorithms } from '../../src/crypto/suites.ts';
import { base64, bytes, driver } from '../envelope/support.ts';
import { startTestService, type TestService } from '../support/service.ts';

let service: TestService;
let calls: ReturnType<typeof driver>;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'stathera-formats-'));
  service = await startTestService();
  calls = driver(service);
  for (const name of signAlgorithms) await calls.createKey(name, { algorithm: name });
}, 120_000);
afterAll(async () => {
  await service.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** `alg` of JWS by the registry of IANA. */
const registered: Partial<Record<SignAlgorithm, string>> = {
  ...{ ed25519: 'EdDSA', 'ml-dsa-44': 'ML-DSA-44', 'ml-dsa-65': 'ML-DSA-65', 'ml-dsa-87': 'ML-DSA-87' },
  ...{ 'ecdsa-p256': 'ES256', 'ecdsa-p384': 'ES384', 'ecdsa-p521': 'ES512', 'ecdsa-secp256k1': 'ES256K' },
  ...{ 'rsa-pss-2048': 'PS256', 'rsa-pss-3072': 'PS256', 'rsa-pss-4096': 'PS512' },
  ...{ 'rsa-pkcs1-2048': 'RS256', 'rsa-pkcs1-3072': 'RS256', 'rsa-pkcs1-4096': 'RS512' },
};

const payload = Buffer.from('{"sub":"alice"}');

async function codeOf(path: string, body?: object, token?: string): Promise<unknown> {
  const method = body === undefined ? 'GET' : 'POST';
  const answer = await service.call(method, path, body, token === undefined ? {} : { token });
  return answer.body['code'] ?? answer.status;
}

async function jwks(query = '', token?: string): Promise<JWK[]> {
  const options = token === undefined ? {} : { token };
  return (await calls.must('GET', `/v1/keys/jwks.json${query}`, undefined, options))['keys'] as JWK[];
}

async function jwsOf(name: string, body: object = {}): Promise<string> {
  const made = await calls.must('POST', `/v1/keys/${name}/sign-jws`, { payload: base64(payload), ...body });
  return String(made['jws']);
}

/** secp256k1 is no algorithm of Web Crypto, which jose is on: node:crypto verifies it there. */
const inJose = signAlgorithms.filter((name) => registered[name] !== undefined && name !== 'ecdsa-secp256k1');

/** Guarantees that jose verifies our JWS with the key of our JWKS that it finds by `kid`, and refuses a changed one. */
test.each(inJose)('JWS of %s', async (name) => {
  const jws = await jwsOf(name, { typ: 'JWT' });
  const set = await jwks();
  const header = decodeProtectedHeader(jws);
  expect(header).toEqual({ alg: registered[name], kid: expect.any(String), typ: 'JWT' });
  const found = set.filter(({ kid }) => kid === header.kid);
  expect(found).toMatchObject([{ alg: registered[name], use: 'sig' }]);
  const { payload: read } = await compactVerify(jws, createLocalJWKSet({ keys: set }));
  expect(Buffer.from(read).equals(payload)).toBe(true);
  const [head, , signature] = jws.split('.');
  const changed = [head, Buffer.from('{"sub":"mallory"}').toString('base64url'), signature].join('.');
  await expect(compactVerify(changed, await importJWK(found[0] ?? {}))).rejects.toThrow();
});

/** Guarantees ES256K by OpenSSL. */
test('JWS of ecdsa-secp256k1', async () => {
  const jws = await jwsOf('ecdsa-secp256k1');
  const { kid, alg } = decodeProtectedHeader(jws);
  expect(alg).toBe('ES256K');
  const jwk = (await jwks()).find((one) => one.kid === kid);
  const key = createPublicKey({ key: jwk as Record<string, string>, format: 'jwk' });
  const [head, body, signature = ''] = jws.split('.');
  const signed = Buffer.from(`${head}.${body}`);
  const value = Buffer.from(signature, 'base64url');
  expect(verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, value)).toBe(true);
});

/** Guarantees that what JWS has no algorithm for signs none, and stands in no JWKS. */
test('algorithms without JWS', async () => {
  const without = signAlgorithms.filter((name) => registered[name] === undefined);
  expect(without).toHaveLength(6);
  for (const name of without) {
    expect(await codeOf(`/v1/keys/${name}/sign-jws`, { payload: '' })).toBe('key/wrong-purpose');
    expect(await jwks(`?key=${name}`)).toEqual([]);
  }
});

/** Guarantees that a header holds what its members allow: no line breaks, no parameter of the caller's own. */
test('headers', async () => {
  const at = '/v1/keys/ed25519/sign-jws';
  for (const more of [
    { typ: 'a b' },
    { typ: '' },
    { cty: 'a\nb' },
    { alg: 'none' },
    { kid: 'x' },
    { crit: ['b64'] },
  ])
    expect(await codeOf(at, { payload: '', ...more })).toBe('request/invalid');
  const header = decodeProtectedHeader(
    await jwsOf('ed25519', { typ: 'secevent+jwt', cty: 'application/json' }),
  );
  expect(header).toMatchObject({ typ: 'secevent+jwt', cty: 'application/json' });
});

/** Guarantees which versions a JWKS has: those that verify, of keys that the caller may see, and the newest first. */
test('JWKS', async () => {
  await calls.createKey('turning', { algorithm: 'ed25519' });
  await calls.must('POST', '/v1/keys/turning/rotate', {});
  await calls.createKey('encrypting');
  const kids = async () => (await jwks('?key=turning')).map(({ kid }) => kid);
  const { items } = await calls.must('GET', '/v1/keys/turning/versions');
  const [second, first] = (items as { id: string }[]).map(({ id }) => id);
  expect(await kids()).toEqual([second, first]);
  const set = (path: string, state: string) => calls.must('PATCH', `/v1/keys/turning${path}`, { state });
  await set('/versions/1', 'decrypt-only');
  expect(await kids()).toEqual([second, first]);
  await set('/versions/1', 'disabled');
  expect(await kids()).toEqual([second]);
  await set('', 'disabled');
  expect(await kids()).toEqual([]);
  expect(await jwks('?key=encrypting')).toEqual([]);
  expect(await codeOf('/v1/keys/jwks.json?key=absent')).toBe('key/not-found');
  const all = await jwks();
  expect(all).toHaveLength(Object.keys(registered).length);
  expect(JSON.stringify(all)).not.toMatch(/"(d|priv|p|q|dp|dq|qi|k)":/);
  const some = await calls.createToken({ scopes: ['keys:verify'], keys: ['rsa-pss-*', 'ed25519'] });
  expect((await jwks('', some)).map(({ alg }) => String(alg)).toSorted()).toEqual([
    'EdDSA',
    'PS256',
    'PS256',
    'PS512',
  ]);
  expect(await codeOf('/v1/keys/jwks.json?key=ml-dsa-65', undefined, some)).toBe('key/not-found');
  expect(await codeOf('/v1/keys', { name: 'jwks.json' })).toBe('request/invalid');
});

const subject = { country: 'AT', organization: 'Bänk', commonName: 'releases.example' };
const asked = {
  subject,
  dnsNames: ['releases.example', '*.releases.example'],
  emails: ['ops@releases.example'],
};

/** What Debian's openssl, older than ours, knows of: all classical algorithms. */
const classical = signAlgorithms.filter((name) => /^(ed25519|ecdsa-|rsa-)/.test(name));

/** Guarantees that openssl reads and verifies our certification requests, and shows what was asked for. */
test.each(classical)('CSR of %s', async (name) => {
  const { pem } = await calls.must('POST', `/v1/keys/${name}/csr`, asked);
  const file = join(folder, `${name}.pem`);
  writeFileSync(file, String(pem));
  const options = ['-verify', '-subject', '-nameopt', 'utf8,sep_comma_plus', '-text'];
  const shown = opensslReq(['-in', file, ...options]);
  expect(shown).toContain('verify OK');
  expect(shown).toContain('C=AT,O=Bänk,CN=releases.example');
  expect(shown).toContain('DNS:releases.example, DNS:*.releases.example, email:ops@releases.example');
  expect(publicKeyOfCsr(file)).toBe((await calls.must('GET', `/v1/keys/${name}/public-key`))['pem']);
  const changed = Buffer.from(pemBytes(String(pem)));
  changed.write('x', changed.indexOf('releases'));
  const forged = join(folder, `${name}.forged.der`);
  writeFileSync(forged, changed);
  expect(opensslReq(['-inform', 'der', '-in', forged, '-verify'])).toContain('verify failure');
});

/** What it says: a signature that fails is no failure of its own. */
function opensslReq(options: string[]): string {
  const { stdout, stderr } = spawnSync('openssl', ['req', '-noout', ...options], { encoding: 'utf8' });
  return stdout + stderr;
}

function publicKeyOfCsr(file: string): string {
  return execFileSync('openssl', ['req', '-in', file, '-noout', '-pubkey'], { encoding: 'utf8' });
}

function pemBytes(pem: string): Buffer {
  return Buffer.from(pem.replace(/-----[A-Z ]+-----/g, ''), 'base64');
}

/** The three parts of a CertificationRequest: DER of each. */
function partsOf(der: Buffer): [info: Buffer, algorithm: Buffer, signature: Buffer] {
  const lengthAt = (at: number): [header: number, length: number] => {
    const first = der[at + 1] ?? 0;
    if (first < 0x80) return [2, first];
    const octets = first & 0x7f;
    return [2 + octets, der.readUIntBE(at + 2, octets)];
  };
  const [outer] = lengthAt(0);
  const parts: Buffer[] = [];
  for (let at = outer; at < der.length; ) {
    const [header, length] = lengthAt(at);
    parts.push(der.subarray(at, at + header + length));
    at += header + length;
  }
  const [info, algorithm, bits] = parts as [Buffer, Buffer, Buffer];
  const [header] = lengthAt(der.indexOf(bits));
  return [info, algorithm, bits.subarray(header + 1)];
}

/** Guarantees that post-quantum requests are signed over their own public key: the service verifies them itself. */
test.each(signAlgorithms.filter((name) => !classical.includes(name)))('CSR of %s', async (name) => {
  const { pem, keyVersion } = await calls.must('POST', `/v1/keys/${name}/csr`, asked);
  const [info, , signature] = partsOf(pemBytes(String(pem)));
  const shown = await calls.must('GET', `/v1/keys/${name}/public-key`);
  expect(info.includes(pemBytes(String(shown['pem'])))).toBe(true);
  const body = { message: base64(info), signature: base64(signature), version: keyVersion };
  expect(await codeOf(`/v1/keys/${name}/verify`, body)).toBe(200);
});

/** Guarantees that names which could say something else are refused. */
test('names of a CSR', async () => {
  for (const body of [
    { subject: { country: 'at' } },
    { subject: { commonName: '' } },
    { subject: {}, dnsNames: ['a b'] },
    { subject: {}, dnsNames: ['a..b'] },
    { subject: {}, dnsNames: ['a\u0000b'] },
    { subject: {}, emails: ['a'] },
    { subject: {}, dnsNames: Array.from({ length: 101 }, (_, index) => `a${index}`) },
    { subject: { serialNumber: '1' } },
  ])
    expect(await codeOf('/v1/keys/ed25519/csr', body)).toBe('request/invalid');
  expect(await codeOf('/v1/keys/ed25519/csr', { subject: {} })).toBe(200);
});

/** Guarantees a certificate of a request by another authority, whose key is the request's, by OpenSSL of this Node. */
test('a certificate', async () => {
  const { pem } = await calls.must('POST', '/v1/keys/ecdsa-p256/csr', asked);
  const place = (name: string) => join(folder, name);
  writeFileSync(place('csr.pem'), String(pem));
  const quiet = { stdio: 'pipe' } as const;
  const self = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=ca', '-days', '1'];
  execFileSync('openssl', [...self, '-keyout', place('ca.key'), '-out', place('ca.pem')], quiet);
  const signing = [
    'x509',
    '-req',
    '-in',
    place('csr.pem'),
    '-CA',
    place('ca.pem'),
    '-CAkey',
    place('ca.key'),
  ];
  const copied = ['-CAcreateserial', '-copy_extensions', 'copyall', '-days', '1', '-out', place('cert.pem')];
  execFileSync('openssl', [...signing, ...copied], quiet);
  const certificate = new X509Certificate(execFileSync('cat', [place('cert.pem')]));
  expect(certificate.checkHost('www.releases.example')).toBe('*.releases.example');
  const shown = await calls.must('GET', '/v1/keys/ecdsa-p256/public-key');
  expect(certificate.publicKey.equals(createPublicKey(String(shown['pem'])))).toBe(true);
});

/** Guarantees that a batch signs and verifies, several keys together, each item by itself, and records them all. */
test('batch', async () => {
  const message = base64(Buffer.from('a message'));
  const signed = await calls.batch([
    ...['ed25519', 'ecdsa-p256', 'ml-dsa-65', 'rsa-pss-2048'].map((key) => ({
      operation: 'sign',
      key,
      message,
    })),
    { id: 'none', operation: 'sign', key: 'ed25519' },
    { operation: 'sign', key: 'ed25519', message, hash: 'sha256' },
    { operation: 'sign', key: 'absent', message },
  ]);
  expect(signed.map(({ status }) => status)).toEqual([200, 200, 200, 200, 400, 400, 404]);
  expect(signed[4]).toMatchObject({ id: 'none', problem: { code: 'request/invalid' } });
  const verified = await calls.batch(
    (signed as unknown as { signature?: string }[]).slice(0, 4).flatMap(({ signature }, index) => {
      const key = ['ed25519', 'ecdsa-p256', 'ml-dsa-65', 'rsa-pss-2048'][index];
      return [
        { operation: 'verify', key, message, signature },
        { operation: 'verify', key, message: '', signature },
      ];
    }),
  );
  expect(verified.map(({ status }) => status)).toEqual([200, 400, 200, 400, 200, 400, 200, 400]);
  expect(verified[0]).toMatchObject({ valid: true, keyVersion: 1 });
  expect(verified[1]).toMatchObject({ problem: { code: 'signature/invalid' } });
  expect(bytes((signed[0] as unknown as { signature: string }).signature)).toHaveLength(64);
});
