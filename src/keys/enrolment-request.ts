import { createHash } from 'node:crypto';
import { z } from 'zod';
import { fromBase64, lengthPrefixed, toBase64 } from '../core/bytes.ts';
import { isId } from '../core/ids.ts';
import { labels } from '../crypto/labels.ts';
import { transportKeyBits } from '../hsm/hsm.ts';

/** What a token asks with for the system keys. No secret; that it is genuine its fingerprint tells. */
export interface EnrolmentRequest {
  readonly rootId: string;
  readonly tokenLabel: string;
  /** RSAPublicKey (RFC 8017 A.1.1) in DER. */
  readonly publicKey: Uint8Array;
}

const fileSchema = z.strictObject({
  format: z.literal('stathera-enrolment-request-1'),
  rootId: z.string().refine(isId),
  tokenLabel: z.string().min(1).max(32),
  // In DER some bytes more than the modulus.
  publicKey: z.base64().max(Math.ceil((transportKeyBits / 8 + 64) / 3) * 4),
});

export const requestFileLimit = 4096;

export function encodeRequest({ rootId, tokenLabel, publicKey }: EnrolmentRequest): string {
  const format = 'stathera-enrolment-request-1';
  return `${JSON.stringify({ format, rootId, tokenLabel, publicKey: toBase64(publicKey) }, null, 2)}\n`;
}

/** @returns undefined for any other text */
export function parseRequest(text: string): EnrolmentRequest | undefined {
  if (text.length > requestFileLimit) return undefined;
  try {
    const { rootId, tokenLabel, publicKey } = fileSchema.parse(JSON.parse(text));
    const bytes = fromBase64(publicKey);
    return bytes && { rootId, tokenLabel, publicKey: bytes };
  } catch {
    return undefined;
  }
}

/** SHA-256 over all of it, 64 hex digits: what two people compare. */
export function fingerprintOf({ rootId, tokenLabel, publicKey }: EnrolmentRequest): string {
  return createHash('sha256')
    .update(lengthPrefixed(labels.enrolmentRequest, rootId, tokenLabel, publicKey))
    .digest('hex');
}
