import { constants, createHash, createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { HsmRejected, type KeyRef, type PairKind, pairKinds } from '../../src/hsm/hsm.ts';
import { makeKey, openTestToken, type TestToken } from '../support/token.ts';

let token: TestToken;
let kek: KeyRef;
const pairs = new Map<PairKind, { ref: KeyRef; publicKey: Uint8Array }>();

beforeAll(async () => {
  token = await openTestToken();
  kek = await makeKey(token.hsm, 'kek');
  for (const kind of pairKinds) {
    const { blob, publicKey } = await token.hsm.generatePair(kind, kek);
    pairs.set(kind, { ref: { id: `pair-${kind}`, kind, blob, under: kek }, publicKey });
  }
}, 300_000);
afterAll(() => token.close());

const message = Buffer.from('a message');
const digestOf = (hash: string) => createHash(hash).update(message).digest();
function pair(kind: PairKind) {
  const found = pairs.get(kind);
  if (found === undefined) throw new Error('no pair');
  return found;
}

const curves = { 'ec-p256': 'P-256', 'ec-p384': 'P-384', 'ec-p521': 'P-521', 'ec-secp256k1': 'secp256k1' };

describe.each(Object.entries(curves))('%s', (name, namedCurve) => {
  const kind = name as PairKind;
  /** Guarantees that OpenSSL verifies what the token signs, under the public key that was given with the pair. */
  test.each(['sha256', 'sha384', 'sha512'])('signs a digest of %s', async (hash) => {
    const { ref, publicKey } = pair(kind);
    const signature = await token.hsm.sign(ref, 'ecdsa', digestOf(hash));
    const { publicKey: other } = generateKeyPairSync('ec', { namedCurve });
    const spki = other.export({ format: 'der', type: 'spki' });
    spki.set(publicKey, spki.length - publicKey.length);
    const key = createPublicKey({ key: spki, format: 'der', type: 'spki' });
    expect(verify(hash, message, { key, dsaEncoding: 'ieee-p1363' }, signature)).toBe(true);
    expect(verify(hash, Buffer.from('another'), { key, dsaEncoding: 'ieee-p1363' }, signature)).toBe(false);
  });
});

describe.each(['rsa-2048', 'rsa-3072', 'rsa-4096'] as const)('%s', (kind) => {
  /** Guarantees that OpenSSL verifies PSS and PKCS #1 v1.5 of the token, with the salt as long as the digest. */
  test.each([
    ['sha256', 32, '3031300d060960864801650304020105000420'],
    ['sha384', 48, '3041300d060960864801650304020205000430'],
    ['sha512', 64, '3051300d060960864801650304020305000440'],
  ] as const)('signs with %s', async (hash, saltLength, info) => {
    const { ref, publicKey } = pair(kind);
    const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'pkcs1' });
    const digest = digestOf(hash);
    const pss = await token.hsm.sign(ref, 'rsa-pss', digest);
    const padding = constants.RSA_PKCS1_PSS_PADDING;
    expect(verify(hash, message, { key, padding, saltLength }, pss)).toBe(true);
    const data = Buffer.concat([Buffer.from(info, 'hex'), digest]);
    expect(verify(hash, message, key, await token.hsm.sign(ref, 'rsa-pkcs1', data))).toBe(true);
  });
});

/** Guarantees that a pair is for its own mechanism and lengths, and that no other key signs. */
test('what does not fit', async () => {
  const digest = digestOf('sha256');
  const aes = await makeKey(token.hsm, 'aes-256', kek);
  const [ec, rsa] = [pair('ec-p256').ref, pair('rsa-2048').ref];
  await expect(token.hsm.sign(aes, 'ecdsa', digest)).rejects.toBeInstanceOf(RangeError);
  await expect(token.hsm.sign(kek, 'rsa-pss', digest)).rejects.toBeInstanceOf(RangeError);
  await expect(token.hsm.sign(ec, 'rsa-pss', digest)).rejects.toBeInstanceOf(RangeError);
  await expect(token.hsm.sign(rsa, 'ecdsa', digest)).rejects.toBeInstanceOf(RangeError);
  await expect(token.hsm.sign(ec, 'ecdsa', digest.subarray(1))).rejects.toBeInstanceOf(RangeError);
  await expect(token.hsm.sign(rsa, 'rsa-pkcs1', digest)).rejects.toBeInstanceOf(RangeError);
  const input = { nonce: new Uint8Array(12), aad: new Uint8Array(0), data: digest };
  await expect(token.hsm.encrypt(ec, input)).rejects.toBeInstanceOf(RangeError);
  await expect(token.hsm.mac(ec, digest)).rejects.toBeInstanceOf(RangeError);
  await expect(token.hsm.generatePair('ec-p256', aes)).rejects.toBeInstanceOf(RangeError);
});

