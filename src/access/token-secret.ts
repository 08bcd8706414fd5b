import { hash, randomBytes } from 'node:crypto';
import { idBytes, idFromBytes } from '../core/ids.ts';

/**
 * A bearer token is `stk_` and 64 characters of base64url: the token's id (16 bytes) and its secret
 * (32 random bytes). The prefix lets secret scanners find leaked ones; the store keeps SHA-256 of the
 * secret, which needs no slow hash because it has 256 bits of entropy.
 */
const pattern = /^stk_([A-Za-z0-9_-]{64})$/;

export interface TokenSecret {
  readonly id: string;
  readonly secretHash: Uint8Array;
}

/** A new secret for the token `id`: its text (shown once) and the hash to keep. */
export function makeTokenSecret(id: string): { text: string; secretHash: Uint8Array } {
  const secret = randomBytes(32);
  try {
    const text = `stk_${Buffer.concat([idBytes(id), secret]).toString('base64url')}`;
    return { text, secretHash: sha256(secret) };
  } finally {
    secret.fill(0);
  }
}

/** Undefined unless `text` has a token's form. */
export function parseTokenSecret(text: string): TokenSecret | undefined {
  const encoded = pattern.exec(text)?.[1];
  if (encoded === undefined) return undefined;
  const bytes = Buffer.from(encoded, 'base64url');
  try {
    return { id: idFromBytes(bytes.subarray(0, 16)), secretHash: sha256(bytes.subarray(16)) };
  } catch {
    return undefined; // no UUID in the first 16 bytes
  } finally {
    bytes.fill(0);
  }
}

function sha256(secret: Uint8Array): Uint8Array {
  return hash('sha256', secret, 'buffer');
}
