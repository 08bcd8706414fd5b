import pkcs11js from 'pkcs11js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { HsmRejected, type KeyRef } from '../../src/hsm/hsm.ts';
import { openPkcs11Hsm } from '../../src/hsm/pkcs11/adapter.ts';
import { type Cryptoki, type Handle, loadModule, slotsWithLabel } from '../../src/hsm/pkcs11/cryptoki.ts';
import { findRoot } from '../../src/hsm/pkcs11/login.ts';
import { moduleTraits, wrapMechanismOf } from '../../src/hsm/pkcs11/modules.ts';
import { knownKeyTemplate } from '../../src/hsm/pkcs11/objects.ts';
import type { Pkcs11Settings } from '../../src/hsm/pkcs11/settings.ts';
import { describeToken } from '../../src/hsm/pkcs11/token.ts';
import { makeKey, sameKeyAnew, type TestToken } from '../support/token.ts';

const nightly = process.env['STATHERA_TEST_SCALE'] === 'nightly';
const forgeries = nightly ? 100_000 : 20_000;
const handleLimit = 50;
const maxQueued = 4_000;
const nonce = new Uint8Array(12);
const aad = new Uint8Array(5);
const data = new Uint8Array(32).fill(3);

/** The process's module with a session of the test's own, logged in by the adapter. */
function ownSession({ settings }: TestToken): { cryptoki: Cryptoki; session: Handle; root: Handle } {
  const cryptoki = loadModule(settings.module);
  const [slot] = slotsWithLabel(cryptoki, settings.tokenLabel);
  if (slot === undefined) throw new Error('no slot');
  const session = cryptoki.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
  return { cryptoki, session, root: findRoot(cryptoki, session).root };
}

/** Where a module's row says that it does not refuse this, the row is held to that. */
function expectRefusal(refuses: boolean, attempt: () => unknown, code: RegExp): void {
  if (refuses) expect(attempt).toThrow(code);
  else expect(attempt).not.toThrow();
}

/**
 * What the adapter promises over every module.
 * @param open gives a token of its own, once a suite
 * @param quirks.local what CKA_LOCAL of the root reads; nothing depends on it
 */
