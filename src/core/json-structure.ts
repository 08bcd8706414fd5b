/** Why a JSON text is refused that JSON.parse may take; nothing of the text is quoted. */
export class StructureRefused extends Error {
  readonly reason: StructureReason;

  constructor(reason: StructureReason) {
    super(`JSON: ${reason}`);
    this.name = 'StructureRefused';
    this.reason = reason;
  }
}

export type StructureReason =
  | 'too many values'
  | 'too deep'
  | 'forbidden name'
  | 'duplicate name'
  | 'not JSON';

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
 * Walks a JSON text before it is parsed. It finds strings and brackets exactly as JSON does; whatever else is wrong with
 * the text is left to JSON.parse. Linear; long strings are skipped, not walked.
 * @throws StructureRefused for a member name twice in an object, however it is written, for the name `__proto__`, and
 * for more values or deeper nesting than is allowed
 */
export function checkStructure(text: string, maxDepth: number, maxValues: number): void {
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
        if (++values > maxValues) throw new StructureRefused('too many values');
        break;
      case openBrace:
      case openBracket:
        names = text.charCodeAt(at) === openBrace ? new Set() : undefined;
        nameNext = names !== undefined;
        if (open.push(names) > maxDepth) throw new StructureRefused('too deep');
        if (++values > maxValues) throw new StructureRefused('too many values');
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
export function stringEnd(text: string, start: number): number {
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
  if (name === '__proto__') throw new StructureRefused('forbidden name');
  if (names.has(name)) throw new StructureRefused('duplicate name');
  names.add(name);
}

function unescaped(written: string): string {
  try {
    return String(JSON.parse(`"${written}"`));
  } catch {
    throw new StructureRefused('not JSON');
  }
}
