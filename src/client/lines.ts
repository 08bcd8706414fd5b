import { keyIdOf } from '../crypto/payload/format.ts';
import { decodeAnswer, failedItem, Mismatch } from './answers.ts';
import type { Base64 } from './bytes.ts';
import type { Members } from './requests.ts';
import type { Shape } from './shapes.ts';
import type { CallOptions } from './types.ts';

// Any number of lines, a request for each group of them: so that a lost answer costs a group, and each is tried again
// as every other call is.

/** What one request carries, of lines and of bytes in them. */
const groupLines = 500;
const groupBytes = 4 * 1024 * 1024;

const line = { line: 'integer', 'id?': 'string', status: 'string' } as const;
const renewed = { ...line, keyId: 'string', keyVersion: 'integer' } as const;

/** What a line is answered, by its status. */
export const lineAnswers = {
  rewrapped: { ...renewed, ciphertext: 'bytes', fromVersion: 'integer' },
  newest: renewed,
  failed: { ...line, ...failedItem },
} as const satisfies Record<string, Shape>;

type Call = (input: Members, options?: CallOptions) => Promise<unknown>;
type Lines = AsyncIterable<Members> | Iterable<Members>;

/** @returns what answers lines in their order; numbers count from the first of all */
export function createLines(call: Call) {
  return async function* answered(
    { lines, ...input }: Members & { lines: Lines },
    options?: CallOptions,
  ): AsyncGenerator<Members, void, undefined> {
    let before = 0;
    for await (const group of groupsOf(lines)) {
      const results = (await call({ ...input, lines: group }, options)) as readonly { line: number }[];
      for (const result of results) yield { ...result, line: before + result.line };
      before += group.length;
    }
  };
}

async function* groupsOf(lines: Lines): AsyncGenerator<Members[]> {
  let group: Members[] = [];
  let bytes = 0;
  for await (const line of lines) {
    const { ciphertext } = line;
    bytes += ciphertext instanceof Uint8Array ? ciphertext.length : 0;
    group.push(line);
    if (group.length < groupLines && bytes < groupBytes) continue;
    yield group;
    group = [];
    bytes = 0;
  }
  if (group.length > 0) yield group;
}

/** The service stopped before it answered all lines. */
export class LinesEnded extends Error {
  readonly problem: unknown;

  constructor(problem: unknown) {
    super('the answer ended early');
    this.problem = problem;
  }
}

/** The answers to lines, each to its own. @throws Mismatch, LinesEnded */
export function decodeLines(sent: readonly Members[], text: string, base64: Base64): Members[] {
  const answers = text.split('\n').slice(0, -1).map(parsed);
  const end = answers.pop()?.['end'] as Members | undefined;
  if (end === undefined) throw new Mismatch('');
  if (end['problem'] !== undefined) throw new LinesEnded(end['problem']);
  if (answers.length !== sent.length) throw new Mismatch('/end');
  return answers.map((answer, at) => {
    const { status, id } = answer;
    const shape = Object.hasOwn(lineAnswers, String(status))
      ? lineAnswers[status as keyof typeof lineAnswers]
      : undefined;
    if (shape === undefined || answer['line'] !== at + 1 || id !== sent[at]?.['id'])
      throw new Mismatch(`/${at}`);
    const decoded = decodeAnswer(shape, answer, base64, `/${at}`) as Members;
    if (!isOfItsKey(decoded)) throw new Mismatch(`/${at}/ciphertext`);
    return decoded;
  });
}

/** Where a ciphertext is given, it names the key that the answer names. */
function isOfItsKey({ ciphertext, keyId }: Members): boolean {
  if (!(ciphertext instanceof Uint8Array)) return true;
  return keyIdOf(ciphertext.subarray(ciphertext[1] === 2 ? 6 : 0)) === keyId;
}

function parsed(text: string): Members {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Members;
  } catch {
    // Answered below.
  }
  throw new Mismatch('');
}
