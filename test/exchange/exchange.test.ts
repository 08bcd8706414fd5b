import { x25519 } from '@noble/curves/ed25519.js';
import { p256, p384 } from '@noble/curves/nist.js';
import { ml_kem768_x25519 } from '@noble/post-quantum/hybrid.js';
import { ml_kem512, ml_kem768, ml_kem1024 } from '@noble/post-quantum/ml-kem.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { auditRecords } from '../access/support.ts';
import { base64, bytes, driver, flipped } from '../envelope/support.ts';
import { startTestService, type TestService } from '../support/service.ts';
import { writtenConfirmation, writtenDerivation } from './support.ts';

let service: TestService;
let calls: ReturnType<typeof driver>;

beforeAll(async () => {
  service = await startTestService();
  calls = driver(service);
  for (const name of [...Object.keys(kems), ...Object.keys(groups)])
    await calls.createKey(name, { algorithm: name });
});
afterAll(() => service.dispose());

const kems = {
  'x-wing': { noble: ml_kem768_x25519, suite: 'x-wing/draft-connolly-cfrg-xwing-kem-10' },
  'ml-kem-512': { noble: ml_kem512, suite: 'ml-kem-512' },
  'ml-kem-768': { noble: ml_kem768, suite: 'ml-kem-768' },
  'ml-kem-1024': { noble: ml_kem1024, suite: 'ml-kem-1024' },
} as const;

const groups = {
  x25519: { keygen: x25519.keygen, shared: x25519.getSharedSecret },
  p256: {
    keygen: () => uncompressed(p256),
    shared: (secret: Uint8Array, peer: Uint8Array) => p256.getSharedSecret(secret, peer).slice(1),
  },
  p384: {
    keygen: () => uncompressed(p384),
    shared: (secret: Uint8Array, peer: Uint8Array) => p384.getSharedSecret(secret, peer).slice(1),
  },
} as const;

function uncompressed(curve: typeof p256) {
  const { secretKey } = curve.keygen();
  return { secretKey, publicKey: curve.getPublicKey(secretKey, false) };
}

async function member(path: string, name: string, body?: object): Promise<Buffer> {
  const method = body === undefined ? 'GET' : 'POST';
  return bytes(String((await calls.must(method, path, body))[name]));
}

async function codeOf(path: string, body: object): Promise<unknown> {
  const answer = await service.call('POST', path, body);
  return answer.body['code'] ?? answer.status;
}

describe.each(Object.entries(kems))('%s', (name, { noble, suite }) => {
  const at = (operation: string) => `/v1/keys/${name}/${operation}`;

  /** Guarantees that a secret made by other software with the public key is the service's too, with its confirmations. */
  test('encapsulated elsewhere', async () => {
    const shown = await calls.must('GET', at('public-key'));
    const publicKey = bytes(String(shown['publicKey']));
    expect(shown).toMatchObject({ algorithm: name, suite, keyVersion: 1 });
    const made = noble.encapsulate(Uint8Array.from(publicKey));
    const info = Buffer.from('a session');
    const written = { secret: made.sharedSecret, suite, publicKey, ciphertext: made.cipherText, info };
    const body = {
      ciphertext: base64(made.cipherText),
      info: base64(info),
      confirmation: base64(writtenConfirmation('encapsulator', written)),
    };
    const answer = base64(writtenConfirmation('decapsulator', written));
    expect(await calls.must('POST', at('decapsulate'), body)).toMatchObject({
      ...{ sharedSecret: base64(made.sharedSecret), confirmation: answer, keyVersion: 1 },
    });
    const confirmed = await calls.must('POST', at('confirm'), body);
    expect(Object.keys(confirmed).toSorted()).toEqual(['confirmation', 'keyId', 'keyVersion']);
    expect(confirmed['confirmation']).toBe(answer);
  });

  /** Guarantees that both sides through the service have one secret and each other's confirmation. */
  test('encapsulated here', async () => {
    const made = await calls.must('POST', at('encapsulate'), {});
    const { ciphertext, confirmation, sharedSecret, expectedConfirmation } = made;
    const opened = await calls.must('POST', at('decapsulate'), { ciphertext, confirmation });
    expect(opened['sharedSecret']).toBe(sharedSecret);
    expect(opened['confirmation']).toBe(expectedConfirmation);
    expect(confirmation).not.toBe(expectedConfirmation);
    const again = await calls.must('POST', at('encapsulate'), {});
    expect(again['sharedSecret']).not.toBe(sharedSecret);
  });

  /** Guarantees that a changed ciphertext is another secret without a confirmation, and refused with one. */
  test('a changed ciphertext', async () => {
    const made = await calls.must('POST', at('encapsulate'), {});
    const ciphertext = base64(flipped(bytes(String(made['ciphertext'])), 77));
    const opened = await calls.must('POST', at('decapsulate'), { ciphertext });
    expect(opened['sharedSecret']).not.toBe(made['sharedSecret']);
    expect(opened['confirmation']).not.toBe(made['expectedConfirmation']);
    const { confirmation } = made;
    for (const operation of ['decapsulate', 'confirm'])
      expect(await codeOf(at(operation), { ciphertext, confirmation })).toBe('exchange/refused');
  });

  /** Guarantees one refusal for other lengths, other info, and the other side's role. */
  test('what does not fit', async () => {
    const made = await calls.must('POST', at('encapsulate'), { info: 'AAAA' });
    const { ciphertext, confirmation, expectedConfirmation } = made;
    const whole = bytes(String(ciphertext));
    const bodies = [
      { ciphertext, confirmation },
      { ciphertext, info: 'AAAB', confirmation },
      { ciphertext, info: 'AAAA', confirmation: expectedConfirmation },
      { ciphertext: '', info: 'AAAA', confirmation },
      { ciphertext: base64(whole.subarray(1)), info: 'AAAA', confirmation },
    ];
    for (const body of bodies) {
      expect(await codeOf(at('decapsulate'), body)).toBe('exchange/refused');
      expect(await codeOf(at('confirm'), body)).toBe('exchange/refused');
    }
    expect(await codeOf(at('confirm'), { ciphertext, info: 'AAAA', confirmation })).toBe(200);
  });
});

