import { z } from 'zod';
import { fromBase64 } from '../core/bytes.ts';
import { type Rule, violate } from './violations.ts';

// Building blocks of requests and answers. What a request's schema decodes to is what operations take;
// an answer's schema describes what goes over the wire.

/**
 * Bytes in a request: standard padded base64 (RFC 4648 §4) in its one canonical form → Uint8Array.
 * @param min @param max bytes after decoding
 */
export function base64Bytes({ min = 0, max }: { readonly min?: number; readonly max: number }) {
  const text = z.string().max(base64Length(max)).meta({ contentEncoding: 'base64' });
  return text.transform((encoded, context): Uint8Array => {
    const bytes = fromBase64(encoded);
    if (bytes === undefined) return violate(context, { rule: 'base64' });
    if (bytes.length < min || bytes.length > max) return violate(context, { rule: 'bytes', min, max });
    return bytes;
  });
}

/** Bytes in an answer: what `toBase64` makes of them. */
export const base64Text = z.string().meta({ contentEncoding: 'base64' });

/** Characters of the padded base64 of `bytes` bytes. */
function base64Length(bytes: number): number {
  return Math.ceil(bytes / 3) * 4;
}

const namePattern = /^[a-z0-9][a-z0-9._-]{0,62}$/;
const idLike = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** A name given to a key, a token or a namespace. One that looks like an id would make references ambiguous. */
export const keyNameSchema = z
  .string()
  .regex(namePattern)
  .check((context) => {
    if (idLike.test(context.value)) context.issues.push(issue(context.value, { rule: 'not-an-id' }));
    if (context.value === 'jwks.json') context.issues.push(issue(context.value, { rule: 'reserved' }));
  })
  .meta({ description: 'Lower-case letters, digits, `.`, `_` and `-`; not a UUID, not `jwks.json`.' });

/** A key by name or id: an id (UUIDv7 in lower case) has the form of a name, which no name has. */
export const keyRefSchema = z
  .string()
  .regex(namePattern)
  .meta({ description: 'The name of the key or its id (UUIDv7).' });

/** Text of at most `max` UTF-16 units without lone surrogates, which no UTF-8 could carry on. */
export function plainText({ min = 0, max }: { readonly min?: number; readonly max: number }) {
  return z
    .string()
    .min(min)
    .max(max)
    .check((context) => {
      if (!context.value.isWellFormed()) context.issues.push(issue(context.value, { rule: 'well-formed' }));
    });
}

export type StringMap = Readonly<Record<string, string>>;

interface MapLimits {
  readonly pairs: number;
  readonly nameLength: number;
  readonly valueLength: number;
  /** Of all names and values together, in UTF-8. */
  readonly bytes?: number;
}

/**
 * A flat map of strings. Checked in one loop (a map is in most requests), and an issue never names the pair:
 * the names are the client's.
 */
function stringMap(id: string, limits: MapLimits, description: string) {
  return z
    .custom<StringMap>()
    .check((context) => {
      const rule = brokenRule(context.value, limits);
      if (rule !== undefined) context.issues.push(issue(undefined, rule));
    })
    .meta({
      id,
      type: 'object',
      description,
      maxProperties: limits.pairs,
      propertyNames: { minLength: 1, maxLength: limits.nameLength },
      additionalProperties: { type: 'string', maxLength: limits.valueLength },
    });
}

function brokenRule(value: unknown, limits: MapLimits): Rule | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { rule: 'map' };
  const pairs = Object.entries(value);
  if (pairs.length > limits.pairs) return { rule: 'pairs', max: limits.pairs };
  let length = 0;
  for (const [name, text] of pairs as [string, unknown][]) {
    if (name.length === 0 || name.length > limits.nameLength || !name.isWellFormed()) {
      return { rule: 'pair-name', max: limits.nameLength };
    }
    if (typeof text !== 'string' || text.length > limits.valueLength || !text.isWellFormed()) {
      return { rule: 'pair-value', max: limits.valueLength };
    }
    length += name.length + text.length;
  }
  const { bytes = Number.POSITIVE_INFINITY } = limits;
  // A character is up to 3 bytes, so nearly every map need not be counted.
  if (length * 3 > bytes && utf8Bytes(value) > bytes) return { rule: 'map-bytes', max: bytes };
  return undefined;
}

function utf8Bytes(map: object): number {
  let bytes = 0;
  for (const [name, text] of Object.entries(map))
    bytes += Buffer.byteLength(name) + Buffer.byteLength(String(text));
  return bytes;
}

/** Encryption context: authenticated, not encrypted, in any order. Together it must fit what the HSM lane takes. */
export const contextSchema = stringMap(
  'Context',
  { pairs: 64, nameLength: 128, valueLength: 1024, bytes: 60 * 1024 },
  'Pairs of well-formed Unicode strings, up to 60 KiB of UTF-8 in all, that are authenticated with the data, not ' +
    'encrypted; their order does not matter.',
);

/** Labels of a key for people and reports. */
export const tagsSchema = stringMap(
  'Tags',
  { pairs: 64, nameLength: 128, valueLength: 256 },
  'Labels: pairs of well-formed Unicode strings. They are not secret.',
);

const limitText = /^(?:[1-9][0-9]{0,2}|1000)$/;

/** A whole number from 1 to 1,000 in a query string. Default 100. */
const pageLimit = z
  .string()
  .check((context) => {
    if (!limitText.test(context.value)) context.issues.push(issue(context.value, { rule: 'page-limit' }));
  })
  .transform(Number)
  // zod leaves `default` out of what is transformed.
  .meta({ type: 'integer', minimum: 1, maximum: 1000, description: 'Items at most. Default 100.' });

/** The query of every list; add to it with `.extend`. */
export const listQuery = z.strictObject({
  limit: pageLimit.optional().transform((limit) => limit ?? 100),
  cursor: z
    .string()
    .min(1)
    .max(512)
    .optional()
    .meta({ description: 'The `nextCursor` of the page before, unchanged.' }),
});

const utcTime = /^\d{4}-(\d\d)-(\d\d)T\d\d:\d\d:\d\d(?:\.\d{1,9})?Z$/;

/** A time in a request: RFC 3339 in UTC (`Z`) → milliseconds since the epoch; what is finer is cut off. */
export const timestamp = z
  .string()
  .max(35)
  .meta({ format: 'date-time' })
  .transform((text, context): number => parseUtc(text) ?? violate(context, { rule: 'utc-time' }));

function parseUtc(text: string): number | undefined {
  const match = utcTime.exec(text);
  const ms = match === null ? Number.NaN : Date.parse(text);
  // Date.parse carries 30 February over into March.
  return Number.isNaN(ms) || new Date(ms).getUTCDate() !== Number(match?.[2]) ? undefined : ms;
}

/** A time in an answer: what `toTimestamp` writes. */
export const timestampText = z.string().meta({ format: 'date-time' });

/** Milliseconds since the epoch as RFC 3339 in UTC. */
export function toTimestamp(ms: number): string {
  return new Date(ms).toISOString();
}

function issue(input: unknown, rule: Rule) {
  return { code: 'custom' as const, input, params: rule };
}
