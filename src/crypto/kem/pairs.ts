import type { JsonWebKey, KeyObject } from 'node:crypto';
import type { ExchangeAlgorithm } from '../suites.ts';
import {
  type Agreement,
  p256,
  p256PublicKey,
  p384,
  p384PublicKey,
  x25519Agreement,
  x25519PublicKey,
} from './curves.ts';
import type { Kem } from './kem.ts';
import { mlKem } from './ml-kem.ts';
import { mlKemPublicKey } from './ml-kem-native.ts';
import { xWing } from './x-wing.ts';

/** What key pairs of an algorithm do: encapsulate, or agree. */
export type Pair =
  | { readonly kind: 'kem'; readonly kem: Kem }
  | { readonly kind: 'agreement'; readonly agreement: Agreement };

const kem = (of: Kem): Pair => ({ kind: 'kem', kem: of });
const agreement = (of: Agreement): Pair => ({ kind: 'agreement', agreement: of });

export const pairs: Readonly<Record<ExchangeAlgorithm, Pair>> = {
  'x-wing': kem(xWing(mlKem)),
  'ml-kem-512': kem(mlKem('ml-kem-512')),
  'ml-kem-768': kem(mlKem('ml-kem-768')),
  'ml-kem-1024': kem(mlKem('ml-kem-1024')),
  x25519: agreement(x25519Agreement),
  p256: agreement(p256),
  p384: agreement(p384),
};

/** @returns undefined for a seed that is no private key of the algorithm: draw another */
export function publicKeyOf(algorithm: ExchangeAlgorithm, seed: Uint8Array): Uint8Array | undefined {
  const pair = pairs[algorithm];
  return pair.kind === 'kem' ? pair.kem.privateKey(seed).publicKey : pair.agreement.publicKeyOf(seed);
}

/** A public key as other software takes it: SubjectPublicKeyInfo and JWK, where runtime and algorithm have them. */
export interface PublicKeyForms {
  readonly pem?: string;
  readonly jwk?: JsonWebKey;
}

export function publicKeyForms(algorithm: ExchangeAlgorithm, raw: Uint8Array): PublicKeyForms {
  if (algorithm === 'x-wing') return { pem: xWingPem(raw) };
  const key = keyObjectOf(algorithm, raw);
  if (key === undefined) return {};
  return { pem: String(key.export({ format: 'pem', type: 'spki' })), jwk: key.export({ format: 'jwk' }) };
}

/** Up to the raw key: id-XWing, 1.3.6.1.4.1.62253.25722, without parameters (draft-connolly-cfrg-xwing-kem-10 §8). */
const xWingSpki = Buffer.from('308204d4300d060b2b0601040183e62d81c87a038204c100', 'hex');

/** No runtime reads it yet; there is no JWK of X-Wing. */
function xWingPem(raw: Uint8Array): string {
  const lines =
    Buffer.concat([xWingSpki, raw])
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return ['-----BEGIN PUBLIC KEY-----', ...lines, '-----END PUBLIC KEY-----', ''].join('\n');
}

function keyObjectOf(
  algorithm: Exclude<ExchangeAlgorithm, 'x-wing'>,
  raw: Uint8Array,
): KeyObject | undefined {
  switch (algorithm) {
    case 'x25519':
      return x25519PublicKey(raw);
    case 'p256':
      return p256PublicKey(raw);
    case 'p384':
      return p384PublicKey(raw);
    default:
      return mlKemPublicKey(algorithm, raw);
  }
}
