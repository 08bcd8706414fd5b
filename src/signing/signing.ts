import type { Caller } from '../access/caller.ts';
import type { Operations } from '../access/operations.ts';
import type { Action } from '../access/scopes.ts';
import { type SignVersion, targetOf } from '../keys/key.ts';
import type { Keys } from '../keys/keys.ts';
import { type CsrContent, makeCsr } from './csr.ts';
import { type JwsHeader, jwkOf, signJws } from './jws.ts';
import type { Made, Signature, SigningWork, SignRequest, VerifiedSignature, VerifyRequest } from './work.ts';

/**
 * Signatures by key pairs in the HSM, or sealed by it. Each operation is authorized, and recorded before its answer. All
 * throw key/not-found, key/wrong-purpose, key/disabled, key/version-disabled, and request/invalid for what the key's
 * algorithm does not have.
 */
export interface Signing {
  /** Signs with the current version. */
  sign(caller: Caller, request: SignRequest): Promise<Signature>;
  /**
   * Answers only when the signature is the message's.
   * @throws signature/invalid for every other one, whatever is wrong with it
   */
  verify(caller: Caller, request: VerifyRequest): Promise<VerifiedSignature>;
  /** Signs with the current version, as a JWS. @throws key/wrong-purpose where JWS has no such algorithm */
  jws(caller: Caller, request: JwsRequest): Promise<Jws>;
  /** Asks a certification authority for a certificate of the current version. */
  csr(caller: Caller, request: CsrRequest): Promise<Csr>;
  /** What signatures verify with now, newest first, 500 at most. @param key one alone */
  jwks(caller: Caller, key?: string): Promise<Record<string, string>[]>;
}

export interface JwsRequest extends JwsHeader {
  readonly key: string;
  readonly payload: Uint8Array;
}

export interface Jws extends Made {
  readonly jws: string;
}

export interface CsrRequest extends CsrContent {
  readonly key: string;
}

export interface Csr extends Made {
  readonly pem: string;
}

export function createSigning({
  operations,
  keys,
  work,
}: {
  operations: Operations;
  keys: Keys;
  work: SigningWork;
}): Signing {
  function making<T>(
    caller: Caller,
    action: Action,
    ref: string,
    make: (version: SignVersion) => Promise<T>,
  ): Promise<T & Made> {
    return keys.use(caller, action, ref, async (key, { target }) => {
      const version = await keys.signing(key, 'make');
      target({ ...targetOf(key), version: version.ordinal });
      const made = await make(version);
      keys.touch(version);
      return { ...made, keyId: key.id, keyVersion: version.ordinal };
    });
  }

  return {
    sign: (caller, request) =>
      operations.run(caller, 'signing.sign', { kind: 'key', name: request.key }, ({ target }) =>
        work.sign(caller.principal, request, target),
      ),
    verify: (caller, request) =>
      operations.run(caller, 'signing.verify', { kind: 'key', name: request.key }, ({ target }) =>
        work.verify(caller.principal, request, target),
      ),
    jws: (caller, { key, ...request }) =>
      making(caller, 'signing.sign-jws', key, async (version) => ({
        jws: await signJws(work, version, request),
      })),
    csr: (caller, { key, ...content }) =>
      making(caller, 'signing.csr', key, async (version) => ({ pem: await makeCsr(work, version, content) })),
    jwks: (caller, key) =>
      operations.run(caller, 'signing.jwks', { kind: 'key', ...(key && { name: key }) }, async () => {
        const found = await keys.verifiers(caller.principal, key);
        return found.flatMap(({ version }) => {
          const jwk = jwkOf(version);
          return jwk === undefined ? [] : [jwk];
        });
      }),
  };
}
