import { createPublicKey, generateKeyPairSync, publicEncrypt } from 'node:crypto';
import pkcs11js from 'pkcs11js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Hsm, HsmRejected, type KeyRef } from '../../src/hsm/hsm.ts';
import { openPkcs11Hsm } from '../../src/hsm/pkcs11/adapter.ts';
import { loadModule, readOnlySession, slotsWithLabel } from '../../src/hsm/pkcs11/cryptoki.ts';
import { provisionToken, provisionTransportKey } from '../../src/hsm/pkcs11/token.ts';
import { findTransportKey } from '../../src/hsm/pkcs11/transport.ts';
import { makeKey, temporarySettings } from '../support/token.ts';

const [one, other] = [temporarySettings(), temporarySettings()];
let publicKey: Uint8Array;
let rootId: string;

beforeAll(async () => {
  await provisionToken(one.settings);
  await provisionToken(other.settings);
  ({ publicKey, rootId } = await provisionTransportKey(other.settings));
});
afterAll(() => {
  one.remove();
  other.remove();
});

async function within<T>({ settings }: typeof one, work: (hsm: Hsm) => Promise<T>): Promise<T> {
  const hsm = await openPkcs11Hsm(settings);
  try {
    return await work(hsm);
  } finally {
    await hsm.close();
  }
}

const data = Uint8Array.of(1, 2, 3);
const gcm = { nonce: new Uint8Array(12), aad: new Uint8Array(0), data };

/** Guarantees that a key handed over is the same key in the other token, of each kind of system key, and of no other. */
test('a key goes from one token to another', async () => {
  const sent = await within(one, async (hsm) => {
    const mac = await makeKey(hsm, 'hmac-256');
    const kek = await makeKey(hsm, 'kek');
    const under = await makeKey(hsm, 'aes-256', kek);
    return {
      under: under.blob,
      mac: { transported: await hsm.transport(mac, publicKey), made: await hsm.mac(mac, data) },
      kek: { transported: await hsm.transport(kek, publicKey), made: await hsm.encrypt(under, gcm) },
    };
  });
  await within(other, async (hsm) => {
    const taken = async (kind: 'hmac-256' | 'kek', transported: Uint8Array): Promise<KeyRef> => ({
      ...{ id: kind, kind, blob: await hsm.receive(kind, transported), under: 'root' },
    });
    expect(await hsm.mac(await taken('hmac-256', sent.mac.transported), data)).toEqual(sent.mac.made);
    const kek = await taken('kek', sent.kek.transported);
    const key: KeyRef = { id: 'under', kind: 'aes-256', blob: sent.under, under: kek };
    expect(await hsm.encrypt(key, gcm)).toEqual(sent.kek.made);
    expect(await hsm.receive('kek', sent.kek.transported)).toEqual(kek.blob);
  });
});

/** Guarantees that what is altered, cut, of another length or meant for another token is refused, and the device stays. */
test('what does not open is refused', async () => {
  const stranger = generateKeyPairSync('rsa', { modulusLength: 4096 }).publicKey;
  const strangersKey = new Uint8Array(stranger.export({ format: 'der', type: 'pkcs1' }));
  const [mine, strangers] = await within(one, async (hsm) => {
    const kek = await makeKey(hsm, 'kek');
    return [await hsm.transport(kek, publicKey), await hsm.transport(kek, strangersKey)];
  });
  const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'pkcs1' });
  const short = Uint8Array.from(publicEncrypt({ key, oaepHash: 'sha1' }, Buffer.alloc(16, 1)));
  const altered = mine?.map((byte, at) => (at === 100 ? byte ^ 1 : byte));
  await within(other, async (hsm) => {
    for (const wrong of [altered, strangers, short, mine?.subarray(1), new Uint8Array(0)])
      await expect(hsm.receive('kek', wrong ?? data)).rejects.toBeInstanceOf(HsmRejected);
    expect(hsm.status().state).toBe('ready');
    expect(await hsm.receive('kek', mine ?? data)).toHaveLength(40);
  });
  await within(one, async (hsm) => {
    await expect(hsm.receive('kek', mine ?? data)).rejects.toBeInstanceOf(HsmRejected);
    expect(hsm.status().state).toBe('ready');
  });
});

/** Guarantees that only a secret key is handed over, and only to RSA-4096. */
test('a pair is not handed over, nor anything to a weak key', async () => {
  const weak = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey;
  const weakKey = new Uint8Array(weak.export({ format: 'der', type: 'pkcs1' }));
  await within(one, async (hsm) => {
    const kek = await makeKey(hsm, 'kek');
    await expect(hsm.transport(kek, weakKey)).rejects.toThrow(RangeError);
    const pair: KeyRef = { ...kek, id: 'pair', kind: 'rsa-2048' };
    await expect(hsm.transport(pair, publicKey)).rejects.toThrow(RangeError);
  });
});

/** Guarantees that the transport key is made once, never leaves its token, and can do nothing but unwrap. */
test('the transport key stays in its token', async () => {
  expect(await provisionTransportKey(other.settings)).toEqual({ rootId, publicKey });
  await within(other, async () => {
    const cryptoki = loadModule(other.settings.module);
    const [slot] = slotsWithLabel(cryptoki, other.settings.tokenLabel);
    const session = cryptoki.C_OpenSession(slot ?? Buffer.alloc(8), readOnlySession);
    const key = findTransportKey(cryptoki, session, rootId) ?? Buffer.alloc(8);
    const flag = (type: number) => cryptoki.C_GetAttributeValue(session, key, [{ type }])[0]?.value;
    const yes = ['TOKEN', 'PRIVATE', 'SENSITIVE', 'ALWAYS_SENSITIVE', 'NEVER_EXTRACTABLE', 'UNWRAP'] as const;
    for (const name of yes) expect([name, flag(pkcs11js[`CKA_${name}`])]).toEqual([name, Buffer.of(1)]);
    const no = ['EXTRACTABLE', 'DECRYPT', 'SIGN', 'DERIVE'] as const;
    for (const name of no) expect([name, flag(pkcs11js[`CKA_${name}`])]).toEqual([name, Buffer.of(0)]);
    cryptoki.C_CloseSession(session);
  });
});
