import { concatBytes, equalBytes, secretBytes, wipe } from '../core/bytes.ts';
import { ServiceError } from '../core/errors.ts';
import { publicRandom } from '../core/ids.ts';
import { type Hsm, HsmRejected } from '../hsm/hsm.ts';
import type { KeyVersion } from '../keys/key.ts';
import {
  additionalData,
  type CiphertextKind,
  type Context,
  commitmentBytes,
  encodeHeader,
  type ParsedCiphertext,
} from './format.ts';

/** Seals and opens single messages under a key version in the HSM: no keys are looked up, nothing audited. */
export interface Messages {
  /** @param plaintext 0–4,096 bytes; neither changed nor kept */
  seal(version: KeyVersion, message: Message): Promise<Uint8Array>;
  /** @returns the plaintext, for the caller to wipe. @throws envelope/decryption-failed */
  open(version: KeyVersion, parsed: ParsedCiphertext, context: Context): Promise<Uint8Array>;
  /** Opens and seals anew under the same message id. @throws envelope/decryption-failed */
  reseal(
    from: { readonly version: KeyVersion; readonly parsed: ParsedCiphertext; readonly context: Context },
    to: { readonly version: KeyVersion; readonly context: Context },
  ): Promise<Uint8Array>;
}

export interface Message {
  readonly kind: CiphertextKind;
  readonly plaintext: Uint8Array;
  readonly context: Context;
}

const zeros = new Uint8Array(commitmentBytes);

/** Every failure to decrypt looks like this one: tampered, truncated, foreign, unknown or hidden key, context. */
export function decryptionFailed(): ServiceError {
  return new ServiceError(
    'envelope/decryption-failed',
    'The ciphertext cannot be decrypted with this key and context.',
  );
}

export function createMessages(hsm: Hsm): Messages {
  return {
    async seal(version, { kind, plaintext, context }) {
      const { header, nonce, aad } = place(version, kind, publicRandom(16), context);
      const data = secretBytes(commitmentBytes + plaintext.length);
      data.set(zeros);
      data.set(plaintext, commitmentBytes);
      try {
        return concatBytes(header, await hsm.encrypt(version.ref, { nonce, aad, data }));
      } finally {
        wipe(data);
      }
    },

    async open(version, parsed, context) {
      if (parsed.suite.number !== version.suite.number) throw decryptionFailed();
      const header = encodeHeader(parsed);
      const aad = additionalData(header, version.idBytes.namespaceId, context);
      const data = await hsm
        .decrypt(version.ref, { nonce: parsed.nonce, aad, data: parsed.sealed })
        .catch(rejectedAlike);
      if (!equalBytes(data.subarray(0, commitmentBytes), zeros)) {
        wipe(data);
        throw decryptionFailed();
      }
      return data.subarray(commitmentBytes);
    },

    async reseal({ version: old, parsed, context }, to) {
      if (parsed.suite.number !== old.suite.number) throw decryptionFailed();
      const aad = additionalData(encodeHeader(parsed), old.idBytes.namespaceId, context);
      const next = place(to.version, parsed.kind, parsed.messageId, to.context);
      const sealed = await hsm
        .reencrypt(
          {
            key: old.ref,
            input: { nonce: parsed.nonce, aad, data: parsed.sealed },
            zeroPrefixBytes: commitmentBytes,
          },
          { key: to.version.ref, nonce: next.nonce, aad: next.aad },
        )
        .catch(rejectedAlike);
      return concatBytes(next.header, sealed);
    },
  };
}

/** Header, nonce and AAD of a new ciphertext under the version. */
function place(version: KeyVersion, kind: CiphertextKind, messageId: Uint8Array, context: Context) {
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
