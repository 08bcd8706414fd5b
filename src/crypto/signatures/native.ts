import { createPrivateKey, createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import { withKeyBytes } from '../key-bytes.ts';
import { bitString, oid, sequence } from './der.ts';

/** A key pair of OpenSSL in its raw forms: of ML-DSA the seed, of SLH-DSA and Ed25519 the private key. */
export interface NativeKeys {
  readonly type: 'ed25519' | `ml-dsa-${44 | 65 | 87}` | `slh-dsa-sha2-${'128s' | '128f' | '192s' | '256s'}`;
  readonly privateFormat: 'raw-seed' | 'raw-private';
  readonly publicKeyBytes: number;
  readonly oid: string;
}

/** @throws what OpenSSL says of a private key that is none */
export function nativePrivateKey({ type, privateFormat }: NativeKeys, seed: Uint8Array): KeyObject {
  const key = Buffer.from(seed.buffer, seed.byteOffset, seed.length);
  return withKeyBytes(() => createPrivateKey({ key, format: privateFormat, asymmetricKeyType: type }));
}

/** @returns undefined for another length, or what OpenSSL takes for none */
export function nativePublicKey(
  { type, publicKeyBytes }: NativeKeys,
  raw: Uint8Array,
): KeyObject | undefined {
  if (raw.length !== publicKeyBytes) return undefined;
  try {
    const key = Buffer.from(raw);
    return withKeyBytes(() => createPublicKey({ key, format: 'raw-public', asymmetricKeyType: type }));
  } catch {
    return undefined;
  }
}

export function nativePublicKeyOf(keys: NativeKeys, seed: Uint8Array): Uint8Array {
  return createPublicKey(nativePrivateKey(keys, seed)).export({ format: 'raw-public' });
}

/** Without parameters: RFC 8410 §3, RFC 9881 §2, RFC 9909 §3. */
export function plainSpki(dotted: string, raw: Uint8Array): Uint8Array {
  return sequence(sequence(oid(dotted)), bitString(raw));
}

export function nativeJwk(keys: NativeKeys, raw: Uint8Array): JsonWebKey | undefined {
  return nativePublicKey(keys, raw)?.export({ format: 'jwk' });
}
