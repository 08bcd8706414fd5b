import { z } from 'zod';
import { defineKind } from '../../src/jobs/kinds.ts';
import { leaveMark } from './support.ts';

/** Leaves a mark for each of the piece's numbers, one a step: each must be there once in the end. */
export const counting = defineKind({
  kind: 'test.count',
  input: z.strictObject({ pauseMilliseconds: z.number().optional() }),
  piece: z.strictObject({ from: z.int(), to: z.int() }),
  scopes: [],
  async run({ jobId, input, piece, cursor }, { commit, signal }) {
    const total = piece.to - piece.from;
    for (let at = cursor === undefined ? piece.from : Number(cursor); at < piece.to; at += 1) {
      signal.throwIfAborted();
      await commit({ cursor: String(at + 1), done: at + 1 - piece.from, total }, (tx) =>
        leaveMark(tx, `${jobId}:${at}`),
      );
      if (input.pauseMilliseconds) await new Promise((next) => setTimeout(next, input.pauseMilliseconds));
    }
    return total;
  },
  merge: (one, other) => Number(one) + Number(other),
});

/** Ends its process, by SIGKILL, before it gets anywhere. */
export const deadly = defineKind({
  kind: 'test.deadly',
  input: z.null(),
  piece: z.null(),
  scopes: [],
  attempts: 3,
  async run() {
    process.kill(process.pid, 'SIGKILL');
    return await new Promise(() => undefined);
  },
});

/** The pieces of `chunks` chunks of `each` numbers. */
export function pieces(chunks: number, each: number) {
  return Array.from({ length: chunks }, (_, at) => ({ from: at * each, to: (at + 1) * each }));
}
