import type { KeyObject } from 'node:crypto';
import { concatBytes, wipe } from '../../core/bytes.ts';
import { type MessageKey, openMessage, sealMessage } from '../aead.ts';
import { labeledExpand, labeledExtract, secretOf } from './labeled.ts';
import { type HpkeSuite, hpkeAeads } from './suites.ts';

const nonceBytes = 12;
const none = new Uint8Array(0);
/** RFC 9180 §5.2 refuses at 2^96 - 1; numbers are exact up to here, which nobody reaches either. */
export const sequenceLimit = Number.MAX_SAFE_INTEGER;

/** RFC 9180 §9.5 asks for 32 bytes of entropy: less cannot have them. */
export const leastPskBytes = 32;

/** What both sides know beforehand. Both, or neither. */
export interface Psk {
  readonly psk: Uint8Array;
  /** Which one it is; in clear for whoever needs it. 1 byte or more. */
  readonly pskId: Uint8Array;
}

/** The messages of one encapsulation: each under a nonce of its own, in turn. `wipe` it when it is done. */
export interface Context {
  /** RFC 9180 §5.3. @param bytes up to 8,160. @returns a secret for the caller to wipe */
  export(exporterContext: Uint8Array, bytes: number): Uint8Array;
  wipe(): void;
}

export interface SenderContext extends Context {
  /** @returns ciphertext ‖ tag(16). @throws RangeError after 2^53 - 1 messages, or where the suite has no AEAD */
  seal(aad: Uint8Array, plaintext: Uint8Array): Uint8Array;
}

export interface RecipientContext extends Context {
  /**
   * A message that is refused counts for nothing: the next one has its place.
   * @returns the plaintext, for the caller to wipe; undefined for whatever is not the next message
   * @throws RangeError after 2^53 - 1 messages, or where the suite has no AEAD
   */
  open(aad: Uint8Array, ciphertext: Uint8Array): Uint8Array | undefined;
}

interface Scheduled {
  readonly suite: HpkeSuite;
  readonly key: Uint8Array;
  readonly baseNonce: Uint8Array;
  readonly exporter: KeyObject;
}

/** KeySchedule, RFC 9180 §5.1. @param sharedSecret is wiped */
export function schedule(
  suite: HpkeSuite,
  {
    sharedSecret,
    info,
    psk,
    authenticated,
  }: { sharedSecret: Uint8Array; info: Uint8Array; psk?: Psk | undefined; authenticated: boolean },
): Scheduled {
  const { id } = suite;
  let secret: Uint8Array | undefined;
  let exporter: Uint8Array | undefined;
  try {
    if (psk !== undefined && (psk.psk.length < leastPskBytes || psk.pskId.length === 0))
      throw new RangeError(`a pre-shared key needs ${leastPskBytes} bytes and an id`);
    const context = concatBytes(
      Uint8Array.of((psk === undefined ? 0 : 1) + (authenticated ? 2 : 0)),
      labeledExtract(id, undefined, 'psk_id_hash', psk?.pskId ?? none),
      labeledExtract(id, undefined, 'info_hash', info),
    );
    secret = labeledExtract(id, secretOf(sharedSecret), 'secret', psk?.psk ?? none);
    const from = secretOf(secret);
    const { keyBytes } = hpkeAeads[suite.aead];
    exporter = labeledExpand(id, from, 'exp', context, 32);
    return {
      suite,
      key: keyBytes === 0 ? none : labeledExpand(id, from, 'key', context, keyBytes),
      baseNonce: keyBytes === 0 ? none : labeledExpand(id, from, 'base_nonce', context, nonceBytes),
      exporter: secretOf(exporter),
    };
  } finally {
    wipe(sharedSecret, secret, exporter);
  }
}

/** @param sequence messages before this one; other than 0 for tests of its end */
export function senderContext(scheduled: Scheduled, sequence = 0): SenderContext {
  const messageKeys = countedKeys(scheduled, sequence);
  return {
    ...contextOf(scheduled),
    seal(aad, plaintext) {
      const sealed = sealMessage(messageKeys.next(), aad, plaintext);
      messageKeys.taken();
      return sealed;
    },
  };
}

export function recipientContext(scheduled: Scheduled, sequence = 0): RecipientContext {
  const messageKeys = countedKeys(scheduled, sequence);
  return {
    ...contextOf(scheduled),
    open(aad, ciphertext) {
      const plaintext = openMessage(messageKeys.next(), aad, ciphertext);
      if (plaintext !== undefined) messageKeys.taken();
      return plaintext;
    },
  };
}

function contextOf({ suite, key, baseNonce, exporter }: Scheduled): Context {
  return {
    export: (exporterContext, bytes) => labeledExpand(suite.id, exporter, 'sec', exporterContext, bytes),
    wipe: () => wipe(key, baseNonce),
  };
}

/** The key under the nonce of the next message: its number, XOR the base nonce (RFC 9180 §5.2). */
function countedKeys({ suite, key, baseNonce }: Scheduled, first: number) {
  let sequence = first;
  return {
    next(): MessageKey {
      if (suite.aead === 'export-only') throw new RangeError('this suite encrypts nothing');
      if (sequence >= sequenceLimit) throw new RangeError('the context has no message left');
      const number = Buffer.alloc(nonceBytes);
      number.writeBigUInt64BE(BigInt(sequence), nonceBytes - 8);
      const nonce = number.map((byte, at) => byte ^ (baseNonce[at] ?? 0));
      return { cipher: suite.aead, key, nonce };
    },
    taken() {
      sequence += 1;
    },
  };
}
