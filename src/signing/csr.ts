import { certificationRequest, certificationRequestInfo, type Subject } from '../crypto/signatures/pkcs10.ts';
import { pemOf } from '../crypto/signatures/public-key-forms.ts';
import { inputOf, schemes } from '../crypto/signatures/schemes.ts';
import type { SignAlgorithm } from '../crypto/suites.ts';
import type { SignVersion } from '../keys/key.ts';
import type { SigningWork } from './work.ts';

export interface CsrContent {
  readonly subject: Subject;
  readonly dnsNames: readonly string[];
  readonly emails: readonly string[];
}

/** A certification request (PKCS #10, RFC 2986) for a version's public key, signed by it, in PEM. */
export async function makeCsr(
  work: Pick<SigningWork, 'signWith'>,
  version: SignVersion,
  content: CsrContent,
): Promise<string> {
  const scheme = schemes[version.suite.name as SignAlgorithm];
  const info = certificationRequestInfo({ ...content, spki: scheme.spki(version.publicKey) });
  const input = inputOf(scheme, { form: 'message', bytes: info });
  const signature = await work.signWith(version, input);
  return pemOf(
    'CERTIFICATE REQUEST',
    certificationRequest(info, scheme.signatureAlgorithm(input.hash), signature),
  );
}
