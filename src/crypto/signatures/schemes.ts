import { ServiceError } from '../../core/errors.ts';
import type { SignAlgorithm } from '../suites.ts';
import { compositeSchemes } from './composite.ts';
import { ecdsaP256, ecdsaP384, ecdsaP521, ecdsaSecp256k1 } from './ecdsa.ts';
import type { SignatureEncoding } from './ecdsa-encoding.ts';
import { ed25519 } from './ed25519.ts';
import { type HashName, hashBytes } from './hashes.ts';
import { mlDsa44, mlDsa65, mlDsa87 } from './ml-dsa.ts';
import { rsaSchemes } from './rsa.ts';
import type { Form, Scheme, SignatureInput } from './signature.ts';
import { slhDsaSchemes } from './slh-dsa.ts';

/** What each algorithm of ../suites.ts does: a new one is a row here, and does not compile without. */
export const schemes: Readonly<Record<SignAlgorithm, Scheme>> = {
  ed25519,
  'ecdsa-p256': ecdsaP256,
  'ecdsa-p384': ecdsaP384,
  'ecdsa-p521': ecdsaP521,
  'ecdsa-secp256k1': ecdsaSecp256k1,
  ...rsaSchemes,
  'ml-dsa-44': mlDsa44,
  'ml-dsa-65': mlDsa65,
  'ml-dsa-87': mlDsa87,
  ...slhDsaSchemes,
  ...compositeSchemes,
};

/** What a caller asked for; absent members have the algorithm's defaults. */
export interface AskedInput {
  readonly form: Form;
  readonly bytes: Uint8Array;
  readonly context?: Uint8Array | undefined;
  readonly hash?: HashName | undefined;
  readonly encoding?: SignatureEncoding | undefined;
}

const none = new Uint8Array(0);
const muBytes = 64;

/** @throws request/invalid when the algorithm does not have what was asked for */
export function inputOf(scheme: Scheme, asked: AskedInput): SignatureInput {
  const { form, bytes, context = none, hash, encoding } = asked;
  const hashes: readonly HashName[] = scheme.hashes;
  if (form !== 'message' && !scheme.forms.includes(form))
    throw unfit(form, 'This algorithm does not take it.');
  if (context.length > 0 && !scheme.hasContext) throw unfit('context', 'This algorithm has no context.');
  if (hash !== undefined && !(hashes.length > 1 && hashes.includes(hash))) {
    throw unfit('hash', 'This algorithm leaves no choice of its hash.');
  }
  if (encoding !== undefined && !scheme.encodings)
    throw unfit('encoding', 'This algorithm has one encoding.');
  const chosen = hash ?? hashes[0] ?? 'sha512';
  const length = form === 'mu' ? muBytes : hashBytes[chosen];
  if (form !== 'message' && bytes.length !== length) throw unfit(form, `It must be ${length} bytes.`);
  return { form, bytes, context, hash: chosen, encoding: encoding ?? 'der' };
}

function unfit(member: string, detail: string): ServiceError {
  return new ServiceError('request/invalid', 'The request does not fit the key’s algorithm.', {
    errors: [{ pointer: `/${member}`, detail }],
  });
}
