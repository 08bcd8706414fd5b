import { FieldRefused } from './refusals.ts';

export const normalizers = ['trim', 'lowercase', 'nfkc', 'email', 'e164', 'digits'] as const;
export type Normalizer = (typeof normalizers)[number];

/**
 * What an index takes of a text, so that what people write in several ways is found in each. By the tables of Unicode
 * that the platform has: letters that a later Unicode adds may be written otherwise by an older one.
 */
const steps: Readonly<Record<Normalizer, (text: string) => string>> = {
  trim: (text) => text.trim(),
  /** Of no language: a Turkish dotless i stays one. */
  lowercase: (text) => text.toLowerCase(),
  /** Compatibility composition (UAX #15): full-width letters and ligatures as the plain ones. */
  nfkc: (text) => text.normalize('NFKC'),
  email: normalizeEmail,
  e164: normalizeTelephone,
  digits(text) {
    const digits = text.normalize('NFKC').replaceAll(/[^0-9]/g, '');
    if (digits === '') throw new FieldRefused('no digits');
    return digits;
  },
};

/** @throws FieldRefused */
export function normalized(text: string, list: readonly Normalizer[]): string {
  let value = text;
  for (const name of list) value = steps[name](value);
  return value;
}

/** Without spaces around it, composed, in lower case on both sides, as nearly every mail system takes it. */
function normalizeEmail(text: string): string {
  const address = text.trim().normalize('NFKC').toLowerCase();
  const at = address.lastIndexOf('@');
  if (at < 1 || at === address.length - 1 || /\s/.test(address)) throw new FieldRefused('no e-mail');
  return address;
}

/** ITU-T E.164: `+` or `00`, country code and number, 7 to 15 digits; what people write between them is dropped. */
function normalizeTelephone(text: string): string {
  const number = text
    .normalize('NFKC')
    .replaceAll(/[\s()./-]/g, '')
    .replace(/^00/, '+');
  if (!/^\+[1-9][0-9]{6,14}$/.test(number)) throw new FieldRefused('no telephone number');
  return number;
}