describe.each(Object.entries(groups))('%s', (name, { keygen, shared }) => {
  const at = `/v1/keys/${name}/derive`;

  /** Guarantees the key that other software derives as the README has it. */
  test('derived elsewhere too', async () => {
    const publicKey = await member(`/v1/keys/${name}/public-key`, 'publicKey');
    for (const more of [{}, { bytes: 16 }, { info: Buffer.from('info'), bytes: 1024 }]) {
      const peer = keygen();
      const body = {
        ...{ peerPublicKey: base64(peer.publicKey), label: 'a label' },
        ...more,
        ...('info' in more && { info: base64(more.info) }),
      };
      const expected = writtenDerivation(
        ...[shared(peer.secretKey, Uint8Array.from(publicKey)), name],
        ...[[publicKey, peer.publicKey] as const, { label: 'a label', ...more }],
      );
      expect((await member(at, 'derived', body)).equals(expected)).toBe(true);
    }
  });

  /** Guarantees that two keys of the service agree, each from its side, and with another label on something else. */
  test('both sides in the service', async () => {
    const other = `${name}-other`;
    await calls.createKey(other, { algorithm: name });
    const own = base64(await member(`/v1/keys/${name}/public-key`, 'publicKey'));
    const peer = base64(await member(`/v1/keys/${other}/public-key`, 'publicKey'));
    const one = await member(at, 'derived', { peerPublicKey: peer, label: 'a' });
    const same = { peerPublicKey: own, label: 'a' };
    expect(await member(`/v1/keys/${other}/derive`, 'derived', same)).toEqual(one);
    expect(await member(at, 'derived', { peerPublicKey: peer, label: 'b' })).not.toEqual(one);
  });

  /** Guarantees one refusal for what is no public key of the curve, or a weak one. */
  test('peers that are none', async () => {
    const good = Buffer.from(keygen().publicKey);
    const low = ['00', '01'].map((byte) => Buffer.from(byte.padEnd(64, '0'), 'hex'));
    const high = Buffer.from(good);
    high[31] = (high[31] ?? 0) | 0x80;
    const prime = Buffer.alloc(32, 0xff);
    [prime[0], prime[31]] = [0xf0, 0x7f];
    const compressed = Buffer.concat([Buffer.of(2), good.subarray(1, (good.length + 1) / 2)]);
    const hybrid = Buffer.concat([Buffer.of(6 + ((good.at(-1) ?? 0) & 1)), good.subarray(1)]);
    const none =
      name === 'x25519'
        ? [...low, high, prime]
        : [flipped(good, 80), compressed, hybrid, Buffer.of(0), Buffer.alloc(good.length)];
    for (const peer of [...none, good.subarray(1), Buffer.alloc(0)])
      expect(await codeOf(at, { peerPublicKey: base64(peer), label: 'a' })).toBe('exchange/refused');
    expect(await codeOf(at, { peerPublicKey: base64(good), label: 'a' })).toBe(200);
  });
});

/** Guarantees that operations are recorded with key and version, and nothing of what they were about. */
test('records', async () => {
  const made = await calls.must('POST', '/v1/keys/x-wing/encapsulate', {});
  await calls.must('POST', '/v1/keys/x-wing/decapsulate', { ciphertext: made['ciphertext'] });
  await codeOf('/v1/keys/x-wing/confirm', { ciphertext: 'AAAA', confirmation: made['confirmation'] });
  for (const [action, outcome] of [
    ['exchange.encapsulate', 'allowed'],
    ['exchange.decapsulate', 'allowed'],
    ['exchange.confirm', 'refused'],
  ] as const) {
    const [record] = await auditRecords(service, { action });
    expect(record).toMatchObject({ outcome, target: { kind: 'key', name: 'x-wing', version: 1 } });
    const text = JSON.stringify(record);
    for (const secret of ['sharedSecret', 'ciphertext', 'confirmation'])
      expect(text).not.toContain(String(made[secret]).slice(0, 20));
  }
});
