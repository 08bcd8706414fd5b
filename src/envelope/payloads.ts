import { wipe } from '../core/bytes.ts';
import { deriveMessageKey } from '../crypto/payload/derive.ts';
import {
  dataKeyId,
  encodePayloadHeader,
  isPayload,
  joined,
  type ParsedPayloadHeader,
  parsePayloadHeader,
} from '../crypto/payload/format.ts';
import { createMessageSealer, openMessage } from '../crypto/payload/message.ts';
import { nodeCiphers } from '../crypto/payload/node-ciphers.ts';
import { decryptionFailed } from './messages.ts';

/** Payloads that are too long for the HSM, under a data key each: crypto/payload/README.md has their format. */

/** Up to here a key version encrypts the plaintext itself, inside the HSM. */
export const directLimitBytes = 4_096;
export const dataKeyBytes = 32;

const noAssociatedData = new Uint8Array();

/** The header of a ciphertext under a data key; undefined for every other. @throws envelope/decryption-failed */
export function payloadHeader(ciphertext: Uint8Array): ParsedPayloadHeader | undefined {
  if (!isPayload(ciphertext)) return undefined;
  const header = parsePayloadHeader(ciphertext);
  if (header === undefined || header === 'incomplete') throw decryptionFailed();
  return header;
}

/** @param dataKey 32 bytes; neither changed nor kept */
export async function sealPayload(
  dataKey: Uint8Array,
  { wrapped, plaintext }: { wrapped: Uint8Array; plaintext: Uint8Array },
): Promise<Uint8Array> {
  const sealer = createMessageSealer(nodeCiphers, await messageKey(dataKey, wrapped), wrapped);
  return sealer.seal(plaintext, noAssociatedData);
}

/** Opens a message, and wipes the data key. @throws envelope/decryption-failed */
export async function openPayload(
  dataKey: Uint8Array,
  header: ParsedPayloadHeader,
  ciphertext: Uint8Array,
): Promise<Uint8Array> {
  try {
    if (header.kind !== 'message' || dataKey.length !== dataKeyBytes) throw decryptionFailed();
    const key = await messageKey(dataKey, header.wrapped);
    const place = { bytes: ciphertext, associatedData: noAssociatedData };
    const plaintext = await openMessage(key, header, place);
    if (!plaintext) throw decryptionFailed();
    return plaintext;
  } finally {
    wipe(dataKey);
  }
}

/** The same payload with its data key wrapped anew: nothing else is touched. */
export function withWrapped(
  header: ParsedPayloadHeader,
  wrapped: Uint8Array,
  ciphertext: Uint8Array,
): Uint8Array {
  return joined(encodePayloadHeader({ ...header, wrapped }), ciphertext.subarray(header.headerBytes));
}

async function messageKey(dataKey: Uint8Array, wrapped: Uint8Array) {
  const secret = await nodeCiphers.importSecret(dataKey);
  return deriveMessageKey(nodeCiphers, secret, { id: dataKeyId(wrapped) });
}
