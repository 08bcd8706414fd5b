import * as other from 'hpke';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { auditRecords } from '../access/support.ts';
import { base64, bytes, driver, flipped, withoutRequestId } from '../envelope/support.ts';
import { startTestService, type TestService } from '../support/service.ts';

let service: TestService;
let calls: ReturnType<typeof driver>;

const kems = {
  'x-wing': { factory: other.KEM_MLKEM768_X25519, text: 'x-wing/draft-connolly-cfrg-xwing-kem-10' },
  'ml-kem-768': { factory: other.KEM_ML_KEM_768, text: 'ml-kem-768/draft-ietf-hpke-pq-04' },
  x25519: { factory: other.KEM_DHKEM_X25519_HKDF_SHA256, text: 'dhkem-x25519-hkdf-sha256' },
  p256: { factory: other.KEM_DHKEM_P256_HKDF_SHA256, text: 'dhkem-p256-hkdf-sha256' },
} as const;
const aeads = {
  'aes-256-gcm': other.AEAD_AES_256_GCM,
  'aes-128-gcm': other.AEAD_AES_128_GCM,
  'chacha20-poly1305': other.AEAD_ChaCha20Poly1305,
  'export-only': other.AEAD_EXPORT_ONLY,
} as const;
type KemName = keyof typeof kems;

beforeAll(async () => {
  service = await startTestService();
  calls = driver(service);
  for (const name of Object.keys(kems)) await calls.createKey(name, { algorithm: name });
});
afterAll(() => service.dispose());

const message = Buffer.from('to be kept');
const plaintext = base64(message);
const info = base64(Buffer.from('an application'));
const aad = base64(Buffer.from('a row'));
const psk = { psk: base64(Buffer.alloc(32, 7)), pskId: base64(Buffer.from('which')) };

async function publicKeyOf(name: string): Promise<Buffer> {
  return bytes(String((await calls.must('GET', `/v1/keys/${name}/public-key`))['publicKey']));
}

/** The answer's code, and its text without what is of the request alone. */
async function answerOf(path: string, body: object): Promise<[unknown, string]> {
  const { status, text, body: answer } = await service.call('POST', path, body);
  return [answer['code'] ?? status, withoutRequestId(text)];
}

const codeOf = async (path: string, body: object) => (await answerOf(path, body))[0];

function suiteOf(kem: KemName, aead: keyof typeof aeads) {
  return new other.CipherSuite<other.Key>(kems[kem].factory, other.KDF_HKDF_SHA256, aeads[aead]);
}

