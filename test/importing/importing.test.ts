import { execFileSync } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createClient, type ImportParameters, wrapKey } from '../../src/client/node/index.ts';
import { importWrappings } from '../../src/crypto/import-wrapping.ts';
import { cipherAlgorithms, macAlgorithms, suites } from '../../src/crypto/suites.ts';
import { auditRecords } from '../access/support.ts';
import { base64, driver, flipped } from '../envelope/support.ts';
import { freshDataDir, removeDirectory } from '../support/data.ts';
import { startTestService, type TestService } from '../support/service.ts';

const rsa = 'rsa-aes-key-wrap-sha-256';

let dataDir: string;
let service: TestService;
let calls: ReturnType<typeof driver>;

beforeAll(async () => {
  dataDir = await freshDataDir();
  await start();
});
afterAll(async () => {
  await service.dispose();
  await removeDirectory(dataDir);
});

async function start(): Promise<void> {
  service = await startTestService({ dataDir });
  calls = driver({ ...service, call: (...parameters) => service.call(...parameters) });
}

const client = () => createClient({ url: service.url, credentials: service.token });

async function refusal(path: string, body: object): Promise<unknown[]> {
  const { status, body: answer } = await service.call('POST', path, body);
  const [error] = (answer['errors'] as { pointer: string }[] | undefined) ?? [];
  return [status, answer['code'], ...(error ? [error.pointer] : [])];
}

