import { type ParameterSetName, parameterSets } from '../../crypto/homomorphic/parameters.ts';
import { openBgv } from '../../crypto/homomorphic/seal.ts';

/** What a worker encrypts. */
export interface EncryptRequest {
  readonly parameters: ParameterSetName;
  readonly publicKey: Uint8Array;
  /** Of each ciphertext. */
  readonly slots: readonly BigInt64Array[];
}

/** Ciphertexts, or that it failed. */
export type EncryptAnswer = { readonly ciphertexts: Uint8Array<ArrayBuffer>[] } | { readonly failed: true };

/** Encrypts in a thread of its own, which ends with its work. @throws client/encryption-failed, the signal's reason */
export type Encrypt = (
  request: EncryptRequest,
  signal: AbortSignal | undefined,
) => Promise<Uint8Array<ArrayBuffer>[]>;

/** What the thread does. */
export async function answerTo({ parameters, publicKey, slots }: EncryptRequest): Promise<EncryptAnswer> {
  try {
    const encryptor = (await openBgv(parameterSets[parameters])).encryptor(publicKey);
    return { ciphertexts: slots.map((one) => encryptor.encrypt(one)) };
  } catch {
    return { failed: true };
  }
}
