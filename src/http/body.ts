import type { IncomingMessage, ServerResponse } from 'node:http';
import { wipe } from '../core/bytes.ts';
import type { Deadlines } from '../core/deadlines.ts';
import { ServiceError } from '../core/errors.ts';

const nothing = Buffer.alloc(0);

/** True when the request's framing announces a body (RFC 9112 §6.3). */
export function announcesBody(incoming: IncomingMessage): boolean {
  const { headers } = incoming;
  return (headers['content-length'] ?? '0') !== '0' || headers['transfer-encoding'] !== undefined;
}

/** What a body in chunks counts for: nobody knows how long it will be. */
const chunkedBytes = 64 * 1024;

/** The bytes of body that the request says it has. */
export function announcedBytes({ headers }: IncomingMessage): number {
  const length = Number(headers['content-length'] ?? 0);
  return headers['transfer-encoding'] === undefined && length >= 0 ? length : chunkedBytes;
}

export interface BodyLimits {
  /** 0: a body of any size is refused. */
  readonly bytes: number;
  /** From now to the last byte. */
  readonly milliseconds: number;
  readonly deadlines: Deadlines;
}

/**
 * Reads a request's body from the socket, whatever its framing. Nothing more than the limit is kept, and
 * nothing is read when the length announced exceeds it. Of a body that is refused nothing is left.
 * @throws request/too-large, request/timeout, request/invalid (cut short, or framed by other than `chunked`)
 */
export async function readBody(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  limits: BodyLimits,
): Promise<Buffer> {
  const { headers } = incoming;
  if (!announcesBody(incoming)) return nothing;
  checkFraming(incoming);
  if (Number(headers['content-length'] ?? 0) > limits.bytes) throw tooLarge(limits.bytes);
  askForBody(incoming, outgoing);
  return await collect(incoming, limits);
}

/** @throws request/invalid for a body framed by other than its length or `chunked` */
export function checkFraming({ headers }: IncomingMessage): void {
  const coding = headers['transfer-encoding'];
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
    throw new ServiceError('request/invalid', 'The only transfer coding supported is chunked.');
  }
}

/** Tells a client that waits for it to send its body. */
export function askForBody({ headers }: IncomingMessage, outgoing: ServerResponse): void {
  if (headers.expect?.toLowerCase() === '100-continue') outgoing.writeContinue();
}

function collect(incoming: IncomingMessage, { bytes, milliseconds, deadlines }: BodyLimits): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let total = 0;
    const deadline = deadlines.start(milliseconds, () => {
      refuse(new ServiceError('request/timeout', 'The body did not arrive in time.'));
    });
    const onData = (chunk: Buffer): void => {
      total += chunk.length;
      chunks.push(chunk);
      if (total > bytes) refuse(tooLarge(bytes));
    };
    const onEnd = (): void => {
      stop();
      const [first] = chunks;
      if (first !== undefined && chunks.length === 1) return resolve(first);
      resolve(Buffer.concat(chunks, total));
      wipe(...chunks);
    };
    const refuse = (error: ServiceError): void => {
      stop();
      wipe(...chunks);
      reject(error);
    };
    const onBroken = (): void => refuse(new ServiceError('request/invalid', 'The body ended early.'));
    // The listener for errors stays: one that comes after the answer must not end the process.
    const stop = (): void => {
      deadlines.end(deadline);
      incoming.pause();
      incoming.off('data', onData).off('end', onEnd).off('close', onBroken);
    };
    incoming.on('data', onData).on('end', onEnd).on('error', onBroken).on('close', onBroken);
  });
}

export type MediaType = 'application/json' | 'application/octet-stream';

/** Checks that a body is as it is of this type; returns nothing. @throws request/unsupported-media-type */
export function checkMediaType(incoming: IncomingMessage, expected: MediaType): void {
  const { headers } = incoming;
  const type = headers['content-type'];
  if (type === undefined || (type !== expected && !(expected === 'application/json' && json.test(type)))) {
    const how = expected === 'application/json' ? ' in UTF-8' : '';
    throw new ServiceError('request/unsupported-media-type', `The body must be ${expected}${how}.`);
  }
  checkCoding(incoming);
}

/** The same for lines of JSON. @throws request/unsupported-media-type */
export function checkLinesType(incoming: IncomingMessage): void {
  if (!lines.test(incoming.headers['content-type'] ?? '')) {
    throw new ServiceError(
      'request/unsupported-media-type',
      'The body must be application/x-ndjson in UTF-8.',
    );
  }
  checkCoding(incoming);
}

function checkCoding({ headers }: IncomingMessage): void {
  const coding = headers['content-encoding'];
  if (coding !== undefined && coding.toLowerCase() !== 'identity') {
    throw new ServiceError('request/unsupported-media-type', 'Content codings are not supported.');
  }
}

const json = /^application\/json[ \t]*(?:;[ \t]*charset=(?:utf-8|"utf-8")[ \t]*)?$/i;
const lines = /^application\/(?:x-ndjson|jsonl)[ \t]*(?:;[ \t]*charset=(?:utf-8|"utf-8")[ \t]*)?$/i;

function tooLarge(limitBytes: number): ServiceError {
  const detail =
    limitBytes === 0 ? 'This operation takes no body.' : `The body may have ${limitBytes} bytes at most.`;
  return new ServiceError('request/too-large', detail);
}

/** What is still read of a body nobody wants, so that its sender gets to read the answer (RFC 9112 §9.6). */
const lingerBytes = 32 * 1024 * 1024;
const lingerMs = 500;

/**
 * Gives `text` as a stream that ends once the rest of the request's body has been thrown away or has taken
 * too long. Closing at once would reset the connection, and a client still sending would lose the answer.
 */
export function lingering(text: string, incoming: IncomingMessage): ReadableStream<Uint8Array> {
  let stop: () => void = () => {};
  return new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(Buffer.from(text));
      stop = discard(incoming, () => controller.close());
    },
    // The connection went away: nobody reads the end of the stream.
    cancel: () => stop(),
  });
}

/** Reads and drops what still comes, then calls `done` once; the function returned stops without it. */
export function discard(incoming: IncomingMessage, done: () => void): () => void {
  let total = 0;
  const stop = (): void => {
    clearTimeout(timer);
    incoming.off('data', onData).off('end', finish).off('close', finish);
  };
  const finish = (): void => {
    stop();
    done();
  };
  const onData = (chunk: Buffer): void => {
    total += chunk.length;
    if (total > lingerBytes) finish();
  };
  const timer = setTimeout(finish, lingerMs);
  incoming
    .on('error', () => {})
    .on('data', onData)
    .on('end', finish)
    .on('close', finish)
    .resume();
  return stop;
}
