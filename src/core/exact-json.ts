import { stringEnd } from './json-structure.ts';

/**
 * A number as it is written, where a double would write it otherwise (1.0, 1e400, 12345678901234567890, -0): what
 * JSON.rawJSON makes. JSON.stringify writes it as it was.
 * @see https://tc39.es/proposal-json-parse-with-source
 */
export interface RawNumber {
  readonly rawJSON: string;
}

interface SourceText {
  readonly source?: string;
}

/** What TypeScript does not know yet of JSON. */
interface SourcedJson {
  parse(text: string, reviver: (name: string, value: unknown, context: SourceText) => unknown): unknown;
  rawJSON(text: string): RawNumber;
  isRawJSON(value: unknown): value is RawNumber;
}
const sourced = JSON as unknown as SourcedJson;

/** As JSON.parse, but that every number is written again as it was. @throws SyntaxError, which quotes the text */
export function parseExact(text: string): unknown {
  if (!holdsRawNumber(text)) return JSON.parse(text);
  return sourced.parse(text, (_, value, { source }) =>
    typeof value === 'number' && source !== undefined ? exactNumber(source) : value,
  );
}

/** A number of a JSON text: itself where it is written again as it was. */
function exactNumber(text: string): number | RawNumber {
  const value = Number(text);
  return JSON.stringify(value) === text ? value : sourced.rawJSON(text);
}

export function isRawNumber(value: unknown): value is RawNumber {
  return sourced.isRawJSON(value);
}

const suspicious = /\d[.eE]|-0|\d{16}/;
const numbers = /-?\d[\d.eE+-]*/g;

/** Whether a number outside its strings is one that a double would write otherwise. */
function holdsRawNumber(text: string): boolean {
  for (let at = 0; ; ) {
    const quote = text.indexOf('"', at);
    const piece = text.slice(at, quote < 0 ? text.length : quote);
    if (suspicious.test(piece))
      for (const [number] of piece.matchAll(numbers))
        if (JSON.stringify(Number(number)) !== number) return true;
    if (quote < 0) return false;
    at = stringEnd(text, quote) + 1;
  }
}

/** Why a value of a program has no JSON text of its own. */
class NotJson extends Error {
  constructor(why: string) {
    super(why);
    this.name = 'NotJson';
  }
}

/** What a document in a request of the service may have. */
const depthLimit = 29;

/**
 * A copy of a value that JSON has, member by member: what is done to it does nothing to the original.
 * @throws NotJson for everything that JSON.stringify would change or leave out: undefined, -0, NaN, bigints, dates and
 * other objects of a class, holes, symbols, the name `__proto__`, and what is deeper than 29 or holds itself
 */
export function copyExact(value: unknown, depth = 0): unknown {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      if (Object.is(value, -0)) throw new NotJson('-0 is written as 0: give JSON.rawJSON("-0")');
      if (!Number.isFinite(value)) throw new NotJson('a number that is not finite');
      return value;
    case 'object':
      break;
    default:
      throw new NotJson(`a value of the type ${typeof value}`);
  }
  if (value === null) return value;
  if (isRawNumber(value)) return rawNumberOf(value);
  if (depth >= depthLimit) throw new NotJson(`deeper than ${depthLimit}, or in itself`);
  return Array.isArray(value) ? copyArray(value, depth) : copyObject(value, depth);
}

/** JSON.rawJSON takes texts of strings too, and of true, false and null. */
function rawNumberOf(value: RawNumber): number | RawNumber {
  if (!/^-?\d/.test(value.rawJSON)) throw new NotJson('a JSON.rawJSON that is not a number');
  return exactNumber(value.rawJSON);
}

function copyArray(value: readonly unknown[], depth: number): unknown[] {
  // Array.from gives the holes as undefined, which is refused.
  if (Object.keys(value).length !== value.length)
    throw new NotJson('an array with holes or members of its own');
  return Array.from(value, (element) => copyExact(element, depth + 1));
}

function copyObject(value: object, depth: number): object {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) throw new NotJson('an object of a class');
  if (Object.getOwnPropertySymbols(value).length > 0) throw new NotJson('a member named by a symbol');
  const out: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(value)) {
    if (name === '__proto__') throw new NotJson('a member named __proto__');
    out[name] = copyExact(member, depth + 1);
  }
  return out;
}
