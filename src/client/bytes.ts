// Base64 (RFC 4648 §4, padded) without Buffer: the client runs in browsers and workers too.

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const letters = new TextEncoder().encode(alphabet);
const padding = 61; // '='
const invalid = 0xff;

const values = new Uint8Array(256).fill(invalid);
letters.forEach((letter, value) => {
  values[letter] = value;
});

const ascii = new TextDecoder();
const encoder = new TextEncoder();

export function toBase64(bytes: Uint8Array): string {
  const text = new Uint8Array(Math.ceil(bytes.length / 3) * 4);
  let out = 0;
  for (let at = 0; at < bytes.length; at += 3) {
    const group = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    text[out++] = letters[group >> 18] ?? 0;
    text[out++] = letters[(group >> 12) & 63] ?? 0;
    text[out++] = letters[(group >> 6) & 63] ?? 0;
    text[out++] = letters[group & 63] ?? 0;
  }
  const missing = (text.length / 4) * 3 - bytes.length;
  if (missing > 0) text.fill(padding, text.length - missing);
  try {
    return ascii.decode(text);
  } finally {
    text.fill(0);
  }
}

/** Undefined unless `text` is the one canonical encoding of some bytes. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (text.length % 4 !== 0) return undefined;
  const encoded = new Uint8Array(text.length);
  // What is not ASCII takes more bytes than there are and is cut, or leaves a value that is invalid.
  if (encoder.encodeInto(text, encoded).read !== text.length) return undefined;
  const pad = encoded.at(-1) !== padding ? 0 : encoded.at(-2) === padding ? 2 : 1;
  const characters = encoded.length - pad;
  const bytes = new Uint8Array((encoded.length / 4) * 3 - pad);
  let bits = 0;
  let held = 0;
  let out = 0;
  let wrong = 0;
  for (let at = 0; at < characters; at++) {
    const value = values[encoded[at] ?? 0] ?? invalid;
    wrong |= value & 0xc0;
    bits = ((bits << 6) | value) & 0xffff;
    held += 6;
    if (held >= 8) {
      held -= 8;
      bytes[out++] = bits >> held;
    }
  }
  encoded.fill(0);
  // Canonical: the bits that carry nothing are zero.
  if (wrong === 0 && (bits & ((1 << held) - 1)) === 0) return bytes;
  bytes.fill(0);
  return undefined;
}
