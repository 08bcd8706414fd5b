import { constants, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto';
import { wipe } from '../../core/bytes.ts';
import { checkValue } from '../../crypto/check-value.ts';
import { sealForImport } from '../../crypto/import-wrapping.ts';
import { wrapKey as wrapPadded } from '../../crypto/key-wrap.ts';
import { StatheraError } from '../errors.ts';
import type { ImportParameters } from '../types.ts';

/** Members of `importKey`, besides the key. */
export interface WrappedKey {
  readonly importId: string;
  readonly wrappedKey: Uint8Array<ArrayBuffer>;
  readonly checkValue: Uint8Array<ArrayBuffer>;
}

/**
 * Wraps a key for the import that `getImportParameters` gave parameters of. The service cannot be told from whoever
 * stands in its place by the parameters alone: get them over TLS.
 * @param key of `parameters.keyBytes`; neither changed nor kept
 * @throws RangeError for a key of another length, client/answer-invalid for parameters that are none
 */
export async function wrapKey(parameters: ImportParameters, key: Uint8Array): Promise<WrappedKey> {
  const { importId, keyBytes, wrapping, publicKey, info } = parameters;
  if (key.length !== keyBytes) throw new RangeError(`key must be ${keyBytes} bytes`);
  const wrapped =
    wrapping === 'hpke-x-wing'
      ? info && (await sealForImport(publicKey, info, key))
      : wrapUnderRsa(publicKey, key);
  if (wrapped === undefined) throw invalidParameters();
  return {
    importId,
    wrappedKey: Uint8Array.from(wrapped),
    checkValue: Uint8Array.from(checkValue(key)),
  };
}

/** CKM_RSA_AES_KEY_WRAP, PKCS#11 v2.40 §2.1.19: RSA-OAEP of a new AES key, and AES-KWP under that. */
function wrapUnderRsa(spki: Uint8Array, key: Uint8Array): Uint8Array {
  const transport = randomBytes(32);
  try {
    const publicKey = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
    const padding = constants.RSA_PKCS1_OAEP_PADDING;
    const sealed = publicEncrypt({ key: publicKey, padding, oaepHash: 'sha256' }, transport);
    return Buffer.concat([sealed, wrapPadded(transport, key)]);
  } catch {
    throw invalidParameters();
  } finally {
    wipe(transport);
  }
}

function invalidParameters(): StatheraError {
  return new StatheraError('client/answer-invalid', 'The import parameters are not valid.');
}
