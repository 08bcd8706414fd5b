/**
 * The child process that makes an epoch's keys: SEAL's memory, which the secret key was in, ends with it. It takes one
 * request and sends one answer.
 */
import { once } from 'node:events';
import { wipe } from '../core/bytes.ts';
import { type ParameterSetName, parameterSets } from '../crypto/homomorphic/parameters.ts';
import { openBgv } from '../crypto/homomorphic/seal.ts';
import { type SecretKeyPlace, sealSecretKey } from './secret-key.ts';

export interface KeyRequest {
  readonly parameters: ParameterSetName;
  readonly seed: Uint8Array;
  readonly place: SecretKeyPlace;
}

export interface KeyAnswer {
  readonly publicKey: Uint8Array;
  readonly sealedSecretKey: Uint8Array;
}

async function answer({ parameters, seed, place }: KeyRequest): Promise<KeyAnswer> {
  const bgv = await openBgv(parameterSets[parameters]);
  const { publicKey, secretKey } = bgv.generateKeys();
  try {
    return { publicKey, sealedSecretKey: sealSecretKey(seed, place, secretKey) };
  } finally {
    wipe(seed, secretKey);
  }
}

const [request] = (await once(process, 'message')) as KeyRequest[];
if (request !== undefined) process.send?.(await answer(request), () => process.disconnect());
