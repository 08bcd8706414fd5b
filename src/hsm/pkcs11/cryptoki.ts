import pkcs11js from 'pkcs11js';
import { moduleTraits, type TokenPlace } from './modules.ts';

export type Cryptoki = pkcs11js.PKCS11;
/** A CK_ULONG handle as pkcs11js gives it: 8 bytes, native order. */
export type Handle = Buffer;

/** Session flags of every session of the service: serial (required) and read-only, since no token object changes. */
export const readOnlySession = pkcs11js.CKF_SERIAL_SESSION;
/** Of a session in which the set-up makes an object that stays. */
export const writableSession = pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION;

/** PKCS#11 v3.1 return values this adapter tells apart. */
export const CKR = {
  HOST_MEMORY: 0x02,
  SLOT_ID_INVALID: 0x03,
  GENERAL_ERROR: 0x05,
  DEVICE_ERROR: 0x30,
  DEVICE_MEMORY: 0x31,
  DEVICE_REMOVED: 0x32,
  KEY_HANDLE_INVALID: 0x60,
  OBJECT_HANDLE_INVALID: 0x82,
  OPERATION_ACTIVE: 0x90,
  OPERATION_NOT_INITIALIZED: 0x91,
  PIN_INCORRECT: 0xa0,
  PIN_INVALID: 0xa1,
  PIN_LEN_RANGE: 0xa2,
  PIN_EXPIRED: 0xa3,
  PIN_LOCKED: 0xa4,
  SESSION_CLOSED: 0xb0,
  SESSION_HANDLE_INVALID: 0xb3,
  TOKEN_NOT_PRESENT: 0xe0,
  TOKEN_NOT_RECOGNIZED: 0xe1,
  UNWRAPPING_KEY_HANDLE_INVALID: 0xf0,
  USER_ALREADY_LOGGED_IN: 0x100,
  USER_NOT_LOGGED_IN: 0x101,
  USER_PIN_NOT_INITIALIZED: 0x102,
  WRAPPING_KEY_HANDLE_INVALID: 0x113,
  BUFFER_TOO_SMALL: 0x150,
  CRYPTOKI_NOT_INITIALIZED: 0x190,
  CRYPTOKI_ALREADY_INITIALIZED: 0x191,
} as const;

/** The PKCS#11 return value an error of pkcs11js carries; undefined when it is none. */
export function returnValue(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined;
  const code: unknown = 'code' in error ? error.code : undefined;
  if (typeof code === 'number' && code > 0) return code;
  // C_CreateObject, C_CopyObject and C_SetAttributeValue give the number in the message only.
  const match = /CKR_[A-Z0-9_]+:(\d+)/.exec(error.message);
  return match?.[1] === undefined ? undefined : Number(match[1]);
}

export type FailureKind = 'device' | 'session' | 'handle' | 'unclear';

const deviceCodes = new Set<number>([
  CKR.HOST_MEMORY,
  CKR.SLOT_ID_INVALID,
  CKR.DEVICE_ERROR,
  CKR.DEVICE_MEMORY,
  CKR.DEVICE_REMOVED,
  CKR.TOKEN_NOT_PRESENT,
  CKR.TOKEN_NOT_RECOGNIZED,
  CKR.USER_NOT_LOGGED_IN,
  CKR.CRYPTOKI_NOT_INITIALIZED,
]);
const sessionCodes = new Set<number>([
  CKR.SESSION_CLOSED,
  CKR.SESSION_HANDLE_INVALID,
  CKR.OPERATION_ACTIVE,
  CKR.OPERATION_NOT_INITIALIZED,
  CKR.BUFFER_TOO_SMALL,
]);
const handleCodes = new Set<number>([
  CKR.KEY_HANDLE_INVALID,
  CKR.OBJECT_HANDLE_INVALID,
  CKR.UNWRAPPING_KEY_HANDLE_INVALID,
  CKR.WRAPPING_KEY_HANDLE_INVALID,
]);

/**
 * What a failed call says about whom. `unclear` covers CKR_GENERAL_ERROR and every code that a bad input
 * and a bad device share: only a known-answer probe tells those apart.
 */
export function failureKind(error: unknown): FailureKind {
  const code = returnValue(error);
  if (code === undefined) return 'unclear';
  if (deviceCodes.has(code)) return 'device';
  if (sessionCodes.has(code)) return 'session';
  return handleCodes.has(code) ? 'handle' : 'unclear';
}

/** Return values after which the same PIN must not be tried again. */
export function refusesPin(code: number | undefined): boolean {
  return code !== undefined && code >= CKR.PIN_INCORRECT && code <= CKR.PIN_LOCKED;
}

/**
 * Loads the module; the library stays one per process however many threads load it.
 * @throws Error when it cannot be loaded
 */
export function loadModule(path: string): Cryptoki {
  const cryptoki = new pkcs11js.PKCS11();
  cryptoki.load(path);
  return cryptoki;
}

/**
 * C_Initialize with CKF_OS_LOCKING_OK: both lanes call the module at the same time. What an earlier
 * thread of this process left initialized is finalized first, its handles must not live on.
 */
export function initializeModule(cryptoki: Cryptoki, place: TokenPlace): void {
  const { libraryParameters } = moduleTraits(place.module);
  const options = {
    flags: pkcs11js.CKF_OS_LOCKING_OK,
    // pkcs11js drops the last character.
    ...(libraryParameters !== undefined && { libraryParameters: `${libraryParameters(place)} ` }),
  };
  try {
    cryptoki.C_Initialize(options);
  } catch (error) {
    if (returnValue(error) !== CKR.CRYPTOKI_ALREADY_INITIALIZED) throw error;
    cryptoki.C_Finalize();
    cryptoki.C_Initialize(options);
  }
}

/** The slots whose initialized token has this label. */
export function slotsWithLabel(cryptoki: Cryptoki, label: string): Handle[] {
  return cryptoki.C_GetSlotList(true).filter((slot) => {
    const info = cryptoki.C_GetTokenInfo(slot);
    return (info.flags & pkcs11js.CKF_TOKEN_INITIALIZED) !== 0 && info.label.trimEnd() === label;
  });
}