/** Wraps as OpenSSL's command does, on nothing of the service: RSA-OAEP of a new key, and AES-KWP under that. */
function wrapByOpenssl(publicKey: string, key: Uint8Array): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'stathera-import-'));
  const place = (name: string) => join(folder, name);
  const openssl = (...args: string[]) => execFileSync('/usr/bin/openssl', args, { cwd: folder });
  try {
    const transport = randomBytes(32);
    writeFileSync(place('spki'), Buffer.from(publicKey, 'base64'));
    writeFileSync(place('transport'), transport);
    writeFileSync(place('key'), key);
    const padding = 'rsa_padding_mode:oaep,rsa_oaep_md:sha256,rsa_mgf1_md:sha256'.split(',');
    const options = padding.flatMap((option) => ['-pkeyopt', option]);
    const input = ['-pubin', '-inkey', 'spki', '-keyform', 'DER', '-in', 'transport', '-out', 'sealed'];
    openssl('pkeyutl', '-encrypt', ...input, ...options);
    const cipher = ['-id-aes256-wrap-pad', '-iv', 'A65959A6', '-K', transport.toString('hex')];
    openssl('enc', ...cipher, '-in', 'key', '-out', 'wrapped');
    return Buffer.concat([readFileSync(place('sealed')), readFileSync(place('wrapped'))]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe.each(importWrappings)('%s', (wrapping) => {
  /** Guarantees that every symmetric algorithm takes a key from elsewhere, and is that very key: its MACs are node:crypto's. */
  test('all algorithms', { timeout: 300_000 }, async () => {
    const importable =
      wrapping === rsa ? (['aes-256-gcm', 'hmac-sha-512'] as const) : [...cipherAlgorithms, ...macAlgorithms];
    for (const algorithm of importable) {
      const name = `${algorithm}-${wrapping}`;
      const made = await calls.createKey(name, { algorithm, origin: 'external' });
      expect(made).toMatchObject({ currentVersion: 0, origin: 'external' });
      const key = randomBytes(suites[algorithm].keyBytes);
      const parameters = await client().getImportParameters({ key: name, wrapping });
      expect(parameters).toMatchObject({ keyId: made.id, algorithm, keyBytes: key.length, wrapping });
      const imported = await client().importKey({ key: name, ...(await wrapKey(parameters, key)) });
      expect(imported).toMatchObject({ currentVersion: 1, origin: 'external' });
      const [version] = (await client().listKeyVersions({ key: name })).items;
      expect(version).toMatchObject({ version: 1, origin: wrapping, state: 'enabled' });
      if (suites[algorithm].purpose === 'encrypt') {
        const sealed = await calls.encrypt(name, Buffer.from('kept'));
        expect((await calls.decrypt(sealed)).toString()).toBe('kept');
      } else if (algorithm.startsWith('hmac-')) {
        const message = Buffer.from('a message');
        const { mac } = await client().mac({ key: name, message });
        const hash = algorithm.replace('hmac-sha-', 'sha');
        expect(Buffer.from(mac)).toEqual(createHmac(hash, key).update(message).digest());
      }
    }
  });

  /** Guarantees that parameters are for one import: spent, replaced, another key's and unknown ones are told alike. */
  test('one use', { timeout: 120_000 }, async () => {
    const name = `once-${wrapping}`;
    await calls.createKey(name, { purpose: 'mac', origin: 'external' });
    await calls.createKey(`other-${wrapping}`, { purpose: 'mac' });
    const replaced = await client().getImportParameters({ key: name, wrapping });
    const parameters = await client().getImportParameters({ key: name, wrapping });
    const body = async (of: ImportParameters) => {
      const { importId, wrappedKey, checkValue } = await wrapKey(of, randomBytes(32));
      return { importId, wrappedKey: base64(wrappedKey), checkValue: base64(checkValue) };
    };
    const right = await body(parameters);
    const gone = [404, 'import/not-found'];
    expect(await refusal(`/v1/keys/other-${wrapping}/import`, right)).toEqual(gone);
    expect(await refusal(`/v1/keys/${name}/import`, await body(replaced))).toEqual(gone);
    // Twice at once: one of them.
    const both = await Promise.all([1, 2].map(() => service.call('POST', `/v1/keys/${name}/import`, right)));
    const statuses = both.map(({ status }) => status).toSorted((a, b) => a - b);
    expect(statuses[0]).toBe(200);
    expect([404, 409]).toContain(statuses[1]);
    expect(await refusal(`/v1/keys/${name}/import`, right)).toEqual(gone);
    expect(await calls.must('GET', `/v1/keys/${name}`)).toMatchObject({ currentVersion: 1 });
  });

  /** Guarantees that a wrapped key that was changed, cut or made for another import is refused alike, and spends nothing. */
  test('forgeries', { timeout: 120_000 }, async () => {
    const name = `forged-${wrapping}`;
    await calls.createKey(name, { purpose: 'mac', origin: 'external' });
    const parameters = await client().getImportParameters({ key: name, wrapping });
    const { importId, wrappedKey } = await wrapKey(parameters, randomBytes(32));
    const [head, tail] = wrapping === rsa ? [512, 40] : [1120, 48];
    expect(wrappedKey).toHaveLength(head + tail);
    const forged = [
      ...[0, 8, 100, head * 8 - 1, head * 8, wrappedKey.length * 8 - 1].map((bit) =>
        flipped(wrappedKey, bit),
      ),
      ...[0, 1, head - 1, head, head + 8, wrappedKey.length - 1].map((end) => wrappedKey.subarray(0, end)),
      Buffer.concat([wrappedKey, Buffer.alloc(8)]),
      // Not below the modulus.
      Buffer.concat([Buffer.alloc(head, 0xff), wrappedKey.subarray(head)]),
      Buffer.alloc(wrappedKey.length),
    ];
    const texts = new Set<string>();
    for (const one of forged) {
      const answer = await service.call('POST', `/v1/keys/${name}/import`, {
        importId,
        wrappedKey: base64(one),
      });
      const { requestId: _, ...problem } = answer.body;
      texts.add(JSON.stringify(problem));
    }
    expect([...texts]).toEqual([expect.stringContaining('"code":"import/refused"')]);
    expect(await calls.must('GET', `/v1/keys/${name}`)).toMatchObject({ currentVersion: 0 });
    await calls.must('POST', `/v1/keys/${name}/import`, { importId, wrappedKey: base64(wrappedKey) });
  });
});

/** Guarantees that HPKE binds a key to what the README says, word for word: sealed for anything else it does not open. */
test('bound to its import', async () => {
  await calls.createKey('bound', { origin: 'external' });
  const parameters = await client().getImportParameters({ key: 'bound' });
  const { importId, keyId, algorithm, info } = parameters;
  const prefixed = (...fields: string[]) =>
    Buffer.concat(
      fields.flatMap((field) => {
        const length = Buffer.alloc(4);
        length.writeUInt32BE(Buffer.byteLength(field));
        return [length, Buffer.from(field)];
      }),
    );
  expect(Buffer.from(info ?? [])).toEqual(prefixed('stathera/import/v1', importId, keyId, algorithm));
  for (const other of [
    prefixed('stathera/import/v1', keyId, keyId, algorithm),
    prefixed('stathera/import/v1', importId, importId, algorithm),
    prefixed('stathera/import/v1', importId, keyId, 'aes-128-gcm'),
    Buffer.alloc(0),
  ]) {
    const astray = await wrapKey({ ...parameters, info: Uint8Array.from(other) }, randomBytes(32));
    const body = { importId, wrappedKey: base64(astray.wrappedKey) };
    expect(await refusal('/v1/keys/bound/import', body)).toEqual([400, 'import/refused']);
  }
  await client().importKey({ key: 'bound', ...(await wrapKey(parameters, randomBytes(32))) });
});

/** Guarantees that a key wrapped by OpenSSL's command is taken: what Vault and AWS tools send. */
test('wrapped by openssl', { timeout: 120_000 }, async () => {
  await calls.createKey('by-openssl', { algorithm: 'hmac-sha-384', origin: 'external' });
  const parameters = await calls.must('POST', '/v1/keys/by-openssl/import-parameters', { wrapping: rsa });
  const key = randomBytes(48);
  const wrappedKey = base64(wrapByOpenssl(String(parameters['publicKey']), key));
  const { importId } = parameters;
  await calls.must('POST', '/v1/keys/by-openssl/import', { importId, wrappedKey });
  const { mac } = await client().mac({ key: 'by-openssl', message: Buffer.from('x') });
  expect(Buffer.from(mac)).toEqual(createHmac('sha384', key).update('x').digest());
});

/** Guarantees that what opened is told from what did not: a key of another length, and a check value of another key. */
test('length and check value', async () => {
  await calls.createKey('checked', { origin: 'external' });
  const parameters = await client().getImportParameters({ key: 'checked' });
  const key = randomBytes(32);
  await expect(wrapKey(parameters, key.subarray(1))).rejects.toBeInstanceOf(RangeError);
  const short = await wrapKey({ ...parameters, keyBytes: 16 }, key.subarray(16));
  const right = await wrapKey(parameters, key);
  const send = (wrapped: typeof right) => ({
    importId: wrapped.importId,
    wrappedKey: base64(wrapped.wrappedKey),
    checkValue: base64(wrapped.checkValue),
  });
  const path = '/v1/keys/checked/import';
  expect(await refusal(path, send(short))).toEqual([400, 'request/invalid', '/wrappedKey']);
  const another = { ...send(right), checkValue: base64(randomBytes(5)) };
  expect(await refusal(path, another)).toEqual([400, 'request/invalid', '/checkValue']);
  const past = { ...send(right), expiresAt: '2020-01-01T00:00:00Z' };
  expect(await refusal(path, past)).toEqual([400, 'request/invalid', '/expiresAt']);
  const made = await calls.must('POST', path, send(right));
  // SP 800-38B by OpenSSL's command.
  const hexkey = `hexkey:${key.toString('hex')}`;
  const args = ['mac', '-cipher', 'AES-256-CBC', '-macopt', hexkey, '-binary', 'CMAC'];
  const cmac = execFileSync('/usr/bin/openssl', args, { input: Buffer.alloc(16) });
  expect(made['checkValue']).toBe(base64(cmac.subarray(0, 5)));
});

/** Guarantees that parameters and versions end when they should, and that the clock is asked at each use. */
test('expiry', async () => {
  await calls.createKey('expiring', { origin: 'external' });
  const until = async (done: () => Promise<boolean>) => {
    for (const deadline = Date.now() + 20_000; Date.now() < deadline; ) {
      if (await done()) return;
      await delay(20);
    }
    throw new Error('it did not come');
  };
  const short = await client().getImportParameters({ key: 'expiring', expiresInSeconds: 1 });
  const late = await wrapKey(short, randomBytes(32));
  await until(async () => Date.now() > Date.parse(short.expiresAt));
  const body = { importId: late.importId, wrappedKey: base64(late.wrappedKey) };
  expect(await refusal('/v1/keys/expiring/import', body)).toEqual([404, 'import/not-found']);

  const parameters = await client().getImportParameters({ key: 'expiring' });
  const expiresAt = new Date(Date.now() + 4000).toISOString();
  const wrapped = await wrapKey(parameters, randomBytes(32));
  await client().importKey({ key: 'expiring', ...wrapped, expiresAt });
  const sealed = await calls.encrypt('expiring', Buffer.from('for a while'));
  expect((await client().listKeyVersions({ key: 'expiring' })).items[0]).toMatchObject({ expiresAt });
  const expired = [409, 'key/version-expired'];
  const decrypt = { ciphertext: base64(sealed) };
  await until(async () => (await refusal('/v1/decrypt', decrypt))[1] === expired[1]);
  expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(expiresAt));
  expect(await refusal('/v1/keys/expiring/encrypt', { plaintext: '' })).toEqual(expired);
  const next = await client().getImportParameters({ key: 'expiring' });
  await client().importKey({ key: 'expiring', ...(await wrapKey(next, randomBytes(32))) });
  await calls.encrypt('expiring', Buffer.from('again'));
  expect(await refusal('/v1/decrypt', decrypt)).toEqual(expired);
});

/** Guarantees what an external key does before and between imports, and that made keys take imported versions, too. */
test('external and made keys', async () => {
  await calls.createKey('outside', { origin: 'external' });
  expect(await refusal('/v1/keys/outside/encrypt', { plaintext: '' })).toEqual([409, 'key/nothing-imported']);
  expect(await refusal('/v1/keys/outside/rotate', {})).toEqual([409, 'key/external']);
  expect((await client().listKeyVersions({ key: 'outside' })).items).toEqual([]);
  await calls.createKey('inside');
  const before = await calls.encrypt('inside', Buffer.from('before'));
  const parameters = await client().getImportParameters({ key: 'inside' });
  const imported = await client().importKey({
    key: 'inside',
    ...(await wrapKey(parameters, randomBytes(32))),
  });
  expect(imported).toMatchObject({ currentVersion: 2, origin: 'hsm' });
  const after = await calls.encrypt('inside', Buffer.from('after'));
  expect((await calls.decrypt(before)).toString()).toBe('before');
  expect((await calls.decrypt(after)).toString()).toBe('after');
  const rotated = await calls.must('POST', '/v1/keys/inside/rotate', {});
  expect(rotated).toMatchObject({ currentVersion: 3 });
  const origins = (await client().listKeyVersions({ key: 'inside' })).items.map(({ origin }) => origin);
  expect(origins).toEqual(['hsm', 'hpke-x-wing', 'hsm']);
  await calls.createKey('pair', { purpose: 'exchange' });
  expect(await refusal('/v1/keys/pair/import-parameters', {})).toEqual([409, 'key/wrong-purpose']);
  const external = { name: 'never-made', purpose: 'exchange', origin: 'external' };
  expect(await refusal('/v1/keys', external)).toEqual([400, 'request/invalid', '/origin']);
  const records = await auditRecords(service, { target: 'inside' });
  const told = records.filter(({ action }) => action.startsWith('import.'));
  expect(told.map(({ action, outcome }) => [action, outcome]).toReversed()).toEqual([
    ['import.parameters', 'allowed'],
    ['import.key', 'allowed'],
  ]);
});

/**
 * Guarantees that a kill between the steps loses nothing, and that one within a step leaves all or nothing of it: the
 * request that is sent again is answered, and there is one version.
 */
test('killed between the steps and in them', { timeout: 120_000 }, async () => {
  for (const afterMilliseconds of [0, 5, 20]) {
    const name = `killed-${afterMilliseconds}`;
    await calls.createKey(name, { purpose: 'mac', origin: 'external' });
    const parameters = await client().getImportParameters({ key: name });
    await service.kill();
    await start();
    const key = randomBytes(32);
    const wrapped = await wrapKey(parameters, key);
    const body = { importId: wrapped.importId, wrappedKey: base64(wrapped.wrappedKey) };
    const headers = { 'idempotency-key': `import-${name}` };
    const send = () => service.call('POST', `/v1/keys/${name}/import`, body, { headers });
    const sent = send().catch(() => undefined);
    await delay(afterMilliseconds);
    await service.kill();
    await sent;
    await start();
    const again = await send();
    expect([again.status, again.body['currentVersion']]).toEqual([200, 1]);
    expect(again.body['checkValue']).toBe(base64(wrapped.checkValue));
    expect(await refusal(`/v1/keys/${name}/import`, body)).toEqual([404, 'import/not-found']);
    const { mac } = await client().mac({ key: name, message: Buffer.from('x') });
    expect(Buffer.from(mac)).toEqual(createHmac('sha256', key).update('x').digest());
    expect(await calls.must('GET', `/v1/keys/${name}`)).toMatchObject({ currentVersion: 1 });
  }
});
