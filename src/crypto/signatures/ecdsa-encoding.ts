import { integer, sequence } from './der.ts';

/** `der`: Ecdsa-Sig-Value of RFC 3279 §2.2.3. `p1363`: r ‖ s, each as long as the order (IEEE P1363, RFC 7518 §3.4). */
export const signatureEncodings = ['der', 'p1363'] as const;
export type SignatureEncoding = (typeof signatureEncodings)[number];

/** r ‖ s as Ecdsa-Sig-Value. */
export function derSignature(rs: Uint8Array): Uint8Array {
  const half = rs.length / 2;
  return sequence(integer(rs.subarray(0, half)), integer(rs.subarray(half)));
}
