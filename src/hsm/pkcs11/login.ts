import { existsSync } from 'node:fs';
import pkcs11js from 'pkcs11js';
import { idFromBytes } from '../../core/ids.ts';
import {
  CKR,
  type Cryptoki,
  type Handle,
  initializeModule,
  loadModule,
  refusesPin,
  returnValue,
  slotsWithLabel,
} from './cryptoki.ts';
import type { TokenPlace } from './modules.ts';
import { rootSearchTemplate } from './objects.ts';
import {
  clearPinLatch,
  latchPin,
  overwriteForgottenStrings,
  type PinFileIdentity,
  pinRefused,
  readPin,
  samePinFile,
} from './pin.ts';
import { inPinTurn } from './pin-turn.ts';
import type { HsmLog } from './settings.ts';
import { TokenRefusal } from './token-refusal.ts';

const pinRefusedText =
  'The token refused the PIN in the configured PIN file, so it will not be tried again. ' +
  'Put the right PIN into the file; the refusal is forgotten when the file changes.';

/** Before anything is asked of the token. @throws TokenRefusal while the PIN file is the one it refused */
export function requireUntriedPin(pinFile: string): void {
  if (existsSync(pinFile) && pinRefused(pinFile)) throw new TokenRefusal(pinRefusedText);
}

/** Loads the module. @throws TokenRefusal when that fails */
export function loadConfiguredModule(path: string): Cryptoki {
  try {
    return loadModule(path);
  } catch (error) {
    throw new TokenRefusal(
      'The PKCS#11 module could not be loaded. Install it, or set STATHERA_PKCS11_MODULE to its path.',
      error,
    );
  }
}

/** Initializes the module. @throws TokenRefusal when that fails */
export function initializeConfiguredModule(cryptoki: Cryptoki, place: TokenPlace): void {
  try {
    initializeModule(cryptoki, place);
  } catch (error) {
    throw new TokenRefusal(
      'The PKCS#11 module could not be initialized. Check its own configuration and its token directory.',
      error,
    );
  }
}

/** The one slot whose token has the configured label. @throws TokenRefusal for none or several */
export function findSlot(cryptoki: Cryptoki, tokenLabel: string): Handle {
  const [slot, ...others] = slotsWithLabel(cryptoki, tokenLabel);
  if (slot === undefined) {
    throw new TokenRefusal(
      'No token has the configured label. Run the set-up, or correct STATHERA_PKCS11_TOKEN_LABEL.',
    );
  }
  if (others.length > 0) {
    throw new TokenRefusal('Several tokens have the configured label. Give each token its own label.');
  }
  return slot;
}

/**
 * Logs in as the user with the one try a PIN file gets.
 * @throws TokenRefusal when the PIN was refused, now or before; the module's error when the device fails
 */
export function logIn(cryptoki: Cryptoki, session: Handle, pinFile: string, log: HsmLog): void {
  try {
    inPinTurn(pinFile, () => logInWithPin(cryptoki, session, pinFile, log));
  } finally {
    overwriteForgottenStrings();
  }
}

function logInWithPin(cryptoki: Cryptoki, session: Handle, pinFile: string, log: HsmLog): void {
  const pin = readConfiguredPin(pinFile);
  try {
    log('info', 'hsm.login', {});
    cryptoki.C_Login(session, pkcs11js.CKU_USER, pin.text);
  } catch (error) {
    const code = returnValue(error);
    if (code === CKR.USER_ALREADY_LOGGED_IN) return;
    if (code === CKR.USER_PIN_NOT_INITIALIZED) {
      throw new TokenRefusal(
        'The token has no user PIN. Set it with the vendor’s tool and put it into the PIN file.',
        error,
      );
    }
    if (!refusesPin(code)) throw error;
    latchRefusedPin(pinFile, pin.file, code ?? 0, log);
    throw new TokenRefusal(pinRefusedText, error);
  }
  try {
    clearPinLatch(pinFile);
  } catch {
    // It names another file than the one that just worked, so it refuses nothing.
    log('warn', 'hsm.pin-latch-not-removed', {});
  }
}

/** What the token refused in this thread, should the directory of the PIN file be read-only. */
let refusedHere: PinFileIdentity | undefined;

function latchRefusedPin(pinFile: string, file: PinFileIdentity, code: number, log: HsmLog): void {
  refusedHere = file;
  log('error', 'hsm.pin-refused', { returnValue: code });
  try {
    latchPin(pinFile, file, code);
  } catch {
    log('error', 'hsm.pin-latch-not-durable', {});
  }
}

function readConfiguredPin(pinFile: string): ReturnType<typeof readPin> {
  try {
    if (pinRefused(pinFile)) throw new TokenRefusal(pinRefusedText);
    const pin = readPin(pinFile);
    if (refusedHere !== undefined && samePinFile(refusedHere, pin.file))
      throw new TokenRefusal(pinRefusedText);
    return pin;
  } catch (error) {
    if (error instanceof TokenRefusal) throw error;
    throw new TokenRefusal(
      'The PIN file could not be read. Run the set-up, or set STATHERA_PKCS11_PIN_FILE to a readable file.',
      error,
    );
  }
}

/** The root's handle and id. @throws TokenRefusal for none, several, or one without an id of ours */
export function findRoot(cryptoki: Cryptoki, session: Handle): { root: Handle; rootId: string } {
  const [root, ...others] = findRoots(cryptoki, session);
  if (root === undefined) {
    throw new TokenRefusal('The token holds no root key. Run the set-up, it makes one.');
  }
  if (others.length > 0) {
    throw new TokenRefusal(
      'The token holds several root keys. Restore the token that belongs to this service.',
    );
  }
  const [attribute] = cryptoki.C_GetAttributeValue(session, root, [{ type: pkcs11js.CKA_ID }]);
  const id = attribute?.value;
  try {
    if (!Buffer.isBuffer(id)) throw new RangeError('the root has no id');
    return { root, rootId: idFromBytes(id) };
  } catch (error) {
    throw new TokenRefusal(
      'The root key on the token was not made by this service: its id is no UUID.',
      error,
    );
  }
}

/** Every object that looks like a root, at most three. */
export function findRoots(cryptoki: Cryptoki, session: Handle): Handle[] {
  cryptoki.C_FindObjectsInit(session, rootSearchTemplate());
  try {
    return cryptoki.C_FindObjects(session, 3);
  } finally {
    cryptoki.C_FindObjectsFinal(session);
  }
}
