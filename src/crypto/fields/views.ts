import { prefixed } from '../payload/format.ts';
import type { FieldCiphers, FieldHmac } from './ciphers.ts';
import { encodeValue } from './values.ts';

/** What `reveal` shows of a field. */
export type View =
  | {
      readonly view: 'mask';
      /** Code points shown at the beginning and at the end, separators not counted. */
      readonly keepPrefix?: number | undefined;
      readonly keepSuffix?: number | undefined;
      /** Shown wherever they are. */
      readonly separators?: string | undefined;
      /** Default `*`. */
      readonly symbol?: string | undefined;
    }
  /** Default null. */
  | { readonly view: 'redact'; readonly replacement?: string | undefined }
  /** A name for the value that tells nothing else of it: an HMAC, by a key of the field's own. */
  | { readonly view: 'hash' };

/** @param hmac given for `hash` */
export function viewOf(
  codec: Pick<FieldCiphers, 'toText'>,
  view: View,
  value: unknown,
  hmac: FieldHmac | undefined,
): unknown {
  switch (view.view) {
    case 'mask':
      return masked(typeof value === 'string' ? value : JSON.stringify(value), view);
    case 'redact':
      return view.replacement ?? null;
    case 'hash':
      if (hmac === undefined) throw new TypeError('a hash needs its key');
      return codec.toText(hmac(prefixed(encodeValue(value))));
  }
}

/** All of it, where no symbol would be hidden otherwise. */
function masked(
  text: string,
  { keepPrefix = 0, keepSuffix = 0, separators = '', symbol = '*' }: View & { view: 'mask' },
): string {
  const shown = new Set(Array.from(separators));
  const points = Array.from(text);
  const count = points.filter((point) => !shown.has(point)).length;
  const all = keepPrefix + keepSuffix >= count;
  let index = 0;
  return points
    .map((point) => {
      if (shown.has(point)) return point;
      index += 1;
      const kept = !all && (index <= keepPrefix || index > count - keepSuffix);
      return kept ? point : symbol;
    })
    .join('');
}
