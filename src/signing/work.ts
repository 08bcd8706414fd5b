import type { Principal } from '../access/caller.ts';
import type { AuditTarget } from '../audit/entry.ts';
import { wipe } from '../core/bytes.ts';
import { ServiceError } from '../core/errors.ts';
import { type AskedInput, inputOf, schemes } from '../crypto/signatures/schemes.ts';
import type { Scheme, SignatureInput } from '../crypto/signatures/signature.ts';
import type { SignAlgorithm } from '../crypto/suites.ts';
import type { Hsm } from '../hsm/hsm.ts';
import { type SignVersion, targetOf } from '../keys/key.ts';
import type { Keys } from '../keys/keys.ts';
import { openSeed } from '../keys/sealed-seed.ts';
import { perform, type Task } from './task.ts';
import type { Threads } from './threads.ts';

export interface SignRequest extends AskedInput {
  readonly key: string;
}

export interface VerifyRequest extends SignRequest {
  /** Ordinal; default: the current version. Signatures do not name it. */
  readonly version?: number | undefined;
  readonly signature: Uint8Array;
}

export interface Made {
  readonly keyId: string;
  readonly keyVersion: number;
}

export interface Signature extends Made {
  readonly signature: Uint8Array;
  readonly algorithm: SignAlgorithm;
}

export interface VerifiedSignature extends Made {
  readonly valid: true;
}

type Note = (target: AuditTarget) => void;

/** What single operations and items of a batch have in common: recording is up to whoever calls. */
export interface SigningWork {
  sign(principal: Principal, request: SignRequest, note: Note): Promise<Signature>;
  verify(principal: Principal, request: VerifyRequest, note: Note): Promise<VerifiedSignature>;
  /** Signs with a version that was found already. */
  signWith(version: SignVersion, input: SignatureInput): Promise<Uint8Array>;
}

export function createSigningWork({
  keys,
  hsm,
  threads,
}: {
  keys: Keys;
  hsm: Hsm;
  threads: Threads;
}): SigningWork {
  async function run(scheme: Scheme, task: Task): Promise<Uint8Array | boolean> {
    const cost = scheme.cost(task.operation, task.input.form);
    return cost === 'short' ? perform(task) : await threads.run(cost, task);
  }

  async function signWith(version: SignVersion, input: SignatureInput): Promise<Uint8Array> {
    const algorithm = algorithmOf(version);
    const scheme = schemes[algorithm];
    if (scheme.kind === 'token') {
      const signed = await hsm.sign(version.ref, scheme.mechanism, scheme.tokenInput(input));
      return scheme.fromToken(signed, input);
    }
    const seed = await openSeed(hsm, version);
    try {
      const signed = await run(scheme, { operation: 'sign', algorithm, seed, input });
      if (typeof signed === 'boolean') throw new TypeError('a signature is bytes');
      return signed;
    } finally {
      wipe(seed);
    }
  }

  return {
    signWith,

    async sign(principal, request, note) {
      const key = await keys.find(principal, request.key);
      note(targetOf(key));
      const version = await keys.signing(key, 'make');
      note({ ...targetOf(key), version: version.ordinal });
      const algorithm = algorithmOf(version);
      const signature = await signWith(version, inputOf(schemes[algorithm], request));
      keys.touch(version);
      return { signature, algorithm, keyId: key.id, keyVersion: version.ordinal };
    },

    async verify(principal, request, note) {
      const key = await keys.find(principal, request.key);
      note(targetOf(key));
      const version = await keys.signing(key, 'open', request.version);
      note({ ...targetOf(key), version: version.ordinal });
      const algorithm = algorithmOf(version);
      const scheme = schemes[algorithm];
      const input = inputOf(scheme, request);
      const { signature } = request;
      const { publicKey } = version;
      const holds =
        signature.length <= scheme.maxSignatureBytes &&
        (await run(scheme, { operation: 'verify', algorithm, publicKey, input, signature }));
      if (holds !== true) throw invalid();
      keys.touch(version);
      return { valid: true, keyId: key.id, keyVersion: version.ordinal };
    },
  };
}

function algorithmOf({ suite }: SignVersion): SignAlgorithm {
  return suite.name as SignAlgorithm;
}

function invalid(): ServiceError {
  return new ServiceError('signature/invalid', 'The signature is not valid for this message and key.');
}
