import { createPublicKey } from 'node:crypto';
import type { Caller } from '../access/caller.ts';
import { type PublicKeyForms, publicKeyForms } from '../crypto/kem/pairs.ts';
import { signatureKeyForms } from '../crypto/signatures/public-key-forms.ts';
import type { DecryptAlgorithm, ExchangeAlgorithm, SignAlgorithm } from '../crypto/suites.ts';
import { type Key, targetOf } from './key.ts';
import type { Keys } from './keys.ts';

export interface PublicKey {
  readonly keyId: string;
  readonly keyVersion: number;
  readonly algorithm: DecryptAlgorithm | ExchangeAlgorithm | SignAlgorithm;
  readonly suite: string;
  readonly publicKey: Uint8Array;
  /** SubjectPublicKeyInfo and JWK, where the algorithm has them. */
  readonly pem?: string;
  readonly jwk?: Readonly<Record<string, string>>;
}

/** What a key pair gives to everybody, in every state of key and version. */
export interface PublicKeys {
  /** @throws key/not-found, key/wrong-purpose for a key that is no pair */
  publicKey(caller: Caller, request: { key: string; version?: number | undefined }): Promise<PublicKey>;
}

export function createPublicKeys(keys: Keys): PublicKeys {
  function versionOf(key: Key, ordinal: number | undefined) {
    switch (key.suite.purpose) {
      case 'sign':
        return keys.signing(key, 'show', ordinal);
      case 'decrypt':
        return keys.decryptingOaep(key, 'show', ordinal);
      default:
        return keys.exchanging(key, 'show', ordinal);
    }
  }

  return {
    publicKey: (caller, request) =>
      keys.use(caller, 'keys.public-key', request.key, async (key, operation) => {
        const version = await versionOf(key, request.version);
        operation.target({ ...targetOf(key), version: version.ordinal });
        const { publicKey, suite } = version;
        const algorithm = suite.name as PublicKey['algorithm'];
        const { jwk, ...forms } = formsOf(suite.purpose, algorithm, publicKey);
        return {
          ...{ keyId: key.id, keyVersion: version.ordinal, algorithm, suite: suite.id, publicKey },
          ...forms,
          ...(jwk && { jwk: jwk as Record<string, string> }),
        };
      }),
  };
}

function formsOf(
  purpose: 'sign' | 'decrypt' | 'exchange',
  algorithm: PublicKey['algorithm'],
  publicKey: Uint8Array,
): PublicKeyForms {
  if (purpose === 'sign') return signatureKeyForms(algorithm as SignAlgorithm, publicKey);
  if (purpose === 'exchange') return publicKeyForms(algorithm as ExchangeAlgorithm, publicKey);
  const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'pkcs1' });
  const pem = key.export({ format: 'pem', type: 'spki' }).toString();
  return { pem, jwk: { ...key.export({ format: 'jwk' }), use: 'enc' } };
}
