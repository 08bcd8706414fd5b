import { createHash } from 'node:crypto';
import { concatBytes } from '../../core/bytes.ts';

export const hashNames = ['sha256', 'sha384', 'sha512'] as const;
export type HashName = (typeof hashNames)[number];

export const hashBytes: Readonly<Record<HashName, number>> = { sha256: 32, sha384: 48, sha512: 64 };

export function hashOf(hash: HashName, message: Uint8Array): Uint8Array {
  return createHash(hash).update(message).digest();
}

const prefixes: Readonly<Record<HashName, Uint8Array>> = {
  sha256: Buffer.from('3031300d060960864801650304020105000420', 'hex'),
  sha384: Buffer.from('3041300d060960864801650304020205000430', 'hex'),
  sha512: Buffer.from('3051300d060960864801650304020305000440', 'hex'),
};

/** DigestInfo in DER, RFC 8017 §9.2 note 1. */
export function digestInfo(hash: HashName, digest: Uint8Array): Uint8Array {
  return concatBytes(prefixes[hash], digest);
}
