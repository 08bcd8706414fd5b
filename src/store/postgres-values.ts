import pg from 'pg';

/**
 * PostgreSQL keeps no U+0000 in a text. It is written as U+0001 '0', and U+0001 as U+0001 '1': no two texts
 * become one, and the others stay as they are.
 */
export function toStored(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  if (!value.includes('\u0000') && !value.includes('\u0001')) return value;
  return value.replaceAll('\u0001', '\u00011').replaceAll('\u0000', '\u00010');
}

function textOf(stored: string): string {
  if (!stored.includes('\u0001')) return stored;
  return stored.replaceAll('\u00010', '\u0000').replaceAll('\u00011', '\u0001');
}

/** The driver gives 64-bit integers as text. @throws RangeError where a number cannot say it exactly */
function wholeNumber(stored: string): number {
  const value = Number(stored);
  if (!Number.isSafeInteger(value)) throw new RangeError('a stored number is too large');
  return value;
}

const int8: number = pg.types.builtins.INT8;
const textType: number = pg.types.builtins.TEXT;

/** What a column's text becomes; the driver's own parsers do the rest. */
export function fromStored(type: number, format?: 'text' | 'binary'): (stored: string) => unknown {
  if (type === int8) return wholeNumber;
  if (type === textType) return textOf;
  return pg.types.getTypeParser(type, format ?? 'text') as (stored: string) => unknown;
}
