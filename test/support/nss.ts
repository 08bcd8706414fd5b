import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import pkcs11js from 'pkcs11js';
import { initializeModule, loadModule } from '../../src/hsm/pkcs11/cryptoki.ts';
import { type HsmLog, type Pkcs11Settings, pkcs11Defaults } from '../../src/hsm/pkcs11/settings.ts';
import { openTokenIn, type TestToken } from './token.ts';

/** Debian's libnss3 has it in a folder named after the architecture. */
export const nssModule: string | undefined = readdirSync('/usr/lib')
  .filter((entry) => entry.includes('-linux-'))
  .map((entry) => join('/usr/lib', entry, 'libsoftokn3.so'))
  .find((path) => existsSync(path));

/** A database of NSS softokn in a folder of its own, as `certutil -N` makes it, with the service's root in it. */
export async function openNssToken(change: Partial<Pkcs11Settings> = {}, log?: HsmLog): Promise<TestToken> {
  if (nssModule === undefined) throw new Error('libsoftokn3.so is not there: install libnss3');
  const folder = mkdtempSync(join(tmpdir(), 'stathera-nss-'));
  const settings = {
    ...pkcs11Defaults,
    module: nssModule,
    tokenLabel: "an operator's \\token",
    pinFile: join(folder, 'pin'),
    ...change,
  };
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  try {
    makeDatabase(settings);
  } catch (error) {
    remove();
    throw error;
  }
  return openTokenIn({ folder, settings, remove }, log);
}

/** What an operator does before the set-up: the service initializes no token but SoftHSM's. */
function makeDatabase(settings: Pkcs11Settings): void {
  const pin = randomBytes(32).toString('hex');
  writeFileSync(settings.pinFile, `${pin}\n`, { mode: 0o600 });
  mkdirSync(join(dirname(settings.pinFile), 'nss'));
  const cryptoki = loadModule(settings.module);
  initializeModule(cryptoki, settings);
  try {
    // Slot 1 holds no keys; slot 2 is the database. A new one has an empty SO PIN.
    const slot = cryptoki.C_GetSlotList(true)[1];
    if (slot === undefined) throw new Error('NSS has no slot for keys');
    const session = cryptoki.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
    cryptoki.C_Login(session, pkcs11js.CKU_SO, '');
    cryptoki.C_InitPIN(session, pin);
  } finally {
    cryptoki.C_Finalize();
  }
}
