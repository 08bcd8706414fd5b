import {
  createECDH,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import { concatBytes, wipe } from '../../core/bytes.ts';
import { withKeyBytes } from '../key-bytes.ts';
import { requireBytes } from './kem.ts';

/** Diffie-Hellman over one curve. Peers are given as bytes; what is no valid public key is undefined. */
export interface Agreement {
  readonly publicKeyBytes: number;
  /** @returns undefined for a seed that is no private key: draw another */
  publicKeyOf(seed: Uint8Array): Uint8Array | undefined;
  /** @returns the raw secret, for a key derivation and to be wiped; undefined for a peer that is refused */
  agree(own: { seed: Uint8Array; publicKey: Uint8Array }, peer: Uint8Array): Promise<Uint8Array | undefined>;
}

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'));

// DER up to the raw key: RFC 8410 §4 and §7; RFC 5480 §2, RFC 5915 §3 inside of RFC 5958.
const x25519Public = bytes('302a300506032b656e032100');
const x25519Private = bytes('302e020100300506032b656e04220420');

export function x25519PublicKey(raw: Uint8Array): KeyObject {
  requireBytes('public key', raw, 32);
  const key = hasRawForms ? der(raw) : der(x25519Public, raw);
  return withKeyBytes(() =>
    hasRawForms
      ? createPublicKey({ key, format: 'raw-public', asymmetricKeyType: 'x25519' })
      : createPublicKey({ key, format: 'der', type: 'spki' }),
  );
}

/** @param seed neither changed nor kept */
export function x25519PrivateKey(seed: Uint8Array): KeyObject {
  requireBytes('seed', seed, 32);
  return privateKeyFrom(x25519Private, seed);
}

/** The raw bytes of an X25519 public key. */
export function x25519Raw(key: KeyObject): Uint8Array {
  return hasRawForms ? key.export({ format: 'raw-public' }) : endOfDer(key);
}

const endOfDer = (key: KeyObject) =>
  key.export({ format: 'der', type: 'spki' }).subarray(x25519Public.length);

/** DER goes through OpenSSL's encoders, a third of an encapsulation's time; the first Nodes 24 have nothing else. */
const hasRawForms = (() => {
  try {
    return newX25519().publicKey.export({ format: 'raw-public' }).length === 32;
  } catch {
    return false;
  }
})();

export function newX25519(): { publicKey: KeyObject; privateKey: KeyObject } {
  return generateKeyPairSync('x25519');
}

/**
 * X25519 as RFC 7748 §5 has it: the top bit of the peer's key is ignored, values above the prime are reduced.
 * @returns undefined where the secret would be zero, which OpenSSL refuses (§6.1): the peer is of low order
 */
export function x25519(privateKey: KeyObject, publicKey: KeyObject): Uint8Array | undefined {
  try {
    return diffieHellman({ privateKey, publicKey });
  } catch {
    return undefined;
  }
}

export const x25519Agreement: Agreement = {
  publicKeyBytes: 32,
  publicKeyOf: (seed) => x25519Raw(createPublicKey(x25519PrivateKey(seed))),
  async agree({ seed }, peer) {
    if (peer.length !== 32 || !isCanonical(peer)) return undefined;
    return x25519(x25519PrivateKey(seed), x25519PublicKey(peer));
  },
};

/**
 * True below 2^255 - 19, little endian. RFC 7748 has other encodings accepted; nobody makes one by honest means, and as
 * the encoding is bound into what is derived, it is refused.
 */
function isCanonical(key: Uint8Array): boolean {
  const top = key[31] ?? 0;
  if (top !== 0x7f) return top < 0x7f;
  return (key[0] ?? 0) < 0xed || key.subarray(1, 31).some((byte) => byte !== 0xff);
}

interface Curve {
  readonly name: 'prime256v1' | 'secp384r1';
  readonly scalarBytes: number;
  readonly spki: Uint8Array;
  /** Up to the scalar. */
  readonly pkcs8: Uint8Array;
  /** Between scalar and point. */
  readonly middle: Uint8Array;
}

const p256Curve: Curve = {
  name: 'prime256v1',
  scalarBytes: 32,
  spki: bytes('3059301306072a8648ce3d020106082a8648ce3d030107034200'),
  pkcs8: bytes('308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420'),
  middle: bytes('a144034200'),
};

const p384Curve: Curve = {
  name: 'secp384r1',
  scalarBytes: 48,
  spki: bytes('3076301006072a8648ce3d020106052b81040022036200'),
  pkcs8: bytes('3081b6020100301006072a8648ce3d020106052b8104002204819e30819b0201010430'),
  middle: bytes('a164036200'),
};

function primeCurve({ name, scalarBytes, spki, pkcs8, middle }: Curve): Agreement {
  const publicKeyBytes = 1 + 2 * scalarBytes;
  return {
    publicKeyBytes,
    publicKeyOf(seed) {
      requireBytes('seed', seed, scalarBytes);
      const ecdh = createECDH(name);
      try {
        // Refuses zero and what is not below the order (SP 800-186 §3.1), as import as a KeyObject does not.
        ecdh.setPrivateKey(seed);
      } catch {
        return undefined;
      }
      return ecdh.getPublicKey();
    },
    async agree({ seed, publicKey }, peer) {
      // Uncompressed points alone (SEC 1 §2.3.3): one point, one encoding; the point at infinity has none.
      if (peer.length !== publicKeyBytes || peer[0] !== 4) return undefined;
      const peerKey = pointOf(spki, peer);
      if (peerKey === undefined) return undefined;
      requireBytes('public key', publicKey, publicKeyBytes);
      // With the public key, which would take another multiplication. P-384 takes a millisecond: beside this thread.
      const privateKey = privateKeyFrom(pkcs8, seed, middle, publicKey);
      return await new Promise((resolve) => {
        diffieHellman({ privateKey, publicKey: peerKey }, (error, secret) =>
          resolve(error === null ? secret : undefined),
        );
      });
    },
  };
}

/** @returns undefined for what does not lie on the curve (SP 800-56A r3 §5.6.2.3.3; the cofactor is 1) */
function pointOf(spki: Uint8Array, point: Uint8Array): KeyObject | undefined {
  try {
    const key = der(spki, point);
    return withKeyBytes(() => createPublicKey({ key, format: 'der', type: 'spki' }));
  } catch {
    return undefined;
  }
}

export const p256 = primeCurve(p256Curve);
export const p384 = primeCurve(p384Curve);
export const p256PublicKey = (raw: Uint8Array) => pointOf(p256Curve.spki, raw);
export const p384PublicKey = (raw: Uint8Array) => pointOf(p384Curve.spki, raw);

function privateKeyFrom(...parts: Uint8Array[]): KeyObject {
  const key = der(...parts);
  try {
    return withKeyBytes(() => createPrivateKey({ key, format: 'der', type: 'pkcs8' }));
  } finally {
    wipe(key);
  }
}

function der(...parts: Uint8Array[]): Buffer {
  const joined = concatBytes(...parts);
  return Buffer.from(joined.buffer, joined.byteOffset, joined.length);
}
