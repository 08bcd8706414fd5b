import type { Caller } from '../access/caller.ts';
import { type ErrorCode, ServiceError } from '../core/errors.ts';
import { announcesBody, askForBody, checkFraming, checkLinesType, discard } from './body.ts';
import { decoded, decodedQuery } from './decoding.ts';
import type { Answer, Exchange, RouteWork } from './exchange.ts';
import { type LineReading, readLines } from './lines.ts';
import { problemOf } from './problem.ts';
import type { AnyRoute, Line } from './route.ts';

const type = 'application/x-ndjson';

/**
 * What a route of lines does with a request. The answer begins when the first group is answered, so that what refuses
 * the request as a whole is a problem document; from then on, what ends it is told in its last line.
 */
export function linesWork(route: AnyRoute, reading: LineReading): RouteWork {
  return async (exchange, context, principal) => {
    const { incoming, outgoing, requestId, source } = exchange;
    const params = route.request.params && decoded(route.request.params, context.req.param(), '#path');
    decodedQuery(undefined, incoming.url ?? '');
    if (announcesBody(incoming)) checkLinesType(incoming);
    if (incoming.headers['content-digest'] !== undefined)
      throw new ServiceError('request/invalid', 'This operation takes no Content-Digest.');
    checkFraming(incoming);
    askForBody(incoming, outgoing);
    const caller: Caller = { principal, requestId, source, idempotency: undefined };
    const writer = createWriter(exchange, reading);
    const counts = new Map<string, number>();
    let lines = 0;
    const end = (problem?: object) =>
      `${JSON.stringify({ end: { lines, ...Object.fromEntries(counts), problem } })}\n`;
    try {
      for await (const group of groupsOf(exchange, reading)) {
        const input = { caller, params, query: undefined, body: group, signal: exchange.signal };
        const answers = (await route.handle(input)) as readonly { status: string }[];
        lines += group.length;
        for (const { status } of answers) counts.set(status, (counts.get(status) ?? 0) + 1);
        await writer.write(textOf(group, answers));
        if (exchange.closing && !incoming.readableEnded) throw shuttingDown();
      }
      await writer.write(end());
      await writer.end();
      return answerOf(200, undefined);
    } catch (error) {
      if (!writer.begun()) {
        // Of a body that was begun node drops nothing by itself, and the connection would serve no more.
        incoming.resume();
        throw error;
      }
      const { body } = problemOf(error, requestId);
      await writer.fail(end(body));
      return answerOf(body.status, { code: body.code, error });
    }
  };
}

/** The groups of a body, or a single empty one: also who sends no line is asked whether it may. */
async function* groupsOf(exchange: Exchange, reading: LineReading): AsyncGenerator<readonly Line[]> {
  let any = false;
  const onBytes = (count: number): void => {
    exchange.bytesIn += count;
  };
  for await (const group of readLines(exchange.incoming, reading, exchange.signal, onBytes)) {
    any = true;
    yield group;
  }
  if (!any) yield [];
}

function textOf(group: readonly Line[], answers: readonly object[]): string {
  return answers.map((answer, at) => `${JSON.stringify({ line: group[at]?.number, ...answer })}\n`).join('');
}

/** Writes an answer piece by piece, no faster than it is read. */
function createWriter(exchange: Exchange, { stallMs, deadlines }: LineReading) {
  const { incoming, outgoing } = exchange;
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  // Whoever waits for a write is told by it.
  writer.closed.catch(() => undefined);
  let begun = false;

  /** @throws what ended the answer: its reader has gone, or stands still */
  async function write(text: string): Promise<void> {
    if (text === '') return;
    if (!begun) {
      exchange.begin({ status: 200, type, body: readable });
      begun = true;
    }
    const bytes = Buffer.from(text);
    exchange.bytesOut += bytes.length;
    const deadline = deadlines.start(stallMs, () => incoming.socket.destroy());
    try {
      await writer.write(bytes);
    } finally {
      deadlines.end(deadline);
    }
  }

  return {
    begun: () => begun,
    write,
    end: () => writer.close(),
    /** The last line of an answer that ends before its request; its reader may have gone. */
    async fail(text: string): Promise<void> {
      outgoing.once('finish', () => discard(incoming, () => incoming.socket.destroy()));
      await write(text)
        .then(() => writer.close())
        .catch(() => incoming.socket.destroy());
    },
  };
}

function answerOf(status: number, refusal: { code: ErrorCode; error: unknown } | undefined): Answer {
  return { status, type, body: undefined, ...(refusal && { refusal }) };
}

function shuttingDown(): ServiceError {
  return new ServiceError(
    'service/shutting-down',
    'The service is shutting down: send the lines that have no answer again.',
  );
}
