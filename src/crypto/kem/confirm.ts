import { createHmac } from 'node:crypto';
import { lengthPrefixed, wipe } from '../../core/bytes.ts';
import { hkdf } from '../kdf.ts';
import { withKeyBytes } from '../key-bytes.ts';
import { labels } from '../labels.ts';
import type { ExchangeSuite } from '../suites.ts';

const none = new Uint8Array(0);

/** What both sides of an encapsulation saw. */
export interface Transcript {
  readonly suite: Pick<ExchangeSuite, 'id'>;
  readonly publicKey: Uint8Array;
  readonly ciphertext: Uint8Array;
  /** Of the application: names, a session, a message. May be empty. */
  readonly info: Uint8Array;
}

export type Role = 'encapsulator' | 'decapsulator';

/**
 * The proof of each side that it has the secret, in the manner of SP 800-56A r3 §5.9: HMAC-SHA-256 under a key that is
 * for this alone, over role and transcript. ../../exchange/README.md has it byte by byte.
 * @returns 32 bytes of each, to be sent in clear
 */
export function confirmations(sharedSecret: Uint8Array, transcript: Transcript): Record<Role, Uint8Array> {
  const { suite, publicKey, ciphertext, info } = transcript;
  const key = hkdf('sha256', {
    ...{ secret: sharedSecret, salt: none, bytes: 32 },
    info: lengthPrefixed(labels.exchangeConfirm, suite.id),
  });
  const proof = (role: Role) =>
    withKeyBytes(() => createHmac('sha256', key))
      .update(lengthPrefixed(role, publicKey, ciphertext, info))
      .digest();
  try {
    return { encapsulator: proof('encapsulator'), decapsulator: proof('decapsulator') };
  } finally {
    wipe(key);
  }
}

/**
 * A key from an ECDH agreement by HKDF-SHA-256. The public keys stand in the order of their bytes, so that both sides
 * derive the same.
 * @param secret the raw agreement. @param label the purpose. @param bytes 1–8,160
 */
export function deriveFromAgreement(
  secret: Uint8Array,
  {
    suite,
    publicKeys: [one, other],
    label,
    info,
    bytes,
  }: {
    suite: Pick<ExchangeSuite, 'id'>;
    publicKeys: readonly [Uint8Array, Uint8Array];
    label: string;
    info: Uint8Array;
    bytes: number;
  },
): Uint8Array {
  const [lower, higher] = Buffer.compare(one, other) <= 0 ? [one, other] : [other, one];
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes);
  return hkdf('sha256', {
    ...{ secret, salt: none, bytes },
    info: lengthPrefixed(labels.exchangeDerive, suite.id, lower, higher, label, info, length),
  });
}
