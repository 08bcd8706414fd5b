import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import type { Suite } from '../crypto/suites.ts';
import type { VersionState } from '../store/schema.ts';
import { decryptingStates } from './change.ts';
import {
  asCipher,
  asDecrypter,
  asField,
  asMac,
  asPair,
  asSigner,
  type CipherVersion,
  type DecryptVersion,
  type ExchangeVersion,
  type FieldVersion,
  type Key,
  type KeyVersion,
  keyNotFound,
  type MacVersion,
  type SignVersion,
  wrongPurpose,
} from './key.ts';
import type { Lookup } from './lookup.ts';
import type { Usage } from './usage.ts';

/**
 * What a version is wanted for. `make`: something new is made with it, as encryption does; `open`: what was made
 * before is opened or checked, as decryption does; `show`: its public part is read, in every state.
 */
export type Use = 'make' | 'open' | 'show';

/** The version of a key that an operation may use, by the key's purpose and by both states. */
export interface UsableVersions {
  /**
   * The version to encrypt with, its uses counted (default 1), and its bytes where the key asks for that.
   * @throws key/wrong-purpose, key/disabled, key/version-disabled, key/version-expired, key/usage-exhausted, key/conflict
   */
  encrypting(key: Key, uses?: number, bytes?: number): Promise<CipherVersion>;
  /**
   * The version to decrypt with; undefined when it is none of this key.
   * @throws key/wrong-purpose, key/disabled, key/version-disabled, key/version-expired
   */
  decrypting(key: Key, versionId: string): Promise<CipherVersion | undefined>;
  /**
   * A key pair of an exchange key: the current one, or that of an ordinal.
   * @throws key/wrong-purpose, key/not-found, key/disabled, key/version-disabled, key/version-expired
   */
  exchanging(key: Key, use: Use, ordinal?: number): Promise<ExchangeVersion>;
  /** A key pair that decrypts (`open`). @throws as `exchanging` */
  decryptingOaep(key: Key, use: Use, ordinal?: number): Promise<DecryptVersion>;
  /** A version of a MAC key. @throws as `exchanging` */
  authenticating(key: Key, use: Use, ordinal?: number): Promise<MacVersion>;
  /** A version of a key of fields, the current one or that of an ordinal. @throws as `exchanging` */
  derivingFields(key: Key, use: Use, ordinal?: number): Promise<FieldVersion>;
  /** Of one by its id; undefined when it is none of this key. @throws as `decrypting` */
  openingFields(key: Key, versionId: string): Promise<FieldVersion | undefined>;
  /** Counts values with random nonces. @throws key/usage-exhausted, key/conflict */
  countFields(key: Key, version: FieldVersion, uses: number): Promise<void>;
  /** A key pair that signs (`make`) and verifies (`open`). @throws as `exchanging` */
  signing(key: Key, use: Use, ordinal?: number): Promise<SignVersion>;
}

const statesFor: Readonly<Record<Use, readonly VersionState[] | undefined>> = {
  make: ['enabled'],
  open: decryptingStates,
  show: undefined,
};

export function createUsableVersions({
  lookup,
  usage,
  clock,
}: {
  lookup: Lookup;
  usage: Usage;
  clock: Clock;
}): UsableVersions {
  function requireLive({ expiresAt }: KeyVersion): void {
    if (expiresAt !== undefined && clock.now() >= expiresAt) throw versionExpired();
  }

  /** Of a purpose whose ciphertexts, MACs or signatures do not name their version. */
  function byOrdinal<Version>(purpose: Suite['purpose'], as: (version: KeyVersion) => Version) {
    return async (key: Key, use: Use, ordinal?: number): Promise<Version> => {
      if (key.suite.purpose !== purpose) throw wrongPurpose();
      if (use !== 'show' && key.state !== 'enabled') throw disabled();
      const asked = ordinal !== undefined && ordinal !== key.currentOrdinal;
      const version = asked ? await lookup.ordinal(key, ordinal) : await lookup.current(key);
      if (version === undefined) throw keyNotFound();
      const may = statesFor[use];
      if (may && !may.includes(version.state)) throw versionDisabled();
      if (may) requireLive(version);
      return as(version);
    };
  }

  async function opening(
    purpose: Suite['purpose'],
    key: Key,
    versionId: string,
  ): Promise<KeyVersion | undefined> {
    if (key.suite.purpose !== purpose) throw wrongPurpose();
    if (key.state !== 'enabled') throw disabled();
    const version = await lookup.version(key, versionId);
    if (version && !decryptingStates.includes(version.state)) throw versionDisabled();
    if (version) requireLive(version);
    return version;
  }

  return {
    async encrypting(key, uses = 1, bytes = 0) {
      if (key.suite.purpose !== 'encrypt') throw wrongPurpose();
      if (key.state !== 'enabled') throw disabled();
      const version = asCipher(await lookup.current(key));
      if (version.state !== 'enabled') throw versionDisabled();
      requireLive(version);
      await usage.take(version, uses, bytes, key.rotateAfter);
      usage.touch(version.id);
      return version;
    },

    async decrypting(key, versionId) {
      const version = await opening('encrypt', key, versionId);
      return version && asCipher(version);
    },

    derivingFields: byOrdinal('fields', asField),
    async openingFields(key, versionId) {
      const version = await opening('fields', key, versionId);
      return version && asField(version);
    },
    countFields: (key, version, uses) => usage.take(version, uses, 0, key.rotateAfter),

    exchanging: byOrdinal('exchange', asPair),
    decryptingOaep: byOrdinal('decrypt', asDecrypter),
    authenticating: byOrdinal('mac', asMac),
    signing: byOrdinal('sign', asSigner),
  };
}

function disabled(): ServiceError {
  return new ServiceError('key/disabled', 'The key is disabled.');
}

function versionDisabled(): ServiceError {
  return new ServiceError('key/version-disabled', 'This version of the key may not be used for this.');
}

function versionExpired(): ServiceError {
  return new ServiceError(
    'key/version-expired',
    'This version of the key was imported until a time that is over.',
  );
}