export function pkcs11Contract(
  name: string,
  open: (change: Partial<Pkcs11Settings>) => Promise<TestToken>,
  { local }: { local: boolean } = { local: true },
): void {
  describe(name, () => {
    let token: TestToken;
    let kek: KeyRef;
    beforeAll(async () => {
      token = await open({ handleLimit, maxQueued });
      kek = await makeKey(token.hsm, 'kek');
    });
    afterAll(() => token.close());

    const seal = (key: KeyRef): Promise<Uint8Array> => token.hsm.encrypt(key, { nonce, aad, data });

    /** Guarantees that many first uses of a key unwrap it once. */
    test('300 parallel first uses unwrap once', async () => {
      const key = await makeKey(token.hsm, 'aes-256', kek);
      const before = token.hsm.status().handles.misses;
      const sealed = await Promise.all(Array.from({ length: 300 }, () => seal(key)));
      expect(new Set(sealed.map((bytes) => Buffer.from(bytes).toString('hex'))).size).toBe(1);
      expect(token.hsm.status().handles.misses).toBe(before + 1);
    });

    /** Guarantees the bound of the handle cache, and right answers while keys fall out under load. */
    test('the handle bound holds while keys fall out in use', async () => {
      const keys: KeyRef[] = [];
      for (let index = 0; index < 4 * handleLimit; index++)
        keys.push(await makeKey(token.hsm, 'aes-256', kek));
      const expected = await Promise.all(keys.map(seal));
      await Promise.all(
        Array.from({ length: 2_000 }, async (_, index) => {
          const at = (index * 7919) % keys.length;
          const key = keys[at];
          const answer = expected[at];
          if (key === undefined || answer === undefined) throw new Error('no key');
          expect(await seal(key)).toEqual(answer);
          expect(token.hsm.status().handles.cached).toBeLessThanOrEqual(handleLimit);
        }),
      );
      expect(token.hsm.status().handles.misses).toBeGreaterThan(4 * handleLimit);
    });

    /** Guarantees that the queue refuses what is beyond its bound at once, and serves what it took. */
    test('the queue is bounded', async () => {
      const key = await makeKey(token.hsm, 'aes-256', kek);
      const outcomes = await Promise.allSettled(Array.from({ length: maxQueued + 500 }, () => seal(key)));
      const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
      expect(refused).toHaveLength(500);
      for (const { reason } of refused)
        expect(reason).toMatchObject({ code: 'service/overloaded', retryAfterSeconds: 1 });
      expect(token.hsm.status().queued).toBe(0);
    });

    /**
     * Guarantees that forgeries at full rate neither stop good traffic, of which every call is right, nor make the
     * device look broken.
     */
    test(`${forgeries} forgeries leave the adapter ready`, {
      timeout: nightly ? 300_000 : 60_000,
    }, async () => {
      const { hsm } = token;
      const key = await makeKey(hsm, 'aes-256', kek);
      const sealed = await seal(key);
      const forged = Uint8Array.from(sealed);
      forged[0] = (forged[0] ?? 0) ^ 1;
      const generation = hsm.status().generation;
      const counts = { refused: 0, right: 0 };
      async function forger(): Promise<void> {
        while (counts.refused < forgeries) {
          counts.refused += 1;
          await expect(hsm.decrypt(key, { nonce, aad, data: forged })).rejects.toBeInstanceOf(HsmRejected);
        }
      }
      async function client(): Promise<void> {
        while (counts.refused < forgeries) {
          expect(await hsm.decrypt(key, { nonce, aad, data: sealed })).toEqual(data);
          expect(await seal(key)).toEqual(sealed);
          counts.right += 2;
        }
      }
      const since = performance.now();
      await Promise.all([...Array.from({ length: 64 }, forger), client(), client()]);
      const perSecond = Math.round((1_000 * forgeries) / (performance.now() - since));
      process.stdout.write(
        `forgeries refused: ${perSecond}/s, with ${counts.right} right answers beside them\n`,
      );
      expect(counts.right).toBeGreaterThan(forgeries / 100);
      expect(hsm.status()).toMatchObject({ state: 'ready', generation });
    });

    /** Guarantees that forged blobs at a rate leave the adapter ready, under the root and under a KEK. */
    test('2,000 forged blobs leave the adapter ready', async () => {
      const key = await makeKey(token.hsm, 'aes-256', kek);
      const blob = new Uint8Array(40).fill(1);
      const forged = [sameKeyAnew(key, blob), { ...sameKeyAnew(key, blob), under: 'root' as const }];
      const attempts = Array.from({ length: 1_000 }, () => forged.map((ref) => seal(sameKeyAnew(ref))));
      for (const outcome of await Promise.allSettled(attempts.flat())) {
        expect(outcome.status === 'rejected' && outcome.reason).toBeInstanceOf(HsmRejected);
      }
      expect(token.hsm.status().state).toBe('ready');
      await token.hsm.probe();
    });

    /** Guarantees that slow calls do not hold up the fast lane: a thousand generations and encryption meanwhile. */
    test('the fast lane does not wait for the slow one', async () => {
      const key = await makeKey(token.hsm, 'aes-256', kek);
      await seal(key);
      let slowDone = false;
      const slow = Promise.all(Array.from({ length: 2_000 }, () => token.hsm.generate('aes-256', kek))).then(
        () => {
          slowDone = true;
        },
      );
      await seal(key);
      expect(slowDone).toBe(false);
      await slow;
    });

    /** Guarantees that one process opens one HSM: a second open would break the first. */
    test('a second open in the process is refused', async () => {
      await expect(openPkcs11Hsm(token.settings)).rejects.toMatchObject({ code: 'internal' });
      await token.hsm.probe();
    });

    /** Guarantees that whoever is logged in still cannot read, wrap, or loosen the root, or use it to encrypt. */
    test('the root does not leave the token', async () => {
      const { cryptoki, session, root } = ownSession(token);
      const value = [{ type: pkcs11js.CKA_VALUE }];
      expect(() => cryptoki.C_GetAttributeValue(session, root, value)).toThrow(/CKR_ATTRIBUTE_SENSITIVE/);
      const wrapper = cryptoki.C_CreateObject(
        session,
        knownKeyTemplate('aes', Buffer.alloc(32, 1), ['wrap']),
      );
      const mechanism = { mechanism: wrapMechanismOf(token.settings) };
      const traits = moduleTraits(token.settings.module);
      const wrapping = (): Buffer => cryptoki.C_WrapKey(session, mechanism, wrapper, root, Buffer.alloc(64));
      expectRefusal(traits.keepsUnextractable, wrapping, /CKR_KEY_UNEXTRACTABLE/);
      const loosened = [{ type: pkcs11js.CKA_EXTRACTABLE, value: true }];
      expect(() => cryptoki.C_SetAttributeValue(session, root, loosened)).toThrow(/CKR_/);
      expect(() => cryptoki.C_EncryptInit(session, { mechanism: pkcs11js.CKM_AES_ECB }, root)).toThrow(
        /CKR_/,
      );
      const unpadded = { mechanism: pkcs11js.CKM_AES_KEY_WRAP };
      const otherwise = (): Buffer => cryptoki.C_WrapKey(session, unpadded, root, wrapper, Buffer.alloc(64));
      expectRefusal(traits.rootAllowedMechanisms, otherwise, /CKR_/);
      cryptoki.C_CloseSession(session);
      const { root: described, mechanisms } = await describeToken(token.settings);
      expect(described.attributes).toEqual({
        token: true,
        private: true,
        sensitive: true,
        alwaysSensitive: true,
        extractable: false,
        neverExtractable: true,
        local,
        wrap: true,
        unwrap: true,
        encrypt: false,
        decrypt: false,
        sign: false,
        verify: false,
        derive: false,
        valueBytes: 32,
      });
      expect(described.id).toBe(token.hsm.rootId);
      expect(mechanisms.filter((mechanism) => !mechanism.present)).toEqual([]);
    });

    /** Guarantees that keys in use are neither readable nor wrappable, and each has the usages of its kind only. */
    test('keys in use do not leave the token', async () => {
      for (const kind of ['aes-256', 'hmac-256', 'hmac-512', 'cmac-256', 'cmac-128', 'aes-128'] as const) {
        const key = await makeKey(token.hsm, kind, kek);
        await (kind.includes('mac') ? token.hsm.mac(key, data) : seal(key));
      }
      // The slow lane works in order: after this it has destroyed what fell out before.
      await token.hsm.probe();
      const { cryptoki, session } = ownSession(token);
      const wrapper = cryptoki.C_CreateObject(
        session,
        knownKeyTemplate('aes', Buffer.alloc(32, 1), ['wrap']),
      );
      cryptoki.C_FindObjectsInit(session, [
        { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_SECRET_KEY },
        { type: pkcs11js.CKA_TOKEN, value: false },
        { type: pkcs11js.CKA_EXTRACTABLE, value: false },
      ]);
      const inUse = cryptoki.C_FindObjects(session, 1_000);
      cryptoki.C_FindObjectsFinal(session);
      expect(inUse.length).toBeGreaterThanOrEqual(5);
      const mechanism = { mechanism: wrapMechanismOf(token.settings) };
      for (const key of inUse) {
        expect(() => cryptoki.C_GetAttributeValue(session, key, [{ type: pkcs11js.CKA_VALUE }])).toThrow(
          /CKR_ATTRIBUTE_SENSITIVE/,
        );
        const wrapping = (): Buffer =>
          cryptoki.C_WrapKey(session, mechanism, wrapper, key, Buffer.alloc(128));
        const { keepsUnextractable } = moduleTraits(token.settings.module);
        expectRefusal(keepsUnextractable, wrapping, /CKR_KEY_UNEXTRACTABLE/);
        const usage = (type: number): boolean => {
          const [attribute] = cryptoki.C_GetAttributeValue(session, key, [{ type }]);
          return Buffer.isBuffer(attribute?.value) && attribute.value[0] === 1;
        };
        const roles = [usage(pkcs11js.CKA_ENCRYPT), usage(pkcs11js.CKA_SIGN), usage(pkcs11js.CKA_WRAP)];
        expect(roles.filter(Boolean)).toHaveLength(1);
        expect(usage(pkcs11js.CKA_DERIVE)).toBe(false);
      }
      cryptoki.C_CloseSession(session);
    });

    /** Guarantees that what has fallen out of the cache is gone from the token as well: no object is left behind. */
    test('objects do not pile up in the token', async () => {
      for (let index = 0; index < 3 * handleLimit; index++)
        await seal(await makeKey(token.hsm, 'aes-256', kek));
      // The slow lane works in order: after this it has destroyed what fell out before.
      await token.hsm.probe();
      const { cryptoki, session } = ownSession(token);
      cryptoki.C_FindObjectsInit(session, [{ type: pkcs11js.CKA_TOKEN, value: false }]);
      const objects = cryptoki.C_FindObjects(session, 10_000);
      cryptoki.C_FindObjectsFinal(session);
      cryptoki.C_CloseSession(session);
      // Cached keys, KEKs, and the two known keys of the probes.
      expect(objects.length).toBeLessThanOrEqual(handleLimit + 20);
    });

    /** Guarantees that close serves what was accepted, refuses what comes after, and may be called twice. */
    test('close drains', async () => {
      const key = await makeKey(token.hsm, 'aes-256', kek);
      const accepted = Array.from({ length: 1_000 }, () => seal(key));
      const slow = token.hsm.generate('aes-256', kek);
      const closing = token.hsm.close();
      await expect(seal(key)).rejects.toMatchObject({ code: 'hsm/unavailable' });
      expect(await Promise.all(accepted)).toHaveLength(1_000);
      expect(await slow).toHaveLength(40);
      await closing;
      await token.hsm.close();
      expect(token.hsm.status().state).toBe('closed');
      await expect(seal(key)).rejects.toMatchObject({ code: 'hsm/unavailable' });
      await expect(token.hsm.probe()).rejects.toMatchObject({ code: 'hsm/unavailable' });
    });
  });
}
