import { basename, dirname, join, resolve } from 'node:path';
import type { Pkcs11Settings } from './settings.ts';

/** What names one token of one module: enough to initialize the module. */
export type TokenPlace = Pick<Pkcs11Settings, 'module' | 'tokenLabel' | 'pinFile'>;

/** What differs between PKCS#11 modules. Support for another vendor starts with a row here. */
export interface ModuleTraits {
  readonly name: string;
  /** CKM number of AES-KWP (RFC 5649) where the settings name none. */
  readonly wrapMechanism: number;
  /** Whether the root may carry CKA_ALLOWED_MECHANISMS. */
  readonly rootAllowedMechanisms: boolean;
  /** False: a key with CKA_EXTRACTABLE false can be wrapped all the same, so nothing is safe from the PIN. */
  readonly keepsUnextractable: boolean;
  /** Whether an absent token may be initialized by provisioning: only where it is a directory of ours. */
  readonly initializesTokens: boolean;
  /** Objects made after which the module is initialized anew, since it keeps memory of each until C_Finalize. */
  readonly renewAfterObjects?: number;
  /** Text C_Initialize needs besides its flags: where the token is. */
  readonly libraryParameters?: (place: TokenPlace) => string;
}

const aesKeyWrapPad = 0x210a;
/** Of its own in PKCS#11 v3.0 §2.11; until then vendors read CKM_AES_KEY_WRAP_PAD as RFC 5649 or as PKCS #7. */
const aesKeyWrapKwp = 0x210b;

const generic: ModuleTraits = {
  name: 'pkcs11',
  wrapMechanism: aesKeyWrapPad,
  rootAllowedMechanisms: true,
  keepsUnextractable: true,
  initializesTokens: false,
};

const known: readonly { readonly file: RegExp; readonly traits: ModuleTraits }[] = [
  {
    file: /^libsofthsm2\./,
    traits: {
      name: 'softhsm',
      wrapMechanism: aesKeyWrapPad,
      rootAllowedMechanisms: true,
      keepsUnextractable: true,
      initializesTokens: true,
      // Each object made and destroyed costs SoftHSM 2.6.1 245 bytes until C_Finalize: about 25 MB, and less than half a second to free.
      renewAfterObjects: 100_000,
    },
  },
  {
    file: /^libsoftokn3\./,
    traits: {
      name: 'nss-softokn',
      // 0x210A pads as PKCS #7 there.
      wrapMechanism: aesKeyWrapKwp,
      // CKR_ATTRIBUTE_TYPE_INVALID.
      rootAllowedMechanisms: false,
      // 3.87 wraps such a key, the root as well, and copies it as an extractable one: for tests only.
      keepsUnextractable: false,
      initializesTokens: false,
      libraryParameters: nssParameters,
    },
  },
];

/** The traits of a module, told by its file name since some are needed before C_Initialize. */
export function moduleTraits(modulePath: string): ModuleTraits {
  const file = basename(modulePath);
  return known.find((row) => row.file.test(file))?.traits ?? generic;
}

/** The number of AES-KWP: as set, or the module's. */
export function wrapMechanismOf(settings: Pick<Pkcs11Settings, 'module' | 'wrapMechanism'>): number {
  return settings.wrapMechanism ?? moduleTraits(settings.module).wrapMechanism;
}

/** The database is `nss` beside the PIN file; its label is no attribute of it but of whoever opens it. */
function nssParameters({ pinFile, tokenLabel }: TokenPlace): string {
  const quoted = (text: string): string => `'${text.replace(/[\\']/g, '\\$&')}'`;
  const database = join(dirname(resolve(pinFile)), 'nss');
  return [
    `configdir=${quoted(`sql:${database}`)}`,
    "certPrefix='' keyPrefix='' secmod='secmod.db'",
    `dbTokenDescription=${quoted(tokenLabel)}`,
    'flags=',
  ].join(' ');
}
