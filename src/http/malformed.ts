import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { type ErrorCode, ServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import { type Desk, type Exchange, interfaceVersion } from './exchange.ts';
import { type ProblemBody, problemOf } from './problem.ts';

// What reaches the port and is no request: there is no exchange for it, only an answer and the end.

/** Answers a request whose target or Host cannot be understood. */
export function refusedRequest(desk: Desk, error: unknown): Response {
  desk.metrics.malformedRequests.add();
  const known = error instanceof Error && error.name === 'RequestError';
  const { body } = problemOf(
    known ? new ServiceError('request/invalid', 'The request target or Host is not valid.') : error,
    newId(),
  );
  return new Response(JSON.stringify(body), { status: body.status, headers: headersOf(body) });
}

/**
 * Answers what the parser refused and closes the connection. An answer another request of the same
 * connection waits for goes first: this one must not be taken for it.
 */
export function answerMalformed(desk: Desk, error: NodeJS.ErrnoException, socket: Socket): void {
  desk.metrics.malformedRequests.add();
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const waiting = [...desk.inFlight].filter((exchange) => exchange.incoming.socket === socket);
  const own = waiting.find((exchange) => !exchange.incoming.complete);
  if (own?.outgoing.headersSent === true) {
    socket.destroy();
    return;
  }
  const last = waiting.findLast((exchange) => exchange.incoming.complete);
  if (last === undefined) endWith(desk, error, socket);
  else afterAnswer(last, () => endWith(desk, error, socket));
}

function afterAnswer({ outgoing }: Exchange, act: () => void): void {
  if (outgoing.writableFinished) act();
  else outgoing.once('finish', act);
}

function endWith(desk: Desk, error: NodeJS.ErrnoException, socket: Socket): void {
  const refusal = refusalOf(error.code);
  desk.onRefused(socket.remoteAddress?.replace(/^::ffff:/, ''), refusal.code);
  desk.log.debug({ parserCode: error.code, code: refusal.code }, 'malformed request');
  if (!socket.writable) return;
  const { body } = problemOf(refusal, newId());
  const text = JSON.stringify(body);
  const head = Object.entries({ ...headersOf(body), 'Content-Length': String(Buffer.byteLength(text)) })
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('');
  socket.end(`HTTP/1.1 ${body.status} ${STATUS_CODES[body.status] ?? ''}\r\n${head}\r\n${text}`, () =>
    socket.destroy(),
  );
}

function refusalOf(parserCode: string | undefined): ServiceError {
  const [code, detail] = refusals[parserCode ?? ''] ?? [
    'request/invalid',
    'The message is not valid HTTP/1.1.',
  ];
  return new ServiceError(code, detail);
}

const refusals: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  HPE_HEADER_OVERFLOW: ['request/too-large', 'The headers are too large.'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: ['request/too-large', 'The chunk extensions are too large.'],
  ERR_HTTP_REQUEST_TIMEOUT: ['request/timeout', 'The request did not arrive in time.'],
};

function headersOf(body: ProblemBody): Record<string, string> {
  return {
    'Content-Type': 'application/problem+json',
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    'X-Request-Id': body.requestId,
    'Stathera-Version': interfaceVersion,
    Connection: 'close',
  };
}
