import {
  type Psk,
  type RecipientContext,
  recipientContext,
  type SenderContext,
  schedule,
  senderContext,
} from './context.ts';
import { hpkeKems, type KeyPair, type Recipient } from './kem.ts';
import type { HpkeSuite } from './suites.ts';

/**
 * HPKE, RFC 9180: whoever has a public key seals to it. The mode follows from what is given: a pre-shared key, a
 * sender's key pair, both or neither. What cannot be sealed to or opened is undefined, whatever is wrong with it.
 */

interface Setup {
  /** Of the application: what both sides know. Not secret, and not sent. */
  readonly info: Uint8Array;
  readonly psk?: Psk | undefined;
}

export interface SenderSetup extends Setup {
  readonly recipient: Recipient;
  /** @throws RangeError where the KEM authenticates none */
  readonly sender?: KeyPair | undefined;
}

export interface RecipientSetup extends Setup {
  readonly enc: Uint8Array;
  readonly recipient: KeyPair;
  /** The sender that must have sealed. @throws RangeError where the KEM authenticates none */
  readonly senderPublicKey?: Uint8Array | undefined;
}

/** SetupS, RFC 9180 §5.1. @returns what is sent along, and the context; undefined for a public key that is refused */
export async function setupSender(
  suite: HpkeSuite,
  { recipient, sender, info, psk }: SenderSetup,
): Promise<{ enc: Uint8Array; context: SenderContext } | undefined> {
  const made = await recipient.encapsulate(sender);
  if (made === undefined) return undefined;
  const { enc, sharedSecret } = made;
  const authenticated = sender !== undefined;
  return { enc, context: senderContext(schedule(suite, { sharedSecret, info, psk, authenticated })) };
}

/** SetupR, RFC 9180 §5.1. A wrong `enc` of ML-KEM or X-Wing gives a context in which nothing opens. */
export async function setupRecipient(
  suite: HpkeSuite,
  { enc, recipient, senderPublicKey, info, psk }: RecipientSetup,
): Promise<RecipientContext | undefined> {
  const sharedSecret = await hpkeKems[suite.kem].decapsulate(enc, recipient, senderPublicKey);
  if (sharedSecret === undefined) return undefined;
  const authenticated = senderPublicKey !== undefined;
  return recipientContext(schedule(suite, { sharedSecret, info, psk, authenticated }));
}

export interface Sealed {
  readonly enc: Uint8Array;
  /** ciphertext ‖ tag(16) */
  readonly ciphertext: Uint8Array;
}

/** Seal, RFC 9180 §6.1: one message. */
export async function sealTo(
  suite: HpkeSuite,
  { aad, plaintext, ...setup }: SenderSetup & { aad: Uint8Array; plaintext: Uint8Array },
): Promise<Sealed | undefined> {
  const made = await setupSender(suite, setup);
  if (made === undefined) return undefined;
  try {
    return { enc: made.enc, ciphertext: made.context.seal(aad, plaintext) };
  } finally {
    made.context.wipe();
  }
}

/** Open, RFC 9180 §6.1. @returns the plaintext, for the caller to wipe; undefined when anything is wrong */
export async function openFrom(
  suite: HpkeSuite,
  { aad, ciphertext, ...setup }: RecipientSetup & { aad: Uint8Array; ciphertext: Uint8Array },
): Promise<Uint8Array | undefined> {
  const context = await setupRecipient(suite, setup);
  try {
    return context?.open(aad, ciphertext);
  } finally {
    context?.wipe();
  }
}

/** SendExport, RFC 9180 §6.2. @returns what is sent along, and a secret for the caller to wipe */
export async function sendExport(
  suite: HpkeSuite,
  { exporterContext, bytes, ...setup }: SenderSetup & { exporterContext: Uint8Array; bytes: number },
): Promise<{ enc: Uint8Array; exported: Uint8Array } | undefined> {
  const made = await setupSender(suite, setup);
  if (made === undefined) return undefined;
  made.context.wipe();
  return { enc: made.enc, exported: made.context.export(exporterContext, bytes) };
}

/** ReceiveExport, RFC 9180 §6.2. @returns a secret for the caller to wipe */
export async function receiveExport(
  suite: HpkeSuite,
  { exporterContext, bytes, ...setup }: RecipientSetup & { exporterContext: Uint8Array; bytes: number },
): Promise<Uint8Array | undefined> {
  const context = await setupRecipient(suite, setup);
  context?.wipe();
  return context?.export(exporterContext, bytes);
}
