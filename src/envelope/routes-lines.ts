import type { z } from 'zod';
import { toBase64 } from '../core/bytes.ts';
import { problemOf } from '../http/problem.ts';
import { type AnyRoute, defineLinesRoute, type Line } from '../http/route.ts';
import { invalidRequest } from '../http/violations.ts';
import type { Envelopes, RenewItem } from './envelope.ts';
import type { ItemResult } from './items.ts';
import { keyParams, rewrapLine, rewrapLinesAnswer } from './routes-schemas.ts';
import type { Renewed } from './work.ts';

export function rewrapLinesRoute(envelopes: Envelopes): AnyRoute {
  return defineLinesRoute({
    method: 'post',
    path: '/v1/keys/{key}/rewrap-lines',
    operationId: 'rewrapLines',
    tag: 'Encryption',
    summary: 'Move ciphertexts of a key to its newest version: a line of JSON each, any number of lines',
    description:
      'NDJSON in and out: each line is answered in its place, while others come. `newest` needs nothing done, and ' +
      'nothing of it is checked. Of a ciphertext under a data key, its header alone will do. The last line is `end`: ' +
      'without one the answer was cut off. Read while you write. A group of lines is one audit record.',
    request: { params: keyParams, body: rewrapLine },
    answer: { status: 200, description: 'What became of a line, or of all.', body: rewrapLinesAnswer },
    problems: ['key/not-found'],
    async handle({ caller, params, group }) {
      const decoded = group.map(lineIn);
      const results = await envelopes.renew(
        caller,
        params.key,
        decoded.map(({ item }) => item),
      );
      return decoded.map(({ id }, at) => ({ ...id, ...resultOut(results[at], caller.requestId) }));
    },
  });
}

/** A line that breaks its schema becomes an item that fails, with its id where it has one. */
function lineIn(line: Line): { id: { id?: string }; item: RenewItem } {
  if ('error' in line) return { id: {}, item: line };
  const parsed = rewrapLine.safeParse(line.value);
  if (parsed.success) {
    const { id, ciphertext, context } = parsed.data;
    return { id: id === undefined ? {} : { id }, item: { ciphertext, context } };
  }
  const id = (line.value as { id?: unknown } | null)?.id;
  const known = typeof id === 'string' && id.length <= 256;
  return { id: known ? { id } : {}, item: { error: invalidRequest(parsed.error, rewrapLine) } };
}

type Out = z.output<typeof rewrapLinesAnswer>;

function resultOut(result: ItemResult<Renewed> | undefined, requestId: string) {
  if (result === undefined || 'error' in result) {
    // One that is missing would be a fault of ours, never an empty success.
    const { body } = problemOf(result?.error, requestId);
    return { status: 'failed', problem: { ...body } } satisfies Omit<
      Extract<Out, { problem: unknown }>,
      'line'
    >;
  }
  const { value } = result;
  return value.status === 'newest' ? value : { ...value, ciphertext: toBase64(value.ciphertext) };
}
