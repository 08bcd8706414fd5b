import { parseExact } from '../../core/exact-json.ts';

// A value as it is encrypted: a byte for its kind, and its content. Equal values give equal bytes, and no others do.

const textKind = '\u0001';
const jsonKind = '\u0002';
const encoder = new TextEncoder();
/** Refuses what is not UTF-8, and keeps a byte order mark, which is part of the value. */
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Text that UTF-8 has is its bytes; everything else is its JSON text: numbers as they are written, strings with lone
 * surrogates escaped.
 * @param value of ../../core/exact-json.ts
 */
export function encodeValue(value: unknown): Uint8Array {
  // In front of the text a kind is the byte that it is before its bytes.
  return encoder.encode(
    typeof value === 'string' && value.isWellFormed() ? textKind + value : jsonKind + JSON.stringify(value),
  );
}

/** @returns the value in an array, or undefined for what `encodeValue` never makes */
export function decodeValue(bytes: Uint8Array): readonly [unknown] | undefined {
  try {
    const text = decoder.decode(bytes);
    if (text.startsWith(textKind)) return [text.slice(1)];
    return text.startsWith(jsonKind) ? [parseExact(text.slice(1))] : undefined;
  } catch {
    return undefined;
  }
}
