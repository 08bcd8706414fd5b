import { utf8 } from '../../core/bytes.ts';
import { bitString, octetString, oid, printableString, sequence, setOf, tagged, utf8String } from './der.ts';

/** A distinguished name, in the order of its members here. */
export interface Subject {
  /** Two letters of ISO 3166. */
  readonly country?: string | undefined;
  readonly state?: string | undefined;
  readonly locality?: string | undefined;
  readonly organization?: string | undefined;
  readonly organizationalUnit?: string | undefined;
  readonly commonName?: string | undefined;
}

/** X.520, RFC 5280 §4.1.2.4. */
const attributes = {
  country: '2.5.4.6',
  state: '2.5.4.8',
  locality: '2.5.4.7',
  organization: '2.5.4.10',
  organizationalUnit: '2.5.4.11',
  commonName: '2.5.4.3',
} as const;

const extensionRequest = '1.2.840.113549.1.9.14';
const subjectAltName = '2.5.29.17';

/**
 * CertificationRequestInfo (RFC 2986 §4.1): what a certification request signs.
 * @param spki SubjectPublicKeyInfo in DER
 * @param dnsNames @param emails ASCII; they become a subjectAltName, RFC 5280 §4.2.1.6
 */
export function certificationRequestInfo({
  subject,
  spki,
  dnsNames,
  emails,
}: {
  subject: Subject;
  spki: Uint8Array;
  dnsNames: readonly string[];
  emails: readonly string[];
}): Uint8Array {
  const version = Uint8Array.of(2, 1, 0);
  return sequence(version, nameOf(subject), spki, tagged(0xa0, ...alternatives(dnsNames, emails)));
}

/** CertificationRequest, RFC 2986 §4.2. @param algorithm AlgorithmIdentifier in DER */
export function certificationRequest(
  info: Uint8Array,
  algorithm: Uint8Array,
  signature: Uint8Array,
): Uint8Array {
  return sequence(info, algorithm, bitString(signature));
}

function nameOf(subject: Subject): Uint8Array {
  const names = Object.keys(attributes) as (keyof typeof attributes)[];
  return sequence(
    ...names.flatMap((name) => {
      const text = subject[name];
      if (text === undefined) return [];
      const value = name === 'country' ? printableString(text) : utf8String(text);
      return [setOf(sequence(oid(attributes[name]), value))];
    }),
  );
}

function alternatives(dnsNames: readonly string[], emails: readonly string[]): Uint8Array[] {
  if (dnsNames.length + emails.length === 0) return [];
  const names = sequence(
    ...dnsNames.map((name) => tagged(0x82, utf8(name))),
    ...emails.map((address) => tagged(0x81, utf8(address))),
  );
  const extensions = sequence(sequence(oid(subjectAltName), octetString(names)));
  return [sequence(oid(extensionRequest), setOf(extensions))];
}
