import type { Caller } from '../access/caller.ts';
import type { Operation } from '../access/operations.ts';
import type { Action } from '../access/scopes.ts';
import { equalBytes, wipe } from '../core/bytes.ts';
import { confirmations, deriveFromAgreement } from '../crypto/kem/confirm.ts';
import type { Agreement } from '../crypto/kem/curves.ts';
import type { Encapsulator, Kem } from '../crypto/kem/kem.ts';
import { pairs } from '../crypto/kem/pairs.ts';
import type { ExchangeAlgorithm } from '../crypto/suites.ts';
import type { Hsm } from '../hsm/hsm.ts';
import { type ExchangeVersion, type Key, targetOf, wrongPurpose } from '../keys/key.ts';
import type { Keys } from '../keys/keys.ts';
import type { Use } from '../keys/usable.ts';
import { refused, withSeed } from './seed.ts';

export interface EncapsulateRequest {
  readonly key: string;
  /** Authenticated by the confirmations; may be empty. */
  readonly info: Uint8Array;
}

export interface DecapsulateRequest extends EncapsulateRequest {
  /** Ordinal; default: the current version. Ciphertexts of KEMs do not name it. */
  readonly version?: number | undefined;
  readonly ciphertext: Uint8Array;
  /** The other side's; where it is given, nothing is answered unless it holds. */
  readonly confirmation?: Uint8Array | undefined;
}

export interface DeriveRequest {
  readonly key: string;
  readonly version?: number | undefined;
  /** In raw form: 32 bytes of X25519, an uncompressed point else. */
  readonly peerPublicKey: Uint8Array;
  readonly label: string;
  readonly info: Uint8Array;
  /** 16–1,024 */
  readonly bytes: number;
}

interface Made {
  readonly keyId: string;
  readonly keyVersion: number;
}

export interface Encapsulation extends Made {
  readonly ciphertext: Uint8Array;
  /** For whoever receives it to wipe. */
  readonly sharedSecret: Uint8Array;
  /** To be sent along. */
  readonly confirmation: Uint8Array;
  /** What the other side's confirmation is, if it has the secret. */
  readonly expectedConfirmation: Uint8Array;
}

export interface Decapsulation extends Made {
  /** For whoever receives it to wipe. */
  readonly sharedSecret: Uint8Array;
  /** To be sent back. */
  readonly confirmation: Uint8Array;
}

export interface Confirmation extends Made {
  readonly confirmation: Uint8Array;
}

export interface Derived extends Made {
  /** For whoever receives it to wipe. */
  readonly derived: Uint8Array;
}

/**
 * Key exchange with key pairs whose seeds the HSM seals. Each operation is authorized and recorded; ./README.md has what
 * is bound to what. All throw key/not-found, key/wrong-purpose, key/disabled, key/version-disabled, and for what is no
 * ciphertext, peer or confirmation of the key exchange/refused, whatever is wrong with it.
 */
export interface Exchanges {
  encapsulate(caller: Caller, request: EncapsulateRequest): Promise<Encapsulation>;
  decapsulate(caller: Caller, request: DecapsulateRequest): Promise<Decapsulation>;
  /** Answers the other side's confirmation with its own, and keeps the secret here. */
  confirm(
    caller: Caller,
    request: DecapsulateRequest & { readonly confirmation: Uint8Array },
  ): Promise<Confirmation>;
  derive(caller: Caller, request: DeriveRequest): Promise<Derived>;
}

export function createExchanges({ keys, hsm }: { keys: Keys; hsm: Hsm }): Exchanges {
  // Public keys as they are used: nothing secret, and gone when their versions are.
  const encapsulators = new WeakMap<ExchangeVersion, Encapsulator>();

  function encapsulatorOf(version: ExchangeVersion, kem: Kem): Encapsulator {
    const known = encapsulators.get(version) ?? kem.publicKey(version.publicKey);
    if (known === undefined) throw refused();
    encapsulators.set(version, known);
    return known;
  }

  /** @returns a secret to wipe, and the confirmation of the side that is asked for */
  async function open(version: ExchangeVersion, request: DecapsulateRequest) {
    const kem = kemOf(version);
    const { ciphertext, info } = request;
    if (ciphertext.length !== kem.ciphertextBytes) throw refused();
    const sharedSecret = await withSeed(hsm, version, (seed) => kem.privateKey(seed).decapsulate(ciphertext));
    if (sharedSecret === undefined) throw refused();
    const { suite, publicKey } = version;
    const proofs = confirmations(sharedSecret, { suite, publicKey, ciphertext, info });
    if (request.confirmation !== undefined && !equalBytes(request.confirmation, proofs.encapsulator)) {
      wipe(sharedSecret);
      throw refused();
    }
    keys.touch(version);
    return { sharedSecret, confirmation: proofs.decapsulator };
  }

  function using<T>(
    caller: Caller,
    action: Action,
    request: { key: string; version?: number | undefined },
    use: Use,
    work: (version: ExchangeVersion, made: Made) => Promise<T>,
  ): Promise<T> {
    return keys.use(caller, action, request.key, async (key: Key, operation: Operation) => {
      const version = await keys.exchanging(key, use, request.version);
      operation.target({ ...targetOf(key), version: version.ordinal });
      return await work(version, { keyId: key.id, keyVersion: version.ordinal });
    });
  }

  return {
    encapsulate: (caller, request) =>
      using(caller, 'exchange.encapsulate', request, 'make', async (version, made) => {
        const encapsulated = encapsulatorOf(version, kemOf(version)).encapsulate();
        if (encapsulated === undefined) throw refused();
        const { ciphertext, sharedSecret } = encapsulated;
        const { suite, publicKey } = version;
        const proofs = confirmations(sharedSecret, { suite, publicKey, ciphertext, info: request.info });
        keys.touch(version);
        return {
          ...{ ...made, ciphertext, sharedSecret },
          ...{ confirmation: proofs.encapsulator, expectedConfirmation: proofs.decapsulator },
        };
      }),

    decapsulate: (caller, request) =>
      using(caller, 'exchange.decapsulate', request, 'open', async (version, made) => ({
        ...made,
        ...(await open(version, request)),
      })),

    confirm: (caller, request) =>
      using(caller, 'exchange.confirm', request, 'open', async (version, made) => {
        const opened = await open(version, request);
        wipe(opened.sharedSecret);
        return { ...made, confirmation: opened.confirmation };
      }),

    derive: (caller, request) =>
      using(caller, 'exchange.derive', request, 'open', async (version, made) => {
        const agreement = agreementOf(version);
        const { peerPublicKey: peer, label, info, bytes } = request;
        const { suite, publicKey } = version;
        if (peer.length !== agreement.publicKeyBytes) throw refused();
        const secret = await withSeed(hsm, version, (seed) => agreement.agree({ seed, publicKey }, peer));
        if (secret === undefined) throw refused();
        try {
          keys.touch(version);
          const publicKeys = [publicKey, peer] as const;
          return { ...made, derived: deriveFromAgreement(secret, { suite, publicKeys, label, info, bytes }) };
        } finally {
          wipe(secret);
        }
      }),
  };
}

function kemOf({ suite }: ExchangeVersion): Kem {
  const pair = pairs[suite.name as ExchangeAlgorithm];
  if (pair.kind !== 'kem') throw wrongPurpose();
  return pair.kem;
}

function agreementOf({ suite }: ExchangeVersion): Agreement {
  const pair = pairs[suite.name as ExchangeAlgorithm];
  if (pair.kind !== 'agreement') throw wrongPurpose();
  return pair.agreement;
}
