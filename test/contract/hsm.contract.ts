import {
  constants,
  createCipheriv,
  createHmac,
  createPublicKey,
  createSecretKey,
  publicEncrypt,
} from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deriveCounterMode } from '../../src/crypto/kdf.ts';
import { type Hsm, HsmRejected, type KeyKind, type KeyRef } from '../../src/hsm/hsm.ts';
import { referenceCmacBlock } from '../support/reference-aead.ts';
import { type KnownKek, makeKey, sameKeyAnew } from '../support/token.ts';

/** One HSM to hold against the contract. */
export interface HsmUnderTest {
  readonly hsm: Hsm;
  importKek(value?: Uint8Array): KnownKek;
  close(): Promise<void>;
}

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const nonce = new Uint8Array(12).fill(9);
const aad = text('record 1');
const kinds = ['aes-128', 'aes-256'] as const;
const importable = [
  ...([
    ['aes-128', 16],
    ['aes-256', 32],
    ['hmac-256', 32],
    ['hmac-384', 48],
  ] as const),
  ...([
    ['hmac-512', 64],
    ['cmac-128', 16],
    ['cmac-256', 32],
  ] as const),
] as const;
const macKinds = ['hmac-256', 'hmac-384', 'hmac-512', 'cmac-128', 'cmac-256'] as const;

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  const at = Math.floor(bit / 8) % copy.length;
  copy[at] = (copy[at] ?? 0) ^ (1 << (bit % 8));
  return copy;
}

