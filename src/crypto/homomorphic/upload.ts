import { ciphertextBytes } from './ciphertext.ts';
import type { Layout } from './layout.ts';
import type { ParameterSet } from './parameters.ts';

// A contribution as it is sent: 8 bytes that say so, 32 bytes that bind it to its place, then the ciphertexts of the
// layout, one behind the other.

/** `SKMSAGG` and the version. */
export const uploadMagic = Uint8Array.of(0x53, 0x4b, 0x4d, 0x53, 0x41, 0x47, 0x47, 1);
export const bindingBytes = 32;
export const prologueBytes = uploadMagic.length + bindingBytes;

/** Bytes of every contribution to a dataset: no other length is one. */
export function uploadBytes(set: ParameterSet, { ciphertexts }: Pick<Layout, 'ciphertexts'>): number {
  return prologueBytes + ciphertexts * ciphertextBytes(set);
}

/** Where a contribution belongs. */
export interface UploadPlace {
  /** As the service signed it: it names dataset, epoch and public key. */
  readonly manifest: string;
  /** Id of the principal. */
  readonly contributorId: string;
  /** From 1. */
  readonly ordinal: number;
}

/**
 * What a binding is the SHA-256 of, in UTF-8. A contribution that was encrypted for another epoch, or that is sent by
 * another contributor or once more under another number, has another one.
 */
export function bindingText({ manifest, contributorId, ordinal }: UploadPlace): string {
  return `stathera/contribution/v1\n${manifest}\n${contributorId}\n${ordinal}`;
}
