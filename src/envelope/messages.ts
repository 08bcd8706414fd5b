import { concatBytes, equalBytes, secretBytes, wipe } from '../core/bytes.ts';
import { publicRandom } from '../core/random.ts';
import { type Hsm, HsmRejected } from '../hsm/hsm.ts';
import { type CipherVersion, decryptionFailed } from '../keys/key.ts';
import { type CipherInput, createCiphers } from './ciphers.ts';
import {
  additionalData,
  type CiphertextKind,
  type Context,
  commitmentBytes,
  encodeHeader,
  type ParsedCiphertext,
} from './format.ts';

/** Seals and opens single messages under a key version: no keys are looked up, nothing audited. */
export interface Messages {
  /** @param plaintext 0–4,096 bytes; neither changed nor kept */
  seal(version: CipherVersion, message: Message): Promise<Uint8Array>;
  /** @returns the plaintext, for the caller to wipe. @throws envelope/decryption-failed */
  open(version: CipherVersion, parsed: ParsedCiphertext, context: Context): Promise<Uint8Array>;
  /** Opens and seals anew under the same message id. @throws envelope/decryption-failed */
  reseal(from: Sealed, to: Target): Promise<Uint8Array>;
}

/** A ciphertext, its key and its context. */
interface Sealed {
  readonly version: CipherVersion;
  readonly parsed: ParsedCiphertext;
  readonly context: Context;
}

interface Target {
  readonly version: CipherVersion;
  readonly context: Context;
}

export interface Message {
  readonly kind: CiphertextKind;
  readonly plaintext: Uint8Array;
  readonly context: Context;
}

const zeros = new Uint8Array(commitmentBytes);

export function createMessages(hsm: Hsm): Messages {
  const ciphers = createCiphers(hsm);

  async function sealAs(
    version: CipherVersion,
    messageId: Uint8Array,
    message: Message,
  ): Promise<Uint8Array> {
    const { kind, plaintext, context } = message;
    const { header, nonce, aad } = place(version, kind, messageId, context);
    const data = secretBytes(commitmentBytes + plaintext.length);
    data.set(zeros);
    data.set(plaintext, commitmentBytes);
    try {
      return concatBytes(header, await ciphers.encrypt(version, { nonce, aad, data }));
    } finally {
      wipe(data);
    }
  }

  async function open({ version, parsed, context }: Sealed): Promise<Uint8Array> {
    const data = await ciphers.decrypt(version, inputOf({ version, parsed, context })).catch(rejectedAlike);
    if (!equalBytes(data.subarray(0, commitmentBytes), zeros)) {
      wipe(data);
      throw decryptionFailed();
    }
    return data.subarray(commitmentBytes);
  }

  /** Both keys are in the token: the plaintext stays with its worker. */
  async function resealInside(from: Sealed, to: Target): Promise<Uint8Array> {
    const next = place(to.version, from.parsed.kind, from.parsed.messageId, to.context);
    const sealed = await hsm
      .reencrypt(
        { key: from.version.ref, input: inputOf(from), zeroPrefixBytes: commitmentBytes },
        { key: to.version.ref, nonce: next.nonce, aad: next.aad },
      )
      .catch(rejectedAlike);
    return concatBytes(next.header, sealed);
  }

  return {
    seal: (version, message) => sealAs(version, publicRandom(16), message),
    open: async (version, parsed, context) => await open({ version, parsed, context }),
    async reseal(from, to) {
      const inside = [from, to].every(({ version }) => version.suite.protection === 'hsm');
      if (inside) return await resealInside(from, to);
      const { kind, messageId } = from.parsed;
      const plaintext = await open(from);
      try {
        return await sealAs(to.version, messageId, { kind, plaintext, context: to.context });
      } finally {
        wipe(plaintext);
      }
    },
  };
}

/** What the AEAD opens. @throws envelope/decryption-failed for a suite that is not the version's */
function inputOf({ version, parsed, context }: Sealed): CipherInput {
  if (parsed.suite.number !== version.suite.number) throw decryptionFailed();
  const aad = additionalData(encodeHeader(parsed), version.idBytes.namespaceId, context);
  return { nonce: parsed.nonce, aad, data: parsed.sealed };
}

/** Header, nonce and AAD of a new ciphertext under the version. */
function place(version: CipherVersion, kind: CiphertextKind, messageId: Uint8Array, context: Context) {
  const { suite } = version;
  const nonce = publicRandom(suite.nonceBytes);
  const header = encodeHeader({
    suite,
    kind,
    keyId: version.idBytes.keyId,
    versionId: version.idBytes.id,
    messageId,
    nonce,
  });
  return { header, nonce, aad: additionalData(header, version.idBytes.namespaceId, context) };
}

function rejectedAlike(error: unknown): never {
  throw error instanceof HsmRejected ? decryptionFailed() : error;
}
