import type { IncomingMessage } from 'node:http';
import type { Deadline, Deadlines } from '../core/deadlines.ts';
import { isServiceError, ServiceError } from '../core/errors.ts';
import { parseJson } from './json.ts';
import type { Line } from './route.ts';

/** What one line may have, and what is in memory of a body in lines besides it. */
export const lineLimits = { bytes: 1024 * 1024, groupLines: 500, groupBytes: 2 * 1024 * 1024, values: 1_000 };

export interface LineReading {
  /** Nothing has come for so long. */
  readonly stallMs: number;
  readonly deadlines: Deadlines;
}

/**
 * The lines of a body (NDJSON), in groups: as many as are there, so that whoever sends one and waits gets its answer.
 * Nothing more is read before a group is taken care of. Empty lines are counted and left out; of a line that is too
 * long nothing is kept.
 * @param onBytes told of all that is read
 * @throws request/timeout when nothing comes, request/invalid for a body that ends early, the signal's reason
 */
export async function* readLines(
  incoming: IncomingMessage,
  reading: LineReading,
  signal: AbortSignal,
  onBytes: (count: number) => void,
): AsyncGenerator<Line[], void, undefined> {
  const lines = createLineSplitter();
  const arrival = createArrival(incoming, reading, signal);
  try {
    for (;;) {
      const chunk = incoming.read() as Buffer | null;
      if (chunk !== null) {
        onBytes(chunk.length);
        lines.push(chunk);
      } else if (incoming.readableEnded) lines.end();
      while (lines.isFull() || (chunk === null && lines.size > 0)) yield lines.take();
      if (chunk !== null) continue;
      if (incoming.readableEnded) return;
      await arrival.next();
    }
  } finally {
    arrival.end();
  }
}

/** Waits for what a request brings next. */
function createArrival(incoming: IncomingMessage, { stallMs, deadlines }: LineReading, signal: AbortSignal) {
  let news = false;
  let wake: (() => void) | undefined;
  const tell = (): void => {
    news = true;
    wake?.();
  };
  for (const event of ['readable', 'end', 'close', 'error']) incoming.on(event, tell);
  signal.addEventListener('abort', tell);

  function check(): void {
    signal.throwIfAborted();
    if (!incoming.readableEnded && (incoming.destroyed || incoming.errored !== null))
      throw new ServiceError('request/invalid', 'The body ended early.');
  }

  return {
    async next(): Promise<void> {
      check();
      if (!news) {
        const waited = Promise.withResolvers<void>();
        const deadline: Deadline = deadlines.start(stallMs, () => waited.reject(stalled()));
        wake = waited.resolve;
        try {
          await waited.promise;
        } finally {
          wake = undefined;
          deadlines.end(deadline);
        }
      }
      news = false;
      check();
    },
    end(): void {
      for (const event of ['readable', 'end', 'close']) incoming.off(event, tell);
      signal.removeEventListener('abort', tell);
    },
  };
}

function stalled(): ServiceError {
  return new ServiceError('request/timeout', 'Nothing more of the body came in time.');
}

const newline = 0x0a;

/** Bytes → lines, which wait in it until they are taken. */
export function createLineSplitter(limits: typeof lineLimits = lineLimits) {
  let ready: Line[] = [];
  let readyBytes = 0;
  let count = 0;
  /** What there is of the line that is not complete; nothing of one that is too long. */
  let parts: Buffer[] = [];
  let partBytes = 0;

  function add(part: Buffer): void {
    partBytes += part.length;
    if (partBytes > limits.bytes) parts = [];
    else parts.push(part);
  }

  function complete(): void {
    count += 1;
    const bytes = partBytes > limits.bytes ? undefined : Buffer.concat(parts, partBytes);
    parts = [];
    partBytes = 0;
    if (bytes === undefined) {
      ready.push({ number: count, error: tooLong(limits.bytes) });
      return;
    }
    readyBytes += bytes.length;
    if (!isBlank(bytes)) ready.push({ number: count, ...parsed(bytes, limits.values) });
  }

  return {
    push(chunk: Buffer): void {
      let from = 0;
      for (let at = chunk.indexOf(newline); at !== -1; at = chunk.indexOf(newline, from)) {
        add(chunk.subarray(from, at));
        complete();
        from = at + 1;
      }
      if (from < chunk.length) add(chunk.subarray(from));
    },
    /** The last line may come without its newline. */
    end(): void {
      if (partBytes > 0) complete();
    },
    get size(): number {
      return ready.length;
    },
    isFull: (): boolean => ready.length >= limits.groupLines || readyBytes >= limits.groupBytes,
    take(): Line[] {
      const group = ready.slice(0, limits.groupLines);
      ready = ready.slice(group.length);
      if (ready.length === 0) readyBytes = 0;
      return group;
    },
  };
}

/** Spaces, tabs and the carriage return of a line ended by CRLF. */
function isBlank(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);
}

function parsed(bytes: Buffer, values: number): { value: unknown } | { error: ServiceError } {
  try {
    return { value: parseJson(bytes, { values }) };
  } catch (error) {
    if (!isServiceError(error)) throw error;
    return { error: new ServiceError(error.code, error.detail.replace('The body', 'The line')) };
  }
}

function tooLong(bytes: number): ServiceError {
  return new ServiceError('request/too-large', `A line may have ${bytes} bytes at most.`);
}
