/**
 * Gives the memory of a piece back, which is not there any more afterwards. Gigabytes pass: the collector would come
 * too late to keep their memory small. What is a part of something larger stays.
 */
export function release({ buffer, byteLength }: Uint8Array): void {
  if (byteLength > 0 && byteLength === buffer.byteLength && buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/** Overwrites a piece of plaintext and gives its memory back. */
export function discard(plaintext: Uint8Array): void {
  plaintext.fill(0);
  release(plaintext);
}
