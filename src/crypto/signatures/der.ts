import { concatBytes, utf8 } from '../../core/bytes.ts';

// DER (X.690 §8 and §10), of which signatures, public keys and certification requests need these few types.

export function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return tagged(0x30, ...parts);
}

export function setOf(part: Uint8Array): Uint8Array {
  return tagged(0x31, part);
}

/** An INTEGER of the number's big-endian bytes, which is not negative. */
export function integer(bytes: Uint8Array): Uint8Array {
  let at = 0;
  while (at < bytes.length - 1 && bytes[at] === 0) at += 1;
  const shortest = bytes.subarray(at);
  return tagged(0x02, ...((shortest[0] ?? 0) & 0x80 ? [Uint8Array.of(0)] : []), shortest);
}

/** A BIT STRING of whole bytes. */
export function bitString(bytes: Uint8Array): Uint8Array {
  return tagged(0x03, Uint8Array.of(0), bytes);
}

export function octetString(bytes: Uint8Array): Uint8Array {
  return tagged(0x04, bytes);
}

/** An OBJECT IDENTIFIER of its dotted form. */
export function oid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return tagged(0x06, ...[first * 40 + second, ...rest].map(base128));
}

export function utf8String(text: string): Uint8Array {
  return tagged(0x0c, utf8(text));
}

/** Letters, digits and a few signs. */
export function printableString(text: string): Uint8Array {
  return tagged(0x13, utf8(text));
}

export const nothing = Uint8Array.of(0x05, 0);

/** Tag and length before the parts. */
export function tagged(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  return concatBytes(Uint8Array.of(tag, ...lengthOctets(length)), ...parts);
}

function lengthOctets(length: number): number[] {
  if (length < 0x80) return [length];
  const octets: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest % 256);
  return [0x80 | octets.length, ...octets];
}

function base128(value: number): Uint8Array {
  const groups = [value % 128];
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128))
    groups.unshift(0x80 | (rest % 128));
  return Uint8Array.from(groups);
}
