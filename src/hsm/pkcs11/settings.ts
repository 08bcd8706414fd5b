import { resolve } from 'node:path';

/** How to reach one token through one PKCS#11 module. */
export interface Pkcs11Settings {
  /** Path of the module, a shared library. */
  readonly module: string;
  /** CKA label of the token, at most 32 bytes of UTF-8. */
  readonly tokenLabel: string;
  /** File holding the user PIN; read in the slow worker alone, one trailing line break is ignored. */
  readonly pinFile: string;
  /** SoftHSM's configuration file; becomes SOFTHSM2_CONF of this process. */
  readonly softhsmConf?: string;
  /** CKM number of AES-KWP (RFC 5649); default the module's. */
  readonly wrapMechanism?: number;
  /** Unwrapped keys kept in the token at once (about 8.5 KB each in SoftHSM). */
  readonly handleLimit: number;
  /** Operations accepted and not yet answered; more are refused with `service/overloaded`. */
  readonly maxQueued: number;
}

export const pkcs11Defaults = {
  handleLimit: 10_000,
  maxQueued: 8192,
} as const satisfies Partial<Pkcs11Settings>;

/** The link's times and counts; only tests compose others than `linkDefaults`. */
export interface LinkLimits {
  /** The pause before a device that failed is tried again: the first one, doubled each time up to the last. */
  readonly firstRetryMs: number;
  readonly lastRetryMs: number;
  /** A device that stays ready for so long is steady again: the next loss starts with the first pause. */
  readonly steadyAfterMs: number;
  /** A call that takes longer means a hung device; its callers stop waiting. */
  readonly hungAfterMs: number;
  /** What a call that makes a pair may take besides. */
  readonly pairMs: number;
  readonly watchEveryMs: number;
  /** How long the first bring-up may take. */
  readonly startWithinMs: number;
  /** How long the threads have to end. */
  readonly finishWithinMs: number;
  /** Objects made after which the module is initialized anew. */
  readonly renewAfterObjects: number;
}

export const linkDefaults = {
  firstRetryMs: 250,
  lastRetryMs: 5_000,
  steadyAfterMs: 30_000,
  // Below the time a request has, so that its caller learns what is wrong.
  hungAfterMs: 10_000,
  // RSA-4096 has no bound, and a busy machine made one in 20 s.
  pairMs: 120_000,
  watchEveryMs: 1_000,
  startWithinMs: 30_000,
  finishWithinMs: 5_000,
} as const satisfies Partial<LinkLimits>;

/** Notes what happened; fields never hold secrets, PIN file contents or paths. */
export type HsmLog = (
  level: 'debug' | 'info' | 'warn' | 'error',
  event: string,
  fields: Readonly<Record<string, string | number | boolean>>,
) => void;

/** The environment a module needs. SoftHSM reads SOFTHSM2_CONF with getenv when it is initialized. */
export function moduleEnvironment(softhsmConf: string | undefined): Record<string, string> {
  return softhsmConf === undefined ? {} : { SOFTHSM2_CONF: resolve(softhsmConf) };
}
