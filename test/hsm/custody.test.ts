import type { Mechanism } from 'pkcs11js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Cryptoki, type Handle, initializeModule, loadModule } from '../../src/hsm/pkcs11/cryptoki.ts';
import { wrapMechanismOf } from '../../src/hsm/pkcs11/modules.ts';
import { createRevocation } from '../../src/hsm/pkcs11/revocation.ts';
import { openSlowSession } from '../../src/hsm/pkcs11/slow-session.ts';
import { provisionToken } from '../../src/hsm/pkcs11/token.ts';
import { temporarySettings } from '../support/token.ts';

const place = temporarySettings();
const { settings } = place;
let cryptoki: Cryptoki;
beforeAll(async () => {
  await provisionToken(settings);
  process.env['SOFTHSM2_CONF'] = settings.softhsmConf;
  cryptoki = loadModule(settings.module);
  initializeModule(cryptoki, settings);
});
afterAll(() => {
  cryptoki?.C_Finalize();
  place.remove();
});

type Wrap = (session: Handle, mechanism: Mechanism, by: Handle, key: Handle, wrapped: Buffer) => Buffer;

/** SoftHSM, but for one call. */
function openWith(changed: { C_WrapKey?: Wrap; C_CopyObject?: Cryptoki['C_CopyObject'] }): unknown {
  const through: Cryptoki = new Proxy(cryptoki, {
    get(target, name) {
      const value: unknown = Reflect.get(changed, name) ?? Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const slow = { ...settings, wrapMechanism: wrapMechanismOf(settings), revocation: createRevocation() };
  return openSlowSession(through, slow, 1, () => undefined);
}

const refusal = 'gives out keys that must not leave it';

/** Guarantees that a module which wraps unextractable keys is not used, unless its row says that it does. */
test('a module that wraps unextractable keys is refused', () => {
  const wrapsAll: Wrap = (...args) => {
    try {
      return cryptoki.C_WrapKey(...args);
    } catch {
      return Buffer.alloc(40);
    }
  };
  expect(() => openWith({ C_WrapKey: wrapsAll })).toThrow(refusal);
});

/** Guarantees the same of one that makes an extractable copy. */
test('a module that copies unextractable keys as extractable is refused', () => {
  const copiesAll: Cryptoki['C_CopyObject'] = (session, key) => cryptoki.C_CopyObject(session, key, []);
  expect(() => openWith({ C_CopyObject: copiesAll })).toThrow(refusal);
});

/** Guarantees that the two tests above fail for that reason alone. */
test('the module as it is opens', () => {
  expect(openWith({})).toMatchObject({ generation: 1 });
});