describe.each(Object.keys(kems) as KemName[])('%s', (kem) => {
  const at = (operation: string) => `/v1/keys/${kem}/${operation}`;

  /** Guarantees that what other software seals to the public key opens, with each AEAD, with and without a PSK. */
  test('sealed elsewhere', async () => {
    for (const aead of ['aes-256-gcm', 'aes-128-gcm', 'chacha20-poly1305'] as const) {
      const theirs = suiteOf(kem, aead);
      const publicKey = await theirs.DeserializePublicKey(await publicKeyOf(kem));
      for (const shared of [undefined, psk]) {
        const options = { info: bytes(info), aad: bytes(aad) };
        const made = await theirs.Seal(publicKey, message, {
          ...options,
          ...(shared && { psk: bytes(shared.psk), pskId: bytes(shared.pskId) }),
        });
        const body = { enc: base64(made.encapsulatedSecret), ciphertext: base64(made.ciphertext) };
        const opened = await calls.must('POST', at('open'), { ...body, info, aad, aead, ...shared });
        expect(opened).toMatchObject({ plaintext, keyVersion: 1 });
      }
    }
  });

  /** Guarantees that the service opens what it sealed, each time otherwise, and tells the suite with its draft. */
  test('sealed here', async () => {
    const one = await calls.must('POST', at('seal'), { plaintext, info, aad });
    const two = await calls.must('POST', at('seal'), { plaintext, info, aad });
    expect(one['suite']).toBe(`hpke/${kems[kem].text}/hkdf-sha256/aes-256-gcm`);
    expect([one['enc'] === two['enc'], one['ciphertext'] === two['ciphertext']]).toEqual([false, false]);
    const { enc, ciphertext } = one;
    expect(await calls.must('POST', at('open'), { enc, ciphertext, info, aad })).toMatchObject({ plaintext });
    const large = base64(Buffer.alloc(720 * 1024, 3));
    const sealed = await calls.must('POST', at('seal'), { plaintext: large });
    const opening = { enc: sealed['enc'], ciphertext: sealed['ciphertext'] };
    expect((await calls.must('POST', at('open'), opening))['plaintext']).toBe(large);
  });

  /** Guarantees one answer, word for word, whatever about a sealed message is wrong. */
  test('what does not open', async () => {
    const { enc, ciphertext } = await calls.must('POST', at('seal'), { plaintext, info, aad, ...psk });
    const whole = { enc, ciphertext, info, aad, ...psk };
    expect(await codeOf(at('open'), whole)).toBe(200);
    const [raw, sealed] = [bytes(String(enc)), bytes(String(ciphertext))];
    const { psk: _, pskId: __, ...without } = whole;
    const bodies: object[] = [
      { ...whole, enc: base64(flipped(raw, 100)) },
      { ...whole, enc: base64(flipped(raw, raw.length * 8 - 9)) },
      { ...whole, enc: base64(raw.subarray(1)) },
      { ...whole, enc: '' },
      { ...whole, enc: base64(Buffer.alloc(raw.length)) },
      { ...whole, ciphertext: base64(flipped(sealed, 3)) },
      { ...whole, ciphertext: base64(sealed.subarray(0, 15)) },
      { ...whole, ciphertext: '' },
      { ...whole, info: aad },
      { ...whole, aad: info },
      { ...whole, aead: 'chacha20-poly1305' },
      { ...whole, pskId: info },
      { ...whole, psk: base64(Buffer.alloc(32, 8)) },
      without,
    ];
    const answers = await Promise.all(bodies.map((body) => answerOf(at('open'), body)));
    expect(new Set(answers.map(([code]) => code))).toEqual(new Set(['exchange/refused']));
    expect(new Set(answers.map(([, text]) => text)).size).toBe(1);
  });

  /** Guarantees that exported secrets are those of other software, on both sides, and of both sides here. */
  test('exports', async () => {
    const theirs = suiteOf(kem, 'export-only');
    const publicKey = await theirs.DeserializePublicKey(await publicKeyOf(kem));
    const made = await theirs.SendExport(publicKey, bytes(aad), 48, { info: bytes(info) });
    const body = { info, exporterContext: aad, bytes: 48 };
    const received = await calls.must('POST', at('receive-export'), {
      ...{ enc: base64(made.encapsulatedSecret), ...body },
    });
    expect(received['exported']).toBe(base64(made.exportedSecret));
    const sent = await calls.must('POST', at('send-export'), body);
    const again = await calls.must('POST', at('receive-export'), { enc: sent['enc'], ...body });
    expect([again['exported'], sent['suite']]).toEqual([
      sent['exported'],
      `hpke/${kems[kem].text}/hkdf-sha256/export-only`,
    ]);
    const otherwise = { enc: sent['enc'], ...body, exporterContext: info };
    expect((await calls.must('POST', at('receive-export'), otherwise))['exported']).not.toBe(
      sent['exported'],
    );
    expect(await codeOf(at('receive-export'), { ...body, enc: 'AAAA' })).toBe('exchange/refused');
  });
});

