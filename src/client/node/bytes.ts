// Base64 by Buffer, twenty times as fast as ../bytes.ts.

export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

/** In memory of its own, not Buffer's pool: the caller gets an ArrayBuffer with nothing else in it. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (text.length % 4 !== 0) return undefined;
  const pad = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const bytes = new Uint8Array((text.length / 4) * 3 - pad);
  const view = Buffer.from(bytes.buffer);
  if (view.write(text, 'base64') === bytes.length && view.toString('base64') === text) return bytes;
  bytes.fill(0);
  return undefined;
}
