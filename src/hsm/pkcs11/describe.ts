import pkcs11js from 'pkcs11js';
import type { TokenReport } from '../hsm.ts';
import { type Cryptoki, type Handle, readOnlySession, writableSession } from './cryptoki.ts';
import { keepsUnextractable } from './custody.ts';
import {
  findRoot,
  findSlot,
  initializeConfiguredModule,
  loadConfiguredModule,
  logIn,
  requireUntriedPin,
} from './login.ts';
import { moduleTraits, wrapMechanismOf } from './modules.ts';
import { neededMechanisms } from './objects.ts';
import { moduleEnvironment } from './settings.ts';
import { restoreTokenFiles } from './softhsm.ts';
import type { TokenSettings } from './token.ts';

const rootAttributes = {
  token: pkcs11js.CKA_TOKEN,
  private: pkcs11js.CKA_PRIVATE,
  sensitive: pkcs11js.CKA_SENSITIVE,
  alwaysSensitive: pkcs11js.CKA_ALWAYS_SENSITIVE,
  extractable: pkcs11js.CKA_EXTRACTABLE,
  neverExtractable: pkcs11js.CKA_NEVER_EXTRACTABLE,
  local: pkcs11js.CKA_LOCAL,
  wrap: pkcs11js.CKA_WRAP,
  unwrap: pkcs11js.CKA_UNWRAP,
  encrypt: pkcs11js.CKA_ENCRYPT,
  decrypt: pkcs11js.CKA_DECRYPT,
  sign: pkcs11js.CKA_SIGN,
  verify: pkcs11js.CKA_VERIFY,
  derive: pkcs11js.CKA_DERIVE,
} as const;

/** Reads from the token what it says about itself and its root; `describeToken` runs this in a child. */
export function describeHere(settings: TokenSettings): TokenReport {
  return inSession(settings, (cryptoki, session, slot) => {
    const { root, rootId } = findRoot(cryptoki, session);
    return {
      module: describeModule(cryptoki),
      token: describeSlot(cryptoki, slot),
      custody: describeCustody(cryptoki, session, settings),
      mechanisms: describeMechanisms(cryptoki, slot, wrapMechanismOf(settings)),
      root: { id: rootId, attributes: readAttributes(cryptoki, session, root) },
    };
  });
}

/**
 * Logs in with the one try that a PIN has, works, and leaves the module.
 * @param options `writable`: for who makes an object that stays
 */
export function inSession<Result>(
  settings: TokenSettings,
  work: (cryptoki: Cryptoki, session: Handle, slot: Handle) => Result,
  { writable = false } = {},
): Result {
  requireUntriedPin(settings.pinFile);
  Object.assign(process.env, moduleEnvironment(settings.softhsmConf));
  restoreTokenFiles(settings.softhsmConf);
  const cryptoki = loadConfiguredModule(settings.module);
  initializeConfiguredModule(cryptoki, settings);
  try {
    const slot = findSlot(cryptoki, settings.tokenLabel);
    const session = cryptoki.C_OpenSession(slot, writable ? writableSession : readOnlySession);
    logIn(cryptoki, session, settings.pinFile, () => undefined);
    return work(cryptoki, session, slot);
  } finally {
    cryptoki.C_Finalize();
  }
}

function describeModule(cryptoki: Cryptoki): TokenReport['module'] {
  const info = cryptoki.C_GetInfo();
  return {
    manufacturer: info.manufacturerID.trimEnd(),
    description: info.libraryDescription.trimEnd(),
    version: versionText(info.libraryVersion),
    cryptokiVersion: versionText(info.cryptokiVersion),
  };
}

function describeCustody(
  cryptoki: Cryptoki,
  session: Handle,
  settings: TokenSettings,
): TokenReport['custody'] {
  if (keepsUnextractable(cryptoki, session, wrapMechanismOf(settings))) return 'kept';
  return moduleTraits(settings.module).keepsUnextractable ? 'refused' : 'tests-only';
}

function versionText({ major, minor }: pkcs11js.Version): string {
  return `${major}.${minor}`;
}

function describeSlot(cryptoki: Cryptoki, slot: Handle): TokenReport['token'] {
  const info = cryptoki.C_GetTokenInfo(slot);
  return {
    label: info.label.trimEnd(),
    manufacturer: info.manufacturerID.trimEnd(),
    model: info.model.trimEnd(),
    serialNumber: info.serialNumber.trimEnd(),
    pinTriesLow: (info.flags & pkcs11js.CKF_USER_PIN_COUNT_LOW) !== 0,
    pinLocked: (info.flags & pkcs11js.CKF_USER_PIN_LOCKED) !== 0,
  };
}

function describeMechanisms(
  cryptoki: Cryptoki,
  slot: Handle,
  wrapMechanism: number,
): TokenReport['mechanisms'] {
  const offered = new Set(cryptoki.C_GetMechanismList(slot));
  return Object.entries(neededMechanisms(wrapMechanism)).map(([name, number]) => ({
    name,
    present: offered.has(number),
  }));
}

function readAttributes(cryptoki: Cryptoki, session: Handle, root: Handle): Record<string, boolean | number> {
  const read: Record<string, boolean | number> = {};
  for (const [name, type] of Object.entries(rootAttributes)) {
    const [attribute] = cryptoki.C_GetAttributeValue(session, root, [{ type }]);
    if (Buffer.isBuffer(attribute?.value)) read[name] = attribute.value[0] === 1;
  }
  const [length] = cryptoki.C_GetAttributeValue(session, root, [{ type: pkcs11js.CKA_VALUE_LEN }]);
  if (Buffer.isBuffer(length?.value)) read['valueBytes'] = Number(length.value.readBigUInt64LE());
  return read;
}
