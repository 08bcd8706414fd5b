import { z } from 'zod';
import type { RewrapLine, RewrapLineAnswer } from '../client/types.ts';
import { fromBase64, toBase64 } from '../core/bytes.ts';
import { createLineSplitter } from '../http/lines.ts';
import type { Line } from '../http/route.ts';
import { Failed } from './failed.ts';
import { interruptible } from './interrupt.ts';
import { openInput, writeToStdout } from './pipes.ts';
import type { Surroundings } from './surroundings.ts';

const input = z.strictObject({
  id: z.string().max(256).optional(),
  ciphertext: z.string(),
  context: z.record(z.string(), z.string()).optional(),
});

/** Moves ciphertexts of a file or pipe, in constant memory; exits with 1 when one failed. */
export async function rewrapLines(
  file: string | undefined,
  key: string,
  { client, exit }: Surroundings,
): Promise<void> {
  const service = await client();
  let failed = 0;
  await interruptible(async (signal) => {
    const lines = createLines(openInput(file, () => undefined, signal).pieces);
    async function* out(): AsyncGenerator<Uint8Array> {
      for await (const answer of service.rewrapLines({ key, lines: lines.good() }, { signal })) {
        for (const told of lines.answered(answer)) {
          if (told.status === 'failed') failed += 1;
          yield Buffer.from(`${JSON.stringify(told)}\n`);
        }
      }
      for (const told of lines.rest()) {
        failed += 1;
        yield Buffer.from(`${JSON.stringify(told)}\n`);
      }
    }
    await writeToStdout(out(), signal);
  });
  exit(failed === 0 ? 0 : 1);
}

/** They wait in memory for the answer to the line before them. */
const mostRefused = 10_000;

interface Told {
  readonly line: number;
  readonly status: string;
}

/** Lines that are sent, and those between them that cannot be: what is told of them stands in their order. */
function createLines(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) {
  /** Numbers of the lines that were sent and have no answer yet. */
  const sent: number[] = [];
  let bad: Told[] = [];

  function* take(splitter: ReturnType<typeof createLineSplitter>): Generator<RewrapLine> {
    while (splitter.size > 0) {
      for (const line of splitter.take()) {
        const good = read(line);
        if (good === undefined) {
          if (bad.push(refused(line)) > mostRefused) throw noCiphertexts();
        } else {
          sent.push(line.number);
          yield good;
        }
      }
    }
  }

  return {
    async *good(): AsyncGenerator<RewrapLine> {
      const splitter = createLineSplitter();
      for await (const piece of source) {
        splitter.push(Buffer.from(piece));
        yield* take(splitter);
      }
      splitter.end();
      yield* take(splitter);
    },
    *answered(answer: RewrapLineAnswer): Generator<Told> {
      const line = sent.shift() ?? 0;
      yield* before(line);
      const ciphertext = 'ciphertext' in answer ? { ciphertext: toBase64(answer.ciphertext) } : undefined;
      yield { ...answer, ...ciphertext, line };
    },
    rest: () => before(Number.POSITIVE_INFINITY),
  };

  function before(line: number): Told[] {
    const told = bad.filter((each) => each.line < line);
    bad = bad.slice(told.length);
    return told;
  }
}

function noCiphertexts(): Failed {
  return new Failed(`${mostRefused} lines in a row are no ciphertexts: is it the right file?`);
}

function read(line: Line): RewrapLine | undefined {
  const parsed = 'value' in line ? input.safeParse(line.value) : undefined;
  const ciphertext = parsed?.data && fromBase64(parsed.data.ciphertext);
  return ciphertext && { ...parsed.data, ciphertext };
}

function refused(line: Line): Told & { problem: object } {
  const problem =
    'error' in line
      ? { code: line.error.code, detail: line.error.detail }
      : {
          code: 'request/invalid',
          detail: 'must be {"ciphertext": base64, "context"?: {…}, "id"?: text} and no more',
        };
  return { line: line.number, status: 'failed', problem };
}
