import { isUtf8 } from 'node:buffer';
import { ServiceError } from '../core/errors.ts';

export interface JsonLimits {
  /** Containers inside each other. Default 32. */
  readonly depth?: number;
  /** Members and elements in the whole document; bounds what a validator may complain about. Default 100,000. */
  readonly values?: number;
}

/**
 * Parses a JSON text (RFC 8259) as I-JSON asks (RFC 7493 §2): UTF-8, no member name twice in an object,
 * however it is written. A byte order mark and the name `__proto__` are refused too. Values are those of
 * JSON.parse. Linear in the text; long strings are skipped, not walked.
 * @throws request/invalid, with fixed texts: nothing of the body is quoted
 */
export function parseJson(bytes: Uint8Array, limits: JsonLimits = {}): unknown {
  if (!isUtf8(bytes)) throw refused('The body is not valid UTF-8.');
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  if (text.charCodeAt(0) === byteOrderMark) throw refused('The body starts with a byte order mark.');
  checkStructure(text, limits.depth ?? 32, limits.values ?? 100_000);
  try {
    return JSON.parse(text);
  } catch {
    // The parser's message quotes the text.
    throw refused('The body is not valid JSON.');
  }
}

const byteOrderMark = 0xfeff;
const quote = 0x22;
const comma = 0x2c;
const openBracket = 0x5b;
const backslash = 0x5c;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/** Names seen in the open object; `undefined` stands for an open array. */
type Names = Set<string> | undefined;

/**
 * Walks the text before it is parsed. It finds strings and brackets exactly as JSON does; whatever else is
 * wrong with the text is left to JSON.parse.
 */
function checkStructure(text: string, maxDepth: number, maxValues: number): void {
  const open: Names[] = [];
  let names: Names;
  let nameNext = false;
  let values = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case quote: {
        const end = stringEnd(text, at);
        if (nameNext && names !== undefined) addName(names, text, at, end);
        nameNext = false;
        at = end;
        break;
      }
      case comma:
        nameNext = names !== undefined;
        if (++values > maxValues) throw refused('The body holds too many values.');
        break;
      case openBrace:
      case openBracket:
        names = text.charCodeAt(at) === openBrace ? new Set() : undefined;
        nameNext = names !== undefined;
        if (open.push(names) > maxDepth) throw refused('The body is nested too deeply.');
        if (++values > maxValues) throw refused('The body holds too many values.');
        break;
      case closeBrace:
      case closeBracket:
        open.pop();
        names = open.at(-1);
        nameNext = false;
        break;
      default:
    }
  }
}

/** The index of the quote that closes the string opened at `start`; the text's length when none does. */
function stringEnd(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (end !== -1) {
    // A quote is escaped by an odd run of backslashes. Each run stands before one quote, so this stays linear.
    let run = end - 1;
    while (text.charCodeAt(run) === backslash) run--;
    if ((end - run) % 2 === 1) return end;
    end = text.indexOf('"', end + 1);
  }
  return text.length;
}

function addName(names: Set<string>, text: string, start: number, end: number): void {
  const written = text.slice(start + 1, end);
  const name = written.includes('\\') ? unescaped(written) : written;
  if (name === '__proto__') throw refused('The body has a member with a forbidden name.');
  if (names.has(name)) throw refused('The body has an object with the same member name twice.');
  names.add(name);
}

function unescaped(written: string): string {
  try {
    return String(JSON.parse(`"${written}"`));
  } catch {
    throw refused('The body is not valid JSON.');
  }
}

function refused(detail: string): ServiceError {
  return new ServiceError('request/invalid', detail);
}
