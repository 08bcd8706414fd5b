import type { Caller } from '../access/caller.ts';
import { publicKeyForms } from '../crypto/kem/pairs.ts';
import { signatureKeyForms } from '../crypto/signatures/public-key-forms.ts';
import type { ExchangeAlgorithm, SignAlgorithm } from '../crypto/suites.ts';
import { targetOf } from './key.ts';
import type { Keys } from './keys.ts';

export interface PublicKey {
  readonly keyId: string;
  readonly keyVersion: number;
  readonly algorithm: ExchangeAlgorithm | SignAlgorithm;
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
  return {
    publicKey: (caller, request) =>
      keys.use(caller, 'keys.public-key', request.key, async (key, operation) => {
        const signs = key.suite.purpose === 'sign';
        const version = await (signs ? keys.signing : keys.exchanging)(key, 'show', request.version);
        operation.target({ ...targetOf(key), version: version.ordinal });
        const { publicKey, suite } = version;
        const algorithm = suite.name as ExchangeAlgorithm | SignAlgorithm;
        const { jwk, ...forms } = signs
          ? signatureKeyForms(algorithm as SignAlgorithm, publicKey)
          : publicKeyForms(algorithm as ExchangeAlgorithm, publicKey);
        return {
          ...{ keyId: key.id, keyVersion: version.ordinal, algorithm, suite: suite.id, publicKey },
          ...forms,
          ...(jwk && { jwk: jwk as Record<string, string> }),
        };
      }),
  };
}
