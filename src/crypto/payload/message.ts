import { type Awaitable, type PayloadCiphers, tagBytes } from './ciphers.ts';
import { type MessageKey, sameCommitment } from './derive.ts';
import { encodePayloadHeader, joined, type ParsedPayloadHeader } from './format.ts';

const nonceBytes = 12;

/** Seals messages under one data key, whose header they share. */
export interface MessageSealer {
  /**
   * @param plaintext neither changed nor kept
   * @param associatedData authenticated, not encrypted, not kept; `openMessage` needs the same bytes
   * @returns header ‖ nonce(12) ‖ ciphertext ‖ tag(16), see ./README.md
   */
  seal(plaintext: Uint8Array, associatedData: Uint8Array): Awaitable<Uint8Array>;
}

export function createMessageSealer(
  ciphers: PayloadCiphers,
  { key, commitment }: MessageKey,
  wrapped: Uint8Array,
): MessageSealer {
  const header = encodePayloadHeader({ kind: 'message', wrapped, commitment });

  function assemble(nonce: Uint8Array, sealed: readonly Uint8Array[]): Uint8Array {
    return joined(header, nonce, ...sealed);
  }

  return {
    seal(plaintext, associatedData) {
      const nonce = ciphers.random(nonceBytes);
      const sealed = key.seal(nonce, plaintext, associatedData);
      // Where the cipher is synchronous so is this: a promise costs as much as a short message.
      return sealed instanceof Promise
        ? sealed.then((pieces) => assemble(nonce, pieces))
        : assemble(nonce, sealed);
    },
  };
}

/** @returns the plaintext, for the caller to wipe; undefined when anything is wrong */
export function openMessage(
  { key, commitment }: MessageKey,
  header: ParsedPayloadHeader,
  { bytes, associatedData }: { bytes: Uint8Array; associatedData: Uint8Array },
): Awaitable<Uint8Array | undefined> {
  const sealedAt = header.headerBytes + nonceBytes;
  if (bytes.length < sealedAt + tagBytes || !sameCommitment(commitment, header.commitment)) return undefined;
  return key.open(bytes.subarray(header.headerBytes, sealedAt), bytes.subarray(sealedAt), associatedData);
}
