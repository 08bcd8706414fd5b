import { timingSafeEqual } from 'node:crypto';

const encoder = new TextEncoder();

export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Joins `parts` into one new array. */
export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  let total = 0;
  for (const part of parts) total += part.length;
  // It may be for secrets, and clearing what is written at once costs as much as writing it.
  const out = secretBytes(total);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/**
 * Encodes fields unambiguously: each as a 4-byte big-endian length and its bytes.
 * Different lists of fields never give the same bytes, which plain concatenation does not promise.
 */
export function lengthPrefixed(...fields: readonly (Uint8Array | string)[]): Uint8Array {
  let total = 0;
  for (const field of fields) total += 4 + byteLength(field);
  const out = Buffer.allocUnsafe(total);
  let at = 0;
  for (const field of fields) {
    const start = at + 4;
    if (typeof field === 'string') at = start + out.write(field, start);
    else {
      out.set(field, start);
      at = start + field.length;
    }
    out.writeUInt32BE(at - start, start - 4);
  }
  return out;
}

function byteLength(field: Uint8Array | string): number {
  return typeof field === 'string' ? Buffer.byteLength(field) : field.length;
}

/** Compares in time that depends on the lengths alone. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/**
 * Bytes for a secret, not cleared: whoever asks overwrites all of them. They lie outside V8's heap, in which a
 * typed array of up to 64 bytes lies: collections, and any view of it, leave copies there that none can wipe.
 */
export function secretBytes(length: number): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset } = Buffer.allocUnsafe(length);
  return new Uint8Array(buffer, byteOffset, length);
}

/** Overwrites secrets. JavaScript may have copied them before: SECURITY.md says what this does not promise. */
export function wipe(...secrets: readonly (Uint8Array | undefined)[]): void {
  for (const secret of secrets) secret?.fill(0);
}

export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

/** Decodes padded standard base64 (RFC 4648 §4); undefined unless `text` is its one canonical encoding. */
export function fromBase64(text: string): Uint8Array | undefined {
  if (text.length % 4 !== 0) return undefined;
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}