/** Guarantees that a blob of another kind, under another KEK or with a bit changed signs nothing, and harms nothing. */
test('blobs that are none', async () => {
  const digest = digestOf('sha256');
  const { ref } = pair('ec-p256');
  const other = await makeKey(token.hsm, 'kek');
  const flipped = Uint8Array.from(ref.blob);
  flipped[20] = (flipped[20] ?? 0) ^ 1;
  const aes = await makeKey(token.hsm, 'aes-256', kek);
  const refs: KeyRef[] = [
    { ...ref, id: 'under another', under: other },
    { ...ref, id: 'flipped', blob: flipped },
    { ...ref, id: 'cut', blob: ref.blob.subarray(8) },
    { ...ref, id: 'of an AES key', blob: aes.blob },
    { ...ref, id: 'of RSA', blob: pair('rsa-2048').ref.blob },
    { ...ref, id: 'as AES', kind: 'aes-256' },
  ];
  for (const wrong of refs) {
    const use =
      wrong.kind === 'aes-256'
        ? token.hsm.encrypt(wrong, { nonce: new Uint8Array(12), aad: digest, data: digest })
        : token.hsm.sign(wrong, 'ecdsa', digest);
    await expect(use).rejects.toBeInstanceOf(HsmRejected);
  }
  const rsa: KeyRef = { ...pair('rsa-2048').ref, id: 'EC as RSA', blob: ref.blob };
  await expect(token.hsm.sign(rsa, 'rsa-pss', digest)).rejects.toBeInstanceOf(HsmRejected);
  expect(await token.hsm.sign(ref, 'ecdsa', digest)).toHaveLength(64);
  expect(token.hsm.status().state).toBe('ready');
});

/** Guarantees that a pair is wrapped anew and signs as before. */
test('rewrap keeps the pair', async () => {
  const target = await makeKey(token.hsm, 'kek');
  const { ref } = pair('rsa-2048');
  const moved: KeyRef = { ...ref, id: 'moved', blob: await token.hsm.rewrap(ref, target), under: target };
  const data = Buffer.concat([
    Buffer.from('3031300d060960864801650304020105000420', 'hex'),
    digestOf('sha256'),
  ]);
  expect(await token.hsm.sign(moved, 'rsa-pkcs1', data)).toEqual(
    await token.hsm.sign(ref, 'rsa-pkcs1', data),
  );
});

/** Guarantees that signatures and pairs under way hold up nothing short: AES goes on beside them. */
test('nothing short waits for signatures or pairs', async () => {
  const key = await makeKey(token.hsm, 'aes-256', kek);
  const input = { nonce: new Uint8Array(12), aad: new Uint8Array(0), data: message };
  await token.hsm.encrypt(key, input);
  const { ref } = pair('rsa-4096');
  const done = { signatures: false, pairs: false };
  const digest = digestOf('sha512');
  const signatures = Promise.all(
    Array.from({ length: 200 }, () => token.hsm.sign(ref, 'rsa-pss', digest)),
  ).then(() => {
    done.signatures = true;
  });
  const made = Promise.all(Array.from({ length: 4 }, () => token.hsm.generatePair('rsa-3072', kek))).then(
    () => {
      done.pairs = true;
    },
  );
  for (let round = 0; round < 10; round++) {
    await token.hsm.encrypt(key, input);
    await makeKey(token.hsm, 'aes-256', kek);
  }
  expect(done).toEqual({ signatures: false, pairs: false });
  await signatures;
  await made;
});
