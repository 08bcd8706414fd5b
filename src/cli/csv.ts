import { Failed } from './failed.ts';

/** Characters of a record at most: a quote that is never closed would take the rest of the file. */
const recordLimit = 1024 * 1024;

/**
 * Reads comma-separated values (RFC 4180) in UTF-8: records as arrays of fields, the first of them too. Lines end in
 * LF or CRLF, a byte order mark is passed over, and lines that are empty are none.
 * @throws Failed for what is no such file; it never says what is in it
 */
export async function* readCsv(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<string[], void, void> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const parser = createParser();
  try {
    for await (const piece of pieces) yield* parser.push(decoder.decode(piece, { stream: true }));
    yield* parser.push(decoder.decode());
  } catch (error) {
    throw error instanceof TypeError ? new Failed('the file is not UTF-8') : error;
  }
  yield* parser.end();
}

function createParser() {
  let fields: string[] = [];
  let field = '';
  let length = 0;
  /** Within quotes, behind a quote that may end them, or outside. */
  let state: 'plain' | 'quoted' | 'closing' = 'plain';
  let line = 1;
  let wasCarriageReturn = false;

  function endField(): void {
    fields.push(field);
    field = '';
    state = 'plain';
  }

  function* endRecord(): Generator<string[]> {
    const empty = fields.length === 0 && field === '' && state === 'plain';
    if (!empty) {
      endField();
      yield fields;
    }
    fields = [];
    length = 0;
  }

  function take(character: string): void {
    if (state === 'quoted') {
      if (character === '"') state = 'closing';
      else field += character;
    } else if (character === '"' && state === 'closing') {
      field += '"';
      state = 'quoted';
    } else if (character === ',') endField();
    else if (character === '"' && field === '' && state === 'plain') state = 'quoted';
    else if (character === '"' || state === 'closing') {
      throw new Failed(`line ${line}: a quote stands where none may be`);
    } else field += character;
  }

  return {
    *push(text: string): Generator<string[]> {
      for (const character of text) {
        if ((length += 1) > recordLimit) throw new Failed(`line ${line}: a record is too long`);
        const ends = character === '\n' && state !== 'quoted';
        // A carriage return is one unless it ends the line.
        if (wasCarriageReturn && !ends) take('\r');
        wasCarriageReturn = character === '\r' && state !== 'quoted';
        if (character === '\n') line += 1;
        if (ends) yield* endRecord();
        else if (!wasCarriageReturn) take(character);
      }
    },
    *end(): Generator<string[]> {
      if (state === 'quoted') throw new Failed(`line ${line}: a quote is not closed`);
      yield* endRecord();
    },
  };
}