/** Guarantees that a message sealed as a key opens with that sender alone, and that base mode is no stand-in for it. */
test.for(['x25519', 'p256'] as const)('sealed as a key, %s', async (kem) => {
  const sender = `${kem}-sender`;
  await calls.createKey(sender, { algorithm: kem });
  const [recipientPublicKey, senderPublicKey] = (
    await Promise.all([publicKeyOf(kem), publicKeyOf(sender)])
  ).map(base64);
  const made = await calls.must('POST', `/v1/keys/${sender}/auth-seal`, {
    ...{ plaintext, info, recipientPublicKey, ...psk },
  });
  const { enc, ciphertext } = made;
  const opening = { enc, ciphertext, info, ...psk };
  const at = `/v1/keys/${kem}/open`;
  expect(await calls.must('POST', at, { ...opening, senderPublicKey })).toMatchObject({ plaintext });
  for (const body of [
    opening,
    { ...opening, senderPublicKey: recipientPublicKey },
    { ...opening, senderPublicKey: 'AAAA' },
  ])
    expect(await codeOf(at, body)).toBe('exchange/refused');
  const base = await calls.must('POST', `/v1/keys/${kem}/seal`, { plaintext, info });
  const claimed = { enc: base['enc'], ciphertext: base['ciphertext'], info, senderPublicKey };
  expect(await codeOf(at, claimed)).toBe('exchange/refused');
  const low = base64(Buffer.alloc(kem === 'x25519' ? 32 : 65));
  for (const recipient of [low, 'AAAA'])
    expect(await codeOf(`/v1/keys/${sender}/auth-seal`, { plaintext, recipientPublicKey: recipient })).toBe(
      'exchange/refused',
    );
});

/** Guarantees that after a rotation old messages open by their version alone, and that states hold. */
test('versions and states', async () => {
  await calls.createKey('turned', { purpose: 'exchange' });
  const old = await calls.must('POST', '/v1/keys/turned/seal', { plaintext });
  await calls.must('POST', '/v1/keys/turned/rotate', {});
  const fresh = await calls.must('POST', '/v1/keys/turned/seal', { plaintext });
  expect([old['keyVersion'], fresh['keyVersion']]).toEqual([1, 2]);
  const opening = { enc: old['enc'], ciphertext: old['ciphertext'] };
  const open = (body: object) => codeOf('/v1/keys/turned/open', { ...opening, ...body });
  expect([await open({ version: 1 }), await open({}), await open({ version: 3 })]).toEqual([
    ...[200, 'exchange/refused', 'key/not-found'],
  ]);
  const set = (path: string, state: string) => calls.must('PATCH', `/v1/keys/turned${path}`, { state });
  await set('/versions/1', 'decrypt-only');
  expect(await open({ version: 1 })).toBe(200);
  await set('/versions/1', 'disabled');
  expect(await open({ version: 1 })).toBe('key/version-disabled');
  await set('/versions/2', 'decrypt-only');
  const making = async () => [
    await codeOf('/v1/keys/turned/seal', { plaintext }),
    await codeOf('/v1/keys/turned/send-export', {}),
  ];
  expect(await making()).toEqual(['key/version-disabled', 'key/version-disabled']);
  await set('', 'disabled');
  expect(await making()).toEqual(['key/disabled', 'key/disabled']);
});

/** Guarantees that a pre-shared key comes with its id, and has the length that the RFC asks for. */
test('pre-shared keys that are none', async () => {
  for (const shared of [
    { psk: psk.psk },
    { pskId: psk.pskId },
    { ...psk, psk: base64(Buffer.alloc(31)) },
    { ...psk, pskId: '' },
  ])
    expect(await codeOf('/v1/keys/x25519/seal', { plaintext, ...shared })).toBe('request/invalid');
});

/** Guarantees records with key and version, of refusals too, and nothing of what was sealed. */
test('records', async () => {
  const { enc, ciphertext } = await calls.must('POST', '/v1/keys/x-wing/seal', { plaintext, aad });
  await calls.must('POST', '/v1/keys/x-wing/open', { enc, ciphertext, aad });
  const [allowed] = await auditRecords(service, { action: 'exchange.open' });
  await codeOf('/v1/keys/x-wing/open', { enc, ciphertext });
  const [refused] = await auditRecords(service, { action: 'exchange.open' });
  const [sealed] = await auditRecords(service, { action: 'exchange.seal' });
  expect([allowed, refused, sealed]).toMatchObject(
    ['allowed', 'refused', 'allowed'].map((outcome) => ({
      ...{ outcome, target: { kind: 'key', name: 'x-wing', version: 1 } },
    })),
  );
  const text = JSON.stringify([allowed, refused, sealed]);
  for (const part of [enc, ciphertext, plaintext, aad]) expect(text).not.toContain(String(part).slice(0, 12));
});
