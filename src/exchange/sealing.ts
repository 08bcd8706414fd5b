import type { Caller } from '../access/caller.ts';
import type { Action } from '../access/scopes.ts';
import type { Psk } from '../crypto/hpke/context.ts';
import { openFrom, receiveExport, type Sealed, sealTo, sendExport } from '../crypto/hpke/hpke.ts';
import { type HpkeKem, hpkeKems, type KeyPair, type Recipient } from '../crypto/hpke/kem.ts';
import {
  type HpkeAead,
  type HpkeCipher,
  type HpkeSuite,
  hpkeSuite,
  isHpkeKem,
} from '../crypto/hpke/suites.ts';
import type { Hsm } from '../hsm/hsm.ts';
import { type ExchangeVersion, targetOf, wrongPurpose } from '../keys/key.ts';
import type { Keys } from '../keys/keys.ts';
import type { Use } from '../keys/usable.ts';
import { refused, withSeed } from './seed.ts';

interface Setup {
  readonly key: string;
  /** Of the application; both sides give the same. May be empty. */
  readonly info: Uint8Array;
  readonly psk?: Psk | undefined;
}

interface Message {
  readonly aead: HpkeCipher;
  /** Authenticated with the message, not encrypted. May be empty. */
  readonly aad: Uint8Array;
}

export interface SealRequest extends Setup, Message {
  /** Neither changed nor kept. */
  readonly plaintext: Uint8Array;
}

export interface AuthSealRequest extends SealRequest {
  /** Ordinal of the sender's version; default: the current one. */
  readonly version?: number | undefined;
  /** In raw form, of the sender's algorithm. */
  readonly recipientPublicKey: Uint8Array;
}

interface OpeningSetup extends Setup {
  /** Ordinal; default: the current version. Nothing that is sealed names it. */
  readonly version?: number | undefined;
  readonly enc: Uint8Array;
}

export interface OpenRequest extends OpeningSetup, Message {
  readonly ciphertext: Uint8Array;
  /** The sender that must have sealed it. */
  readonly senderPublicKey?: Uint8Array | undefined;
}

interface Exporting {
  readonly aead: HpkeAead;
  readonly exporterContext: Uint8Array;
  /** 16–1,024 */
  readonly bytes: number;
}

export type SendExportRequest = Setup & Exporting;
export type ReceiveExportRequest = OpeningSetup & Exporting;

interface Made {
  /** Of the key and version in the service that took part. */
  readonly keyId: string;
  readonly keyVersion: number;
}

export interface SealedMessage extends Made, Sealed {
  readonly suite: string;
}

export interface OpenedMessage extends Made {
  /** For whoever receives it to wipe. */
  readonly plaintext: Uint8Array;
}

export interface ReceivedExport extends Made {
  /** For whoever receives it to wipe. */
  readonly exported: Uint8Array;
}

export interface SentExport extends ReceivedExport {
  readonly suite: string;
  readonly enc: Uint8Array;
}

/**
 * HPKE (RFC 9180) with exchange keys. Each operation is authorized and recorded. All throw key/not-found,
 * key/wrong-purpose (also for an algorithm that has no such mode), key/disabled, key/version-disabled, and for whatever
 * does not open or cannot be sealed to exchange/refused.
 */
export interface Sealings {
  /** To the current version of the key. */
  seal(caller: Caller, request: SealRequest): Promise<SealedMessage>;
  /** As the key, to the public key of another: whoever opens it knows that the key sealed it. */
  authSeal(caller: Caller, request: AuthSealRequest): Promise<SealedMessage>;
  open(caller: Caller, request: OpenRequest): Promise<OpenedMessage>;
  /** A secret for whoever has the key, and what gives it to them. */
  sendExport(caller: Caller, request: SendExportRequest): Promise<SentExport>;
  receiveExport(caller: Caller, request: ReceiveExportRequest): Promise<ReceivedExport>;
}

interface Opened {
  readonly version: ExchangeVersion;
  readonly suite: HpkeSuite;
  readonly kem: HpkeKem;
}

export function createSealings({ keys, hsm }: { keys: Keys; hsm: Hsm }): Sealings {
  // Public keys as they are used: nothing secret, and gone when their versions are.
  const recipients = new WeakMap<ExchangeVersion, Recipient>();

  function recipientOf({ version, kem }: Opened): Recipient {
    const known = recipients.get(version) ?? kem.recipient(version.publicKey);
    if (known === undefined) throw refused();
    recipients.set(version, known);
    return known;
  }

  async function using<T extends object>(
    caller: Caller,
    action: Action,
    { key: ref, version: ordinal, aead }: { key: string; version?: number | undefined; aead: HpkeAead },
    use: Use,
    work: (opened: Opened) => Promise<T | undefined>,
  ): Promise<T & Made> {
    return await keys.use(caller, action, ref, async (key, operation) => {
      const version = await keys.exchanging(key, use, ordinal);
      operation.target({ ...targetOf(key), version: version.ordinal });
      const { name } = version.suite;
      if (!isHpkeKem(name)) throw wrongPurpose();
      const done = await work({ version, suite: hpkeSuite(name, aead), kem: hpkeKems[name] });
      if (done === undefined) throw refused();
      keys.touch(version);
      return { ...done, keyId: key.id, keyVersion: version.ordinal };
    });
  }

  /** With the key pair of a version, whose seed is here for `work` alone. */
  async function withPair<T>(version: ExchangeVersion, work: (pair: KeyPair) => Promise<T>): Promise<T> {
    return await withSeed(hsm, version, (seed) => work({ seed, publicKey: version.publicKey }));
  }

  return {
    seal: (caller, request) =>
      using(caller, 'exchange.seal', request, 'make', async (opened) => {
        const sealed = await sealTo(opened.suite, { recipient: recipientOf(opened), ...request });
        return sealed && { ...sealed, suite: opened.suite.name };
      }),

    authSeal: (caller, request) =>
      using(caller, 'exchange.auth-seal', request, 'make', async ({ version, suite, kem }) => {
        if (!kem.authenticates) throw wrongPurpose();
        const recipient = kem.recipient(request.recipientPublicKey);
        if (recipient === undefined) return undefined;
        const sealed = await withPair(version, (sender) => sealTo(suite, { recipient, sender, ...request }));
        return sealed && { ...sealed, suite: suite.name };
      }),

    open: (caller, request) =>
      using(caller, 'exchange.open', request, 'open', async ({ version, suite, kem }) => {
        if (request.senderPublicKey !== undefined && !kem.authenticates) throw wrongPurpose();
        if (request.enc.length !== kem.encBytes) return undefined;
        const plaintext = await withPair(version, (recipient) => openFrom(suite, { recipient, ...request }));
        return plaintext && { plaintext };
      }),

    sendExport: (caller, request) =>
      using(caller, 'exchange.send-export', request, 'make', async (opened) => {
        const sent = await sendExport(opened.suite, { recipient: recipientOf(opened), ...request });
        return sent && { ...sent, suite: opened.suite.name };
      }),

    receiveExport: (caller, request) =>
      using(caller, 'exchange.receive-export', request, 'open', async ({ version, suite, kem }) => {
        if (request.enc.length !== kem.encBytes) return undefined;
        const exported = await withPair(version, (recipient) =>
          receiveExport(suite, { recipient, ...request }),
        );
        return exported && { exported };
      }),
  };
}
