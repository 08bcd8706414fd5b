import { basename } from 'node:path';

/** What differs between PKCS#11 modules. Support for another vendor starts with a row here. */
export interface ModuleTraits {
  readonly name: string;
  /** Whether the root may carry CKA_ALLOWED_MECHANISMS. */
  readonly rootAllowedMechanisms: boolean;
  /** Whether an absent token may be initialized by provisioning: only where it is a directory of ours. */
  readonly initializesTokens: boolean;
  /** Objects made after which the module is initialized anew, since it keeps memory of each until C_Finalize. */
  readonly renewAfterObjects?: number;
  /** Text for the reserved argument of C_Initialize. */
  readonly libraryParameters?: string;
}

const generic: ModuleTraits = { name: 'pkcs11', rootAllowedMechanisms: true, initializesTokens: false };

const known: readonly { readonly file: RegExp; readonly traits: ModuleTraits }[] = [
  {
    file: /^libsofthsm2\./,
    // Each object made and destroyed costs SoftHSM 2.6.1 245 bytes until C_Finalize: about 60 MB.
    traits: {
      name: 'softhsm',
      rootAllowedMechanisms: true,
      initializesTokens: true,
      renewAfterObjects: 250_000,
    },
  },
  {
    // softokn refuses the attribute (CKR_ATTRIBUTE_TYPE_INVALID).
    file: /^libsoftokn3\./,
    traits: { name: 'nss-softokn', rootAllowedMechanisms: false, initializesTokens: false },
  },
];

/** The traits of a module, told by its file name since some are needed before C_Initialize. */
export function moduleTraits(modulePath: string): ModuleTraits {
  const file = basename(modulePath);
  return known.find((row) => row.file.test(file))?.traits ?? generic;
}
