import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from '../../client/client.ts';
import type { Progress } from '../progress.ts';
import type { Column, Id, Row } from './column.ts';
import { countRows, rewrapPage, type Target } from './pages.ts';
import { add, createTally, type Tally } from './tally.ts';

export interface Reading {
  readonly column: Column;
  readonly target: Target;
  readonly pageRows: number;
  /** Rows a second at most. */
  readonly rate: number | undefined;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** Pages at work at once: while the service rewraps one, another is read and a third one written. */
const pagesAtWork = 4;

/** Counts, and changes nothing. */
export async function scan(reading: Reading): Promise<Tally> {
  const tally = createTally();
  await eachPage(
    reading,
    undefined,
    async (page) => {
      const found = createTally();
      await countRows(page, reading.target, found);
      return found;
    },
    (_, found) => add(tally, found),
  );
  return tally;
}

/**
 * Moves every row of an older version, from the row after `from`.
 * @param onDone told, in order, of each page whose rows are done: up to that row nothing has to be done again
 */
export async function rewrapAll(
  reading: Reading & { readonly client: Client },
  from: Id | undefined,
  onDone: (last: Id, found: Tally) => void,
): Promise<void> {
  await eachPage(reading, from, (page) => rewrapPage(page, reading, reading.signal), onDone);
}

async function eachPage(
  { column, pageRows, rate, progress, signal }: Reading,
  from: Id | undefined,
  work: (page: readonly Row[]) => Promise<Tally>,
  onDone: (last: Id, found: Tally) => void,
): Promise<void> {
  const total = await column.count();
  const atWork: { readonly last: Id; readonly found: Promise<Tally>; ended: boolean }[] = [];
  const started = performance.now();
  let read = 0;
  let done = 0;

  async function settleFirst(): Promise<void> {
    const first = atWork.shift();
    if (!first) return;
    const found = await first.found;
    done += found.rows;
    onDone(first.last, found);
    progress.update(done, total === undefined ? undefined : Math.max(total, done));
  }

  try {
    for (let after = from; ; ) {
      signal.throwIfAborted();
      if (rate !== undefined) {
        const dueMs = (read / rate) * 1000 - (performance.now() - started);
        if (dueMs > 0) await delay(dueMs, undefined, { signal });
      }
      const page = await column.page(
        after,
        rate === undefined ? pageRows : Math.min(pageRows, Math.ceil(rate)),
      );
      const last = page.at(-1)?.id;
      if (last === undefined) break;
      read += page.length;
      after = last;
      const entry = { last, found: work(page), ended: false };
      // It is waited for below; until then nobody listens.
      entry.found
        .catch(() => undefined)
        .finally(() => {
          entry.ended = true;
        });
      atWork.push(entry);
      while (atWork.length >= pagesAtWork || atWork[0]?.ended) await settleFirst();
    }
    while (atWork.length > 0) await settleFirst();
  } finally {
    // What is under way takes effect or not before the connection is closed.
    await Promise.allSettled(atWork.map(({ found }) => found));
    progress.clear();
  }
}
