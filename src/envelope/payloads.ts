import { wipe } from '../core/bytes.ts';
import {
  type ClearDataKey,
  createDataKeyCache,
  type DataKey,
  dataKeyName,
  importDataKey,
  type ReuseLimits,
} from '../crypto/payload/data-keys.ts';
import {
  encodePayloadHeader,
  isPayload,
  joined,
  type ParsedPayloadHeader,
  parsePayloadHeader,
} from '../crypto/payload/format.ts';
import { createMessageSealer, openMessage } from '../crypto/payload/message.ts';
import { nodeCiphers, transientCiphers } from '../crypto/payload/node-ciphers.ts';
import type { Hsm } from '../hsm/hsm.ts';
import { type CipherVersion, decryptionFailed } from '../keys/key.ts';
import type { Context, ParsedCiphertext } from './format.ts';
import type { Messages } from './messages.ts';

/** Up to here a key version encrypts the plaintext itself, inside the HSM. */
export const directLimitBytes = 4_096;

const dataKeyBytes = 32;
/** Data keys kept for keys that use them again, for encrypting and for decrypting each. */
const keptDataKeys = 10_000;
const noAssociatedData = new Uint8Array();

/** Messages under data keys, in process memory: crypto/payload/README.md has their format. */
export interface Payloads {
  /** Under a data key of its own. @param plaintext neither changed nor kept */
  seal(version: CipherVersion, message: Plain): Promise<Uint8Array>;
  /** Under a data key that may have been used before. @param count counts a use of the version, when one is wrapped */
  sealAgain(
    version: CipherVersion,
    message: Plain,
    reuse: { readonly limits: ReuseLimits; readonly count: () => Promise<unknown> },
  ): Promise<Uint8Array>;
  /**
   * @param parsed the wrapped data key of the header
   * @param limits where the version's key uses data keys again
   * @returns the plaintext, for the caller to wipe. @throws envelope/decryption-failed
   */
  open(version: CipherVersion, sealed: SealedPayload, limits: ReuseLimits | undefined): Promise<Uint8Array>;
}

interface SealedPayload {
  readonly header: ParsedPayloadHeader;
  readonly parsed: ParsedCiphertext;
  readonly ciphertext: Uint8Array;
  readonly context: Context;
}

interface Plain {
  readonly plaintext: Uint8Array;
  readonly context: Context;
}

export function createPayloads({ hsm, messages }: { hsm: Hsm; messages: Messages }): Payloads {
  const kept = createDataKeyCache(nodeCiphers, { entries: keptDataKeys, monotonic: () => performance.now() });

  async function issue(version: CipherVersion, context: Context): Promise<ClearDataKey> {
    const plaintext = await hsm.random(dataKeyBytes);
    try {
      const wrapped = await messages.seal(version, { kind: 'data-key', plaintext, context });
      return { plaintext, wrapped };
    } catch (error) {
      wipe(plaintext);
      throw error;
    }
  }

  async function unwrap(
    version: CipherVersion,
    { header, parsed, context }: SealedPayload,
  ): Promise<ClearDataKey> {
    const plaintext = await messages.open(version, parsed, context);
    if (plaintext.length === dataKeyBytes) return { plaintext, wrapped: header.wrapped.slice() };
    wipe(plaintext);
    throw decryptionFailed();
  }

  async function openWith({ message }: DataKey, { header, ciphertext }: SealedPayload): Promise<Uint8Array> {
    const place = { bytes: ciphertext, associatedData: noAssociatedData };
    const plaintext = await openMessage(message, header, place);
    if (!plaintext) throw decryptionFailed();
    return plaintext;
  }

  return {
    async seal(version, { plaintext, context }) {
      const once = transientCiphers();
      try {
        const { message, wrapped } = await importDataKey(once, await issue(version, context));
        return await createMessageSealer(once, message, wrapped).seal(plaintext, noAssociatedData);
      } finally {
        once.forget();
      }
    },

    async sealAgain(version, { plaintext, context }, { limits, count }) {
      const name = dataKeyName(version.id, context);
      const sealer = await kept.sealing(name, plaintext.length, limits, async () => {
        await count();
        return issue(version, context);
      });
      return sealer.seal(plaintext, noAssociatedData);
    },

    async open(version, sealed, limits) {
      const { header, context } = sealed;
      if (header.kind !== 'message') throw decryptionFailed();
      if (limits) {
        const name = dataKeyName(Buffer.from(header.wrapped).toString('latin1'), context);
        return openWith(await kept.opening(name, limits, () => unwrap(version, sealed)), sealed);
      }
      const once = transientCiphers();
      try {
        return await openWith(await importDataKey(once, await unwrap(version, sealed)), sealed);
      } finally {
        once.forget();
      }
    },
  };
}

/** The header of a ciphertext under a data key; undefined for every other. @throws envelope/decryption-failed */
export function payloadHeader(ciphertext: Uint8Array): ParsedPayloadHeader | undefined {
  if (!isPayload(ciphertext)) return undefined;
  const header = parsePayloadHeader(ciphertext);
  if (header === undefined || header === 'incomplete') throw decryptionFailed();
  return header;
}

/** The same payload with its data key wrapped anew: nothing else is touched. */
export function withWrapped(
  header: ParsedPayloadHeader,
  wrapped: Uint8Array,
  ciphertext: Uint8Array,
): Uint8Array {
  return joined(encodePayloadHeader({ ...header, wrapped }), ciphertext.subarray(header.headerBytes));
}
