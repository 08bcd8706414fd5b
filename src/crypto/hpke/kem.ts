import { randomFillSync } from 'node:crypto';
import { concatBytes, secretBytes, wipe } from '../../core/bytes.ts';
import { type Agreement, p256, x25519Agreement } from '../kem/curves.ts';
import type { Kem } from '../kem/kem.ts';
import { mlKem } from '../kem/ml-kem.ts';
import { xWing } from '../kem/x-wing.ts';
import { labeledExpand, labeledExtract, secretOf } from './labeled.ts';
import { type HpkeKemName, kemSuiteId } from './suites.ts';

/** A key pair as it is kept: its seed, which is neither changed nor kept here, and its public key in raw form. */
export interface KeyPair {
  readonly seed: Uint8Array;
  readonly publicKey: Uint8Array;
}

export interface Encapsulation {
  /** For the recipient, in clear. */
  readonly enc: Uint8Array;
  /** 32 bytes, for the caller to wipe. */
  readonly sharedSecret: Uint8Array;
}

/** A public key that is ready to be sealed to. */
export interface Recipient {
  readonly publicKey: Uint8Array;
  /**
   * @param sender proves who seals, RFC 9180 §5.1.3, where the KEM can
   * @returns undefined when the public key, as only now is seen, gives no secret
   */
  encapsulate(sender?: KeyPair): Promise<Encapsulation | undefined>;
}

/** A KEM as HPKE takes it, RFC 9180 §4. What does not fit is undefined, whatever is wrong with it. */
export interface HpkeKem {
  readonly encBytes: number;
  /** True where a sender can prove who it is: of X-Wing and ML-KEM none can. */
  readonly authenticates: boolean;
  /** @returns undefined for what is no public key of this KEM */
  recipient(publicKey: Uint8Array): Recipient | undefined;
  /** @returns 32 bytes for the caller to wipe; undefined for what no encapsulation gives */
  decapsulate(
    enc: Uint8Array,
    recipient: KeyPair,
    senderPublicKey?: Uint8Array,
  ): Promise<Uint8Array | undefined>;
}

/** X-Wing and ML-KEM: their secret is the shared secret as it is, draft-ietf-hpke-pq-04 §3 and §4. */
function plainKem(kem: Kem): HpkeKem {
  return {
    encBytes: kem.ciphertextBytes,
    authenticates: false,
    recipient(publicKey) {
      const encapsulator = kem.publicKey(publicKey);
      if (encapsulator === undefined) return undefined;
      return {
        publicKey,
        async encapsulate(sender) {
          if (sender !== undefined) throw unauthenticated();
          const made = encapsulator.encapsulate();
          return made && { enc: made.ciphertext, sharedSecret: made.sharedSecret };
        },
      };
    },
    async decapsulate(enc, { seed }, senderPublicKey) {
      if (senderPublicKey !== undefined) throw unauthenticated();
      return enc.length === kem.ciphertextBytes ? kem.privateKey(seed).decapsulate(enc) : undefined;
    },
  };
}

/** What this process asks of a KEM that has no such thing: a defect, not an input. */
function unauthenticated(): RangeError {
  return new RangeError('this KEM authenticates no sender');
}

/**
 * DHKEM over one curve, RFC 9180 §4.1. Points are validated as §7.1.4 has it, and X25519's have one encoding here: not
 * below the prime, or with the top bit set, they are refused like points of low order.
 */
function dhKem(name: HpkeKemName, curve: Agreement): HpkeKem {
  return {
    encBytes: curve.publicKeyBytes,
    authenticates: true,
    recipient(publicKey) {
      if (publicKey.length !== curve.publicKeyBytes) return undefined;
      return {
        publicKey,
        async encapsulate(sender) {
          const ephemeral = newKeyPair(curve);
          try {
            return await encapsulateWith(ephemeral, { name, curve, publicKey, sender });
          } finally {
            wipe(ephemeral.seed);
          }
        },
      };
    },
    async decapsulate(enc, recipient, senderPublicKey) {
      if (enc.length !== curve.publicKeyBytes) return undefined;
      const agreed = [await curve.agree(recipient, enc)];
      if (senderPublicKey !== undefined) agreed.push(await curve.agree(recipient, senderPublicKey));
      return sharedSecret(name, agreed, [enc, recipient.publicKey, senderPublicKey]);
    },
  };
}

/** AuthEncap and Encap with a given ephemeral key pair; for published answers, which tell theirs. */
export async function encapsulateWith(
  ephemeral: KeyPair,
  {
    name,
    curve,
    publicKey,
    sender,
  }: { name: HpkeKemName; curve: Agreement; publicKey: Uint8Array; sender?: KeyPair | undefined },
): Promise<Encapsulation | undefined> {
  const agreed = [await curve.agree(ephemeral, publicKey)];
  if (sender !== undefined) agreed.push(await curve.agree(sender, publicKey));
  const enc = ephemeral.publicKey;
  const secret = sharedSecret(name, agreed, [enc, publicKey, sender?.publicKey]);
  return secret && { enc, sharedSecret: secret };
}

function newKeyPair(curve: Agreement): KeyPair {
  for (;;) {
    const seed = randomFillSync(secretBytes(32));
    const publicKey = curve.publicKeyOf(seed);
    // Of P-256 one in 2^32 is no private key.
    if (publicKey !== undefined) return { seed, publicKey };
  }
}

/** ExtractAndExpand, RFC 9180 §4.1. The agreements are wiped. */
function sharedSecret(
  name: HpkeKemName,
  agreed: readonly (Uint8Array | undefined)[],
  publicKeys: readonly (Uint8Array | undefined)[],
): Uint8Array | undefined {
  const parts = agreed.filter((part) => part !== undefined);
  let dh: Uint8Array | undefined;
  let extracted: Uint8Array | undefined;
  try {
    if (parts.length < agreed.length) return undefined;
    const suiteId = kemSuiteId(name);
    dh = concatBytes(...parts);
    extracted = labeledExtract(suiteId, undefined, 'eae_prk', dh);
    const context = concatBytes(...publicKeys.filter((key) => key !== undefined));
    return labeledExpand(suiteId, secretOf(extracted), 'shared_secret', context, 32);
  } finally {
    wipe(dh, extracted, ...parts);
  }
}

export const hpkeKems: Readonly<Record<HpkeKemName, HpkeKem>> = {
  'x-wing': plainKem(xWing(mlKem)),
  'ml-kem-768': plainKem(mlKem('ml-kem-768')),
  x25519: dhKem('x25519', x25519Agreement),
  p256: dhKem('p256', p256),
};
