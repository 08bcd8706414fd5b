import { isRawNumber } from '../../core/exact-json.ts';
import { prefixed } from '../payload/format.ts';
import type { FieldCiphers, FieldHmac } from './ciphers.ts';
import { type Normalizer, normalized } from './normalizers.ts';
import { FieldRefused } from './refusals.ts';
import { encodeValue } from './values.ts';

export interface IndexPart {
  readonly value: unknown;
  readonly normalize: readonly Normalizer[];
}

/**
 * A blind index: the first bits of an HMAC over the normalized values, each after its length. Equal values give equal
 * indexes; so do some others, the more the fewer bits.
 * @returns base64url; bits that are not asked for are zero
 * @throws FieldRefused for what a normalizer does not take, and for objects and arrays
 */
export function blindIndex(
  codec: Pick<FieldCiphers, 'toText'>,
  hmac: FieldHmac,
  { parts, bits }: { parts: readonly IndexPart[]; bits: number },
): string {
  const tag = hmac(
    prefixed(...parts.map(({ value, normalize }) => encodeValue(comparable(value, normalize)))),
  );
  const index = tag.subarray(0, Math.ceil(bits / 8));
  const unused = index.length * 8 - bits;
  const last = index.length - 1;
  index[last] = ((index[last] ?? 0) >> unused) << unused;
  return codec.toText(index);
}

function comparable(value: unknown, normalize: readonly Normalizer[]): unknown {
  if (typeof value === 'string') return normalized(value, normalize);
  if (typeof value === 'object' && !isRawNumber(value)) throw new FieldRefused('no scalar');
  return value;
}

export interface FalsePositives {
  /** Rows of other values that a search finds besides those it is for, on average. */
  readonly expected: number;
  /** That a search finds one at least. */
  readonly probability: number;
}

/** Of a search among `rows` rows, all of other values, by an index of `bits` bits. */
export function falsePositives(bits: number, rows: number): FalsePositives {
  const each = 2 ** -bits;
  // 1 - (1 - each)^rows, without losing what is far below one.
  return { expected: rows * each, probability: -Math.expm1(rows * Math.log1p(-each)) };
}
