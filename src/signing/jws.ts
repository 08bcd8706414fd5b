import { utf8 } from '../core/bytes.ts';
import { inputOf, schemes } from '../crypto/signatures/schemes.ts';
import type { SignAlgorithm } from '../crypto/suites.ts';
import { type SignVersion, wrongPurpose } from '../keys/key.ts';
import type { SigningWork } from './work.ts';

/** What a caller may say in the protected header; `alg` and `kid` are the key's. */
export interface JwsHeader {
  readonly typ?: string | undefined;
  readonly cty?: string | undefined;
}

/**
 * A JWS in compact serialization (RFC 7515 §7.1). `alg` is the algorithm's one, so that nobody chooses it (RFC 8725 §3.1),
 * and `kid` the version's id, as the JWKS has it.
 * @throws key/wrong-purpose where JWS has no such algorithm
 */
export async function signJws(
  work: Pick<SigningWork, 'signWith'>,
  version: SignVersion,
  { payload, typ, cty }: JwsHeader & { readonly payload: Uint8Array },
): Promise<string> {
  const scheme = schemes[version.suite.name as SignAlgorithm];
  const alg = jwsAlgorithmOf(version);
  if (alg === undefined) throw wrongPurpose();
  const header = JSON.stringify({ alg, kid: version.id, ...(typ && { typ }), ...(cty && { cty }) });
  const signed = `${base64url(utf8(header))}.${base64url(payload)}`;
  // RFC 7518 §3.4: r and s, each as long as the order.
  const encoding = scheme.encodings ? 'p1363' : undefined;
  const input = inputOf(scheme, { form: 'message', bytes: utf8(signed), encoding });
  return `${signed}.${base64url(await work.signWith(version, input))}`;
}

/** Of RSA, that of its default hash. */
function jwsAlgorithmOf({ suite }: SignVersion): string | undefined {
  const scheme = schemes[suite.name as SignAlgorithm];
  return scheme.jwsAlgorithm(scheme.hashes[0] ?? 'sha512');
}

/**
 * The public key of a version as a member of a JWK Set (RFC 7517 §5), bound to one use and one algorithm.
 * @returns undefined where there is no JWK, or no algorithm of JWS
 */
export function jwkOf(version: SignVersion): Record<string, string> | undefined {
  const jwk = schemes[version.suite.name as SignAlgorithm].jwk(version.publicKey);
  const alg = jwsAlgorithmOf(version);
  if (jwk === undefined || alg === undefined) return undefined;
  return { ...(jwk as Record<string, string>), kid: version.id, use: 'sig', alg };
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64url');
}