/** What every adapter of the port hsm/hsm.ts promises. @param open gives an HSM that is ready, once a suite */
export function hsmContract(name: string, open: () => Promise<HsmUnderTest>): void {
  describe(name, () => {
    let under: HsmUnderTest;
    let hsm: Hsm;
    let kek: KeyRef;
    beforeAll(async () => {
      under = await open();
      hsm = under.hsm;
      kek = await makeKey(hsm, 'kek');
    });
    afterAll(() => under.close());

    const data = text('a secret of some length');
    const seal = (key: KeyRef): Promise<Uint8Array> => hsm.encrypt(key, { nonce, aad, data });

    /** Guarantees that what was encrypted decrypts to itself, for every suite, AAD and length from nothing on. */
    test.each(kinds)('%s: random round trips', async (kind) => {
      const key = await makeKey(hsm, kind, kek);
      const input = fc.record({
        nonce: fc.uint8Array({ minLength: 12, maxLength: 12 }),
        aad: fc.uint8Array({ maxLength: 300 }),
        data: fc.oneof(
          fc.uint8Array({ maxLength: 200 }),
          fc.nat(65_536).map((length) => new Uint8Array(length).fill(length)),
        ),
      });
      await fc.assert(
        fc.asyncProperty(input, async (message) => {
          const sealed = await hsm.encrypt(key, message);
          expect(sealed.length).toBe(message.data.length + 16);
          const opened = await hsm.decrypt(key, { ...message, data: sealed });
          expect(Buffer.from(opened).equals(message.data)).toBe(true);
        }),
        { numRuns: 60 },
      );
    });

    /** Guarantees the bounds are in reach: nothing at all, and 65,536 bytes. */
    test.each([0, 1, 15, 16, 17, 65_536])('%i bytes round trip', async (length) => {
      const key = await makeKey(hsm, 'aes-256', kek);
      const plaintext = new Uint8Array(length).fill(0xa5);
      const sealed = await hsm.encrypt(key, { nonce, aad: new Uint8Array(0), data: plaintext });
      const opened = await hsm.decrypt(key, { nonce, aad: new Uint8Array(0), data: sealed });
      expect(Buffer.from(opened).equals(plaintext)).toBe(true);
    });

    /** Guarantees that the ciphertext is AES-GCM as OpenSSL computes it, so data outlives the HSM's vendor. */
    test.each(kinds)('%s: agrees with another implementation', async (kind) => {
      const value = new Uint8Array(kind === 'aes-128' ? 16 : 32).fill(0x42);
      const key = under.importKek().importKey(kind, value);
      const cipher = createCipheriv(`${kind}-gcm` as 'aes-256-gcm', createSecretKey(value), nonce);
      const expected = Buffer.concat([cipher.setAAD(aad).update(data), cipher.final(), cipher.getAuthTag()]);
      expect(Buffer.from(await seal(key))).toEqual(expected);
    });

    /** Guarantees that no bit of nonce, AAD, ciphertext or tag can change unnoticed. */
    test('every flipped bit is rejected', async () => {
      const key = await makeKey(hsm, 'aes-256', kek);
      const sealed = await seal(key);
      const forgeries = [
        ...Array.from({ length: sealed.length * 8 }, (_, bit) => ({
          nonce,
          aad,
          data: flipped(sealed, bit),
        })),
        ...Array.from({ length: 96 }, (_, bit) => ({ nonce: flipped(nonce, bit), aad, data: sealed })),
        ...Array.from({ length: aad.length * 8 }, (_, bit) => ({
          nonce,
          aad: flipped(aad, bit),
          data: sealed,
        })),
      ];
      const outcomes = await Promise.allSettled(forgeries.map((forgery) => hsm.decrypt(key, forgery)));
      for (const outcome of outcomes) {
        expect(outcome.status === 'rejected' && outcome.reason).toBeInstanceOf(HsmRejected);
      }
      expect(await hsm.decrypt(key, { nonce, aad, data: sealed })).toEqual(data);
    });

    /** Guarantees that truncated, empty and extended ciphertexts are rejected. */
    test('other lengths are rejected', async () => {
      const key = await makeKey(hsm, 'aes-256', kek);
      const sealed = await seal(key);
      for (const wrong of [
        new Uint8Array(0),
        sealed.subarray(0, 15),
        sealed.subarray(1),
        new Uint8Array([...sealed, 0]),
      ]) {
        await expect(hsm.decrypt(key, { nonce, aad, data: wrong })).rejects.toBeInstanceOf(HsmRejected);
      }
    });

    /** Guarantees that another key of the same kind opens nothing. */
    test('another key is rejected', async () => {
      const [key, other] = [await makeKey(hsm, 'aes-256', kek), await makeKey(hsm, 'aes-256', kek)];
      await expect(hsm.decrypt(other, { nonce, aad, data: await seal(key) })).rejects.toBeInstanceOf(
        HsmRejected,
      );
    });

    /** Guarantees that a blob does not unwrap under another KEK, or the root. */
    test.each(['aes-256', 'hmac-256', 'kek'] as const)(
      '%s: a blob under another KEK is rejected',
      async (kind) => {
        const key = await makeKey(hsm, kind, kek);
        const other = await makeKey(hsm, 'kek');
        for (const wrong of [
          { ...sameKeyAnew(key), under: other },
          { ...sameKeyAnew(key), under: 'root' as const },
        ]) {
          await expect(hsm.rewrap(wrong, 'root')).rejects.toBeInstanceOf(HsmRejected);
          if (kind === 'aes-256') await expect(seal(wrong)).rejects.toBeInstanceOf(HsmRejected);
          if (kind === 'hmac-256') await expect(hsm.mac(wrong, data)).rejects.toBeInstanceOf(HsmRejected);
        }
      },
    );

    /** Guarantees that no bit of a blob can change unnoticed, nor its length. */
    test('a forged blob is rejected', async () => {
      const key = await makeKey(hsm, 'aes-256', kek);
      const forged = Array.from({ length: key.blob.length * 8 }, (_, bit) => flipped(key.blob, bit));
      const all = [...forged, key.blob.subarray(0, 32), new Uint8Array(0), new Uint8Array(1_000)];
      const outcomes = await Promise.allSettled(all.map((blob) => seal(sameKeyAnew(key, blob))));
      for (const outcome of outcomes) {
        expect(outcome.status === 'rejected' && outcome.reason).toBeInstanceOf(HsmRejected);
      }
    });

    /** Guarantees that a key is not taken for one of another length or used for another purpose. */
    test('a key of another kind is refused', async () => {
      const short = await makeKey(hsm, 'aes-128', kek);
      await expect(seal({ ...sameKeyAnew(short), kind: 'aes-256' })).rejects.toBeInstanceOf(HsmRejected);
      await expect(hsm.mac(short, data)).rejects.toBeInstanceOf(RangeError);
      const cmac = await makeKey(hsm, 'cmac-256', kek);
      await expect(seal(cmac)).rejects.toBeInstanceOf(RangeError);
      const input = { label: 'test/v1', context: aad, bytes: 32 };
      await expect(hsm.derive(cmac, input)).rejects.toBeInstanceOf(RangeError);
      await expect(seal(kek)).rejects.toBeInstanceOf(RangeError);
      await expect(hsm.generate('aes-256', short)).rejects.toBeInstanceOf(RangeError);
    });

    /** Guarantees that a rewrapped key is the same key, and the old blob is still good. */
    test('rewrap keeps the key', async () => {
      const target = await makeKey(hsm, 'kek');
      for (const kind of [...macKinds, 'aes-128', 'aes-256', 'kek'] satisfies KeyKind[]) {
        const key = await makeKey(hsm, kind, kek);
        const moved = { ...sameKeyAnew(key, await hsm.rewrap(key, target)), under: target };
        expect(moved.blob).not.toEqual(key.blob);
        if (kind.includes('mac-')) expect(await hsm.mac(moved, data)).toEqual(await hsm.mac(key, data));
        else if (kind === 'kek') {
          const inner = await makeKey(hsm, 'aes-256', key);
          expect(await seal({ ...sameKeyAnew(inner), under: moved })).toEqual(await seal(inner));
        } else expect(await seal(moved)).toEqual(await seal(key));
      }
    });

    /** Guarantees that a key from elsewhere is that key in the token, of every kind, and that another length is refused. */
    test('an imported key is the one that was given', async () => {
      const value = Uint8Array.from({ length: 64 }, (_, at) => at + 1);
      for (const [kind, bytes] of importable) {
        const given = value.slice(0, bytes);
        const blob = await hsm.importSecret(kind, given, kek);
        const imported: KeyRef = { id: `brought-${kind}`, kind, blob, under: kek };
        const known = under.importKek().importKey(kind, given);
        if (kind.startsWith('aes-')) expect(await seal(imported)).toEqual(await seal(known));
        else expect(await hsm.mac(imported, data)).toEqual(await hsm.mac(known, data));
        expect(given).toEqual(value.slice(0, bytes));
        await expect(hsm.importSecret(kind, value.slice(0, bytes - 1), kek)).rejects.toBeInstanceOf(
          RangeError,
        );
      }
    });

    /** Guarantees that RSA in the token undoes what OpenSSL does with the public key, and refuses what is no number of it. */
    test('rsa decrypts what its public key encrypts', { timeout: 120_000 }, async () => {
      const { blob, publicKey } = await hsm.generatePair('rsa-2048-decrypt', kek);
      const ref: KeyRef = { id: 'brought-rsa', kind: 'rsa-2048-decrypt', blob, under: kek };
      const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'pkcs1' });
      const raw = (number: Uint8Array) => publicEncrypt({ key, padding: constants.RSA_NO_PADDING }, number);
      for (const number of [Buffer.alloc(256, 0x17), Buffer.concat([Buffer.alloc(200), Buffer.alloc(56, 9)])])
        expect(Buffer.from(await hsm.decryptRsa(ref, raw(number)))).toEqual(number);
      const above = Buffer.alloc(256, 0xff);
      for (const wrong of [above, above.subarray(1), Buffer.alloc(0), Buffer.alloc(257)])
        await expect(hsm.decryptRsa(ref, wrong)).rejects.toBeInstanceOf(HsmRejected);
      await expect(hsm.sign(ref, 'rsa-pss', Buffer.alloc(32))).rejects.toBeInstanceOf(RangeError);
      const other = await makeKey(hsm, 'kek');
      const astray = { ...ref, id: 'brought-astray', under: other };
      await expect(hsm.decryptRsa(astray, raw(Buffer.alloc(256, 1)))).rejects.toBeInstanceOf(HsmRejected);
    });

    /** Guarantees that reencryption gives what decrypting and encrypting would, and rejects what decrypting would. */
    test('reencrypt equals decrypt and encrypt', async () => {
      const [from, to] = [await makeKey(hsm, 'aes-128', kek), await makeKey(hsm, 'aes-256', kek)];
      const sealed = await seal(from);
      const [newNonce, newAad] = [new Uint8Array(12).fill(1), text('record 2')];
      const target = { key: to, nonce: newNonce, aad: newAad };
      const moved = await hsm.reencrypt({ key: from, input: { nonce, aad, data: sealed } }, target);
      expect(moved).toEqual(await hsm.encrypt(to, { nonce: newNonce, aad: newAad, data }));
      const forged = { key: from, input: { nonce, aad, data: flipped(sealed, 3) } };
      await expect(hsm.reencrypt(forged, target)).rejects.toBeInstanceOf(HsmRejected);
      const committed = { key: from, input: { nonce, aad, data: sealed }, zeroPrefixBytes: 1 };
      await expect(hsm.reencrypt(committed, target)).rejects.toBeInstanceOf(HsmRejected);
      const zeros = await hsm.encrypt(from, { nonce, aad, data: new Uint8Array(4) });
      const padded = { key: from, input: { nonce, aad, data: zeros } };
      expect(await hsm.reencrypt({ ...padded, zeroPrefixBytes: 4 }, target)).toHaveLength(20);
      await expect(hsm.reencrypt({ ...padded, zeroPrefixBytes: 5 }, target)).rejects.toBeInstanceOf(
        HsmRejected,
      );
      const empty = await hsm.encrypt(from, { nonce, aad, data: new Uint8Array(0) });
      const movedEmpty = await hsm.reencrypt({ key: from, input: { nonce, aad, data: empty } }, target);
      expect(await hsm.decrypt(to, { nonce: newNonce, aad: newAad, data: movedEmpty })).toHaveLength(0);
    });

    /** Guarantees HMAC, SP 800-108 counter mode and AES-CMAC as OpenSSL's HMAC and AES give them. */
    test('mac and derive agree with another implementation', async () => {
      const value = new Uint8Array(32).fill(0x17);
      const key = under.importKek().importKey('hmac-256', value);
      const hmac = (message: Uint8Array): Buffer =>
        createHmac('sha256', createSecretKey(value)).update(message).digest();
      for (const message of [new Uint8Array(0), data, new Uint8Array(300_000).fill(1)]) {
        expect(Buffer.from(await hsm.mac(key, message))).toEqual(hmac(message));
      }
      for (const bytes of [1, 32, 33, 100]) {
        const input = { label: 'test/v1', context: aad, bytes };
        const expected = await deriveCounterMode(async (message) => hmac(message), input);
        expect(Buffer.from(await hsm.derive(key, input))).toEqual(Buffer.from(expected));
      }
      for (const [kind, hash, bytes] of [
        ['hmac-384', 'sha384', 48],
        ['hmac-512', 'sha512', 64],
      ] as const) {
        const longer = new Uint8Array(bytes).fill(0x18);
        const mac = await hsm.mac(under.importKek().importKey(kind, longer), data);
        expect(Buffer.from(mac)).toEqual(createHmac(hash, createSecretKey(longer)).update(data).digest());
      }
      const block = new Uint8Array(16).fill(0xf0);
      const cmac = await hsm.mac(under.importKek().importKey('cmac-256', value), block);
      expect(Buffer.from(cmac)).toEqual(referenceCmacBlock(value, block));
    });

    /** Guarantees random bytes in the length asked for, different each time. */
    test('random gives what was asked for', async () => {
      for (const bytes of [1, 32, 65_536]) expect(await hsm.random(bytes)).toHaveLength(bytes);
      expect(await hsm.random(32)).not.toEqual(await hsm.random(32));
      expect(new Set(await hsm.random(65_536)).size).toBe(256);
    });

    /** Guarantees that a sealed seed opens in its place and by its key only, and sealing never repeats itself. */
    test('a seed opens in its place only', async () => {
      const key = await makeKey(hsm, 'aes-256', kek);
      const seed = new Uint8Array(64).fill(5);
      const place = [text('v1'), 'ed25519'];
      const sealed = await hsm.sealSeed(key, place, seed);
      expect(sealed).toHaveLength(12 + 64 + 16);
      expect(await hsm.openSeed(key, place, sealed)).toEqual(seed);
      expect(await hsm.sealSeed(key, place, seed)).not.toEqual(sealed);
      const other = await makeKey(hsm, 'aes-256', kek);
      for (const elsewhere of [['v1', 'ml-dsa-65'], ['v1'], ['v1ed25519'], ['v', '1ed25519'], []]) {
        await expect(hsm.openSeed(key, elsewhere, sealed)).rejects.toBeInstanceOf(HsmRejected);
      }
      await expect(hsm.openSeed(other, place, sealed)).rejects.toBeInstanceOf(HsmRejected);
      await expect(hsm.openSeed(key, place, flipped(sealed, 100))).rejects.toBeInstanceOf(HsmRejected);
      await expect(hsm.openSeed(key, place, sealed.subarray(0, 27))).rejects.toBeInstanceOf(HsmRejected);
    });

    /** Guarantees that inputs may change as soon as the call has returned. */
    test('inputs are copied', async () => {
      const key = await makeKey(hsm, 'aes-256', kek);
      const input = { nonce: Uint8Array.from(nonce), aad: Uint8Array.from(aad), data: Uint8Array.from(data) };
      const sealing = hsm.encrypt(key, input);
      for (const part of Object.values(input)) part.fill(0xff);
      expect(await hsm.decrypt(key, { nonce, aad, data: await sealing })).toEqual(data);
    });

    /** Guarantees that sizes outside the port's bounds are refused by name before the device sees them. */
    test('wrong sizes are refused', async () => {
      const key = await makeKey(hsm, 'aes-256', kek);
      const tooLong = new Uint8Array(65_537);
      await expect(hsm.encrypt(key, { nonce, aad, data: tooLong })).rejects.toThrow(
        'data must be 0 to 65536 bytes',
      );
      await expect(hsm.encrypt(key, { nonce: new Uint8Array(11), aad, data })).rejects.toThrow(
        'nonce must be',
      );
      await expect(hsm.random(0)).rejects.toThrow('random must be');
      await expect(hsm.random(65_537)).rejects.toThrow('random must be');
    });

    /** Guarantees that an evicted key works again when it is next used, and eviction waits for its users. */
    test('evict drops the handle', async () => {
      const key = await makeKey(hsm, 'aes-256', kek);
      const before = hsm.status().handles.misses;
      const sealed = await seal(key);
      const busy = Array.from({ length: 100 }, () => hsm.decrypt(key, { nonce, aad, data: sealed }));
      await hsm.evict(key.id);
      expect(await Promise.all(busy)).toHaveLength(100);
      await hsm.evict('no such key');
      expect(await hsm.decrypt(key, { nonce, aad, data: sealed })).toEqual(data);
      expect(hsm.status().handles.misses).toBe(before + 2);
    });

    /** Guarantees that the status names the token and the root has a stable id. */
    test('status and probe', async () => {
      await hsm.probe();
      const status = hsm.status();
      expect(status).toMatchObject({ state: 'ready', queued: 0 });
      expect(status.handles.cached).toBeLessThanOrEqual(status.handles.limit);
      expect(hsm.rootId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
    });
  });
}
