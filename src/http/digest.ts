import { createHash } from 'node:crypto';
import { equalBytes, fromBase64 } from '../core/bytes.ts';
import { ServiceError } from '../core/errors.ts';

const algorithms: Readonly<Record<string, { readonly name: string; readonly bytes: number }>> = {
  'sha-256': { name: 'sha256', bytes: 32 },
  'sha-512': { name: 'sha512', bytes: 64 },
};

// RFC 9651 §3.1.2 and §3.3.5: a key, and a byte sequence between colons.
const member = /^([a-z*][a-z0-9_.*-]{0,63})=:([A-Za-z0-9+/=]{0,344}):$/;

/**
 * Checks a Content-Digest field (RFC 9530 §2). Every sha-256 and sha-512 in it must be the body's, and one of
 * the two must be there: a client that sends a digest expects it to be looked at. Other algorithms are
 * ignored, as §2 allows; repeated keys and parameters, which RFC 9530 does not define, are refused.
 * @throws request/digest-mismatch
 */
export function checkContentDigest(field: string, body: Uint8Array): void {
  const seen = new Set<string>();
  let checked = false;
  for (const part of field.split(',', 17)) {
    const match = member.exec(part.replace(/^[ \t]+|[ \t]+$/g, ''));
    const key = match?.[1];
    const sent = match?.[2] === undefined ? undefined : fromBase64(match[2]);
    if (key === undefined || sent === undefined || seen.has(key) || seen.size === 16) throw mismatch();
    seen.add(key);
    const algorithm = Object.hasOwn(algorithms, key) ? algorithms[key] : undefined;
    if (algorithm === undefined) continue;
    if (!equalBytes(sent, createHash(algorithm.name).update(body).digest())) throw mismatch();
    checked = true;
  }
  if (!checked) throw mismatch();
}

function mismatch(): ServiceError {
  return new ServiceError(
    'request/digest-mismatch',
    'The Content-Digest is not a SHA-256 or SHA-512 of this body.',
  );
}
