// Base64 (RFC 4648 §4, padded) without Buffer: the client runs in browsers and workers too.

/** How bytes are written in JSON: what a platform does best, or the functions below. */
export interface Base64 {
  toBase64(bytes: Uint8Array): string;
  /** Undefined unless `text` is the one canonical encoding of some bytes. */
  fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined;
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const encoder = new TextEncoder();
const ascii = new TextDecoder();
const letters = encoder.encode(alphabet);
const padding = 61; // '='
/** Beyond six bits. */
const invalid = 64;

const values = new Uint8Array(256).fill(invalid);
letters.forEach((letter, value) => {
  values[letter] = value;
});

export function toBase64(bytes: Uint8Array): string {
  const text = new Uint8Array(Math.ceil(bytes.length / 3) * 4);
  let out = 0;
  for (let at = 0; at < bytes.length; at += 3) {
    const group = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    text[out] = letters[group >> 18] ?? 0;
    text[out + 1] = letters[(group >> 12) & 63] ?? 0;
    text[out + 2] = letters[(group >> 6) & 63] ?? 0;
    text[out + 3] = letters[group & 63] ?? 0;
    out += 4;
  }
  const missing = (text.length / 4) * 3 - bytes.length;
  text.fill(padding, text.length - missing);
  try {
    return ascii.decode(text);
  } finally {
    text.fill(0);
  }
}

export function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (text.length % 4 !== 0) return undefined;
  const encoded = new Uint8Array(text.length);
  // What is not ASCII takes more room than there is.
  if (encoder.encodeInto(text, encoded).read !== text.length) return undefined;
  const pad = encoded.at(-1) !== padding ? 0 : encoded.at(-2) === padding ? 2 : 1;
  // As zeros they add nothing; a `=` anywhere else is invalid.
  encoded.fill(letters[0] ?? 0, encoded.length - pad);
  // What the last group has beyond it is not written.
  const bytes = new Uint8Array((encoded.length / 4) * 3 - pad);
  let wrong = 0;
  let group = 0;
  let out = 0;
  for (let at = 0; at < encoded.length; at += 4) {
    const a = values[encoded[at] ?? 0] ?? 0;
    const b = values[encoded[at + 1] ?? 0] ?? 0;
    const c = values[encoded[at + 2] ?? 0] ?? 0;
    const d = values[encoded[at + 3] ?? 0] ?? 0;
    wrong |= a | b | c | d;
    group = (a << 18) | (b << 12) | (c << 6) | d;
    bytes[out] = group >> 16;
    bytes[out + 1] = group >> 8;
    bytes[out + 2] = group;
    out += 3;
  }
  encoded.fill(0);
  // Canonical: the bits of the last group that carry nothing are zero.
  const unused = (1 << (8 * pad)) - 1;
  if ((wrong & invalid) === 0 && (group & unused) === 0) return bytes;
  bytes.fill(0);
  return undefined;
}
