import { isUtf8 } from 'node:buffer';
import { ServiceError } from '../core/errors.ts';
import { parseExact } from '../core/exact-json.ts';
import { checkStructure, type StructureReason, StructureRefused } from '../core/json-structure.ts';

export interface JsonLimits {
  /** Containers inside each other. Default 32. */
  readonly depth?: number;
  /** Members and elements in the whole document; bounds what a validator may complain about. Default 100,000. */
  readonly values?: number;
  /** Numbers that a double would change are kept as they are written, see ../core/exact-json.ts. */
  readonly exact?: boolean;
}

/**
 * Parses a JSON text (RFC 8259) as I-JSON asks (RFC 7493 §2): UTF-8, no member name twice in an object,
 * however it is written. A byte order mark and the name `__proto__` are refused too. Values are those of
 * JSON.parse. Linear in the text.
 * @throws request/invalid, with fixed texts: nothing of the body is quoted
 */
export function parseJson(bytes: Uint8Array, limits: JsonLimits = {}): unknown {
  if (!isUtf8(bytes)) throw refused('The body is not valid UTF-8.');
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  if (text.charCodeAt(0) === byteOrderMark) throw refused('The body starts with a byte order mark.');
  try {
    checkStructure(text, limits.depth ?? 32, limits.values ?? 100_000);
    return limits.exact === true ? parseExact(text) : JSON.parse(text);
  } catch (error) {
    // The parser's own message quotes the text.
    throw refused(reasons[error instanceof StructureRefused ? error.reason : 'not JSON']);
  }
}

const byteOrderMark = 0xfeff;

const reasons: Readonly<Record<StructureReason, string>> = {
  'too many values': 'The body holds too many values.',
  'too deep': 'The body is nested too deeply.',
  'forbidden name': 'The body has a member with a forbidden name.',
  'duplicate name': 'The body has an object with the same member name twice.',
  'not JSON': 'The body is not valid JSON.',
};

function refused(detail: string): ServiceError {
  return new ServiceError('request/invalid', detail);
}
