import { createCipheriv, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Hsm, KeyKind, KeyRef, SecretKind } from '../../src/hsm/hsm.ts';
import { openPkcs11Hsm } from '../../src/hsm/pkcs11/adapter.ts';
import { loadModule, readOnlySession, slotsWithLabel } from '../../src/hsm/pkcs11/cryptoki.ts';
import { findRoot } from '../../src/hsm/pkcs11/login.ts';
import { wrapMechanismOf } from '../../src/hsm/pkcs11/modules.ts';
import { knownKeyTemplate } from '../../src/hsm/pkcs11/objects.ts';
import {
  type HsmLog,
  type LinkLimits,
  type Pkcs11Settings,
  pkcs11Defaults,
} from '../../src/hsm/pkcs11/settings.ts';
import { provisionToken } from '../../src/hsm/pkcs11/token.ts';

export const softhsmModule = process.env['STATHERA_PKCS11_MODULE'] ?? '/usr/lib/softhsm/libsofthsm2.so';

/** A folder for one token of its own, and settings that name it. */
export interface TokenFolder {
  readonly folder: string;
  readonly settings: Pkcs11Settings;
  remove(): void;
}

/** A folder for one SoftHSM; nothing is made yet. */
export function temporarySettings(): TokenFolder {
  const folder = mkdtempSync(join(tmpdir(), 'stathera-token-'));
  const settings = {
    ...pkcs11Defaults,
    module: softhsmModule,
    tokenLabel: 'stathera-test',
    pinFile: join(folder, 'hsm', 'pin'),
    softhsmConf: join(folder, 'hsm', 'softhsm2.conf'),
  };
  return { folder, settings, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

export interface TestToken {
  readonly hsm: Hsm;
  readonly folder: string;
  readonly settings: Pkcs11Settings;
  /** A KEK whose value the test chose, wrapped by the root of the open token. */
  importKek(value?: Uint8Array): KnownKek;
  close(): Promise<void>;
}

/** A KEK of known value: with it a test makes blobs of any key it likes. */
export interface KnownKek {
  readonly ref: KeyRef;
  readonly value: Uint8Array;
  importKey(kind: Exclude<KeyKind, 'kek'>, value: Uint8Array): KeyRef;
}

/** Provisions a SoftHSM token in a folder of its own and opens it. */
export async function openTestToken(
  change: Partial<Pkcs11Settings> = {},
  log: HsmLog = () => undefined,
  limits: Partial<LinkLimits> = {},
): Promise<TestToken> {
  const place = temporarySettings();
  return openTokenIn({ ...place, settings: { ...place.settings, ...change } }, log, limits);
}

/** Makes the root where there is none, and opens the token. */
export async function openTokenIn(
  { folder, settings, remove }: TokenFolder,
  log: HsmLog = () => undefined,
  limits: Partial<LinkLimits> = {},
): Promise<TestToken> {
  try {
    await provisionToken(settings);
    const hsm = await openPkcs11Hsm(settings, { log, limits });
    return {
      hsm,
      folder,
      settings,
      importKek: (value = randomBytes(32)) => importKek(settings, value),
      async close() {
        await hsm.close();
        remove();
      },
    };
  } catch (error) {
    remove();
    throw error;
  }
}

let imported = 0;

function importKek(settings: Pkcs11Settings, value: Uint8Array): KnownKek {
  // The adapter has initialized the module of this process and logged in: this is one session more.
  const cryptoki = loadModule(settings.module);
  const [slot] = slotsWithLabel(cryptoki, settings.tokenLabel);
  if (slot === undefined) throw new Error('the test token is not there');
  const session = cryptoki.C_OpenSession(slot, readOnlySession);
  try {
    const key = cryptoki.C_CreateObject(session, knownKeyTemplate('aes', value, ['wrap', 'unwrap']));
    const { root } = findRoot(cryptoki, session);
    const mechanism = { mechanism: wrapMechanismOf(settings) };
    const blob = Uint8Array.from(cryptoki.C_WrapKey(session, mechanism, root, key, Buffer.alloc(64)));
    imported += 1;
    const ref: KeyRef = { id: `imported-kek-${imported}`, kind: 'kek', blob, under: 'root' };
    return {
      ref,
      value,
      importKey(kind, keyValue) {
        imported += 1;
        return { id: `imported-${imported}`, kind, blob: wrapPadded(value, keyValue), under: ref };
      },
    };
  } finally {
    cryptoki.C_CloseSession(session);
  }
}

/** AES-KWP in process, RFC 5649, by OpenSSL: independent of the token. */
function wrapPadded(kek: Uint8Array, key: Uint8Array): Uint8Array {
  const iv = Buffer.from('a65959a6', 'hex');
  const cipher = createCipheriv(`id-aes${kek.length * 8}-wrap-pad`, kek, iv);
  return Uint8Array.from(Buffer.concat([cipher.update(key), cipher.final()]));
}

let made = 0;

/** A new key of the token under `under`, ready to be used. */
export async function makeKey(hsm: Hsm, kind: SecretKind, under: KeyRef | 'root' = 'root'): Promise<KeyRef> {
  made += 1;
  return { id: `made-${made}`, kind, blob: await hsm.generate(kind, under), under };
}

/** The same key under a new id: the adapter unwraps it anew. */
export function sameKeyAnew(key: KeyRef, blob: Uint8Array = key.blob): KeyRef {
  made += 1;
  return { ...key, id: `made-${made}`, blob };
}
