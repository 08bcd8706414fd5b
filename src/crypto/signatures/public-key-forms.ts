import type { PublicKeyForms } from '../kem/pairs.ts';
import type { SignAlgorithm } from '../suites.ts';
import { schemes } from './schemes.ts';

/** The public key of a signing key as other software takes it. */
export function signatureKeyForms(algorithm: SignAlgorithm, raw: Uint8Array): PublicKeyForms {
  const scheme = schemes[algorithm];
  const jwk = scheme.jwk(raw);
  return { pem: pemOf('PUBLIC KEY', scheme.spki(raw)), ...(jwk && { jwk }) };
}

/** RFC 7468 §3: lines of 64 characters. */
export function pemOf(label: string, der: Uint8Array): string {
  const lines = Buffer.from(der)
    .toString('base64')
    .match(/.{1,64}/g);
  return [`-----BEGIN ${label}-----`, ...(lines ?? []), `-----END ${label}-----`, ''].join('\n');
}
