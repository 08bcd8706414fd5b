import { parseExact } from '../core/exact-json.ts';
import { decodeAnswer, decodeBatch, Mismatch } from './answers.ts';
import { contradiction } from './consistency.ts';
import { StatheraError } from './errors.ts';
import { decodeLines, LinesEnded } from './lines.ts';
import { type OperationId, type OperationRow, operations } from './operations.ts';
import { printable, problemError } from './problems.ts';
import type { Members } from './requests.ts';
import { parseRetryAfter } from './retries.ts';
import type { Platform, WireAnswer, WireRequest } from './transport.ts';

export interface Attempt {
  readonly operationId: OperationId;
  readonly input: Members;
  readonly request: WireRequest;
  readonly requestId: string;
  readonly token: string | undefined;
}

export interface AttemptSettings extends Platform {
  readonly maxAnswerBytes: number;
  readonly verifyRequestId: boolean;
}

export interface Outcome {
  readonly status: number;
  readonly value: unknown;
}

/** Sends one request and judges its answer. @throws StatheraError, the signal's reason */
export async function send(attempt: Attempt, settings: AttemptSettings): Promise<Outcome> {
  const row: OperationRow = operations[attempt.operationId];
  const answer = await settings.transport(attempt.request);
  const { status } = answer;
  try {
    checkHead(answer, attempt, settings);
    if (row.answer === undefined && status === 204) {
      // Its end gives the connection back; unread, it would hold the process until the service closes it.
      await answer.read(0);
      return { status, value: undefined };
    }
    const type = (answer.header('content-type') ?? '').replace(/\s*;.*$/s, '').toLowerCase();
    const raw = await answer.read(settings.maxAnswerBytes);
    if (isRefusal(row, status, type)) throw refusal(answer, type, raw, attempt);
    return { status, value: decode(row, status, type, raw, attempt, settings) };
  } catch (error) {
    answer.cancel();
    throw error;
  }
}

/** Who answered, and to what. */
function checkHead({ status, header }: WireAnswer, { requestId }: Attempt, settings: AttemptSettings): void {
  const place = { status, requestId };
  if (status >= 300 && status < 400) {
    throw new StatheraError(
      'client/not-stathera',
      'The server redirects, which the client does not follow with a token: give the URL it leads to.',
      place,
    );
  }
  if (header('stathera-version') === undefined) {
    const retryAfterSeconds = parseRetryAfter(header('retry-after'), Date.now());
    throw new StatheraError(
      'client/not-stathera',
      `The server answered ${status} and is no Stathera service: check the URL and what stands in front of it.`,
      { ...place, retryAfterSeconds },
    );
  }
  if (settings.verifyRequestId && header('x-request-id') !== requestId) {
    throw new StatheraError(
      'client/answer-invalid',
      'The answer is to another request (X-Request-Id). Something between mixes answers up, or gives its own ids; ' +
        'for the second, set verifyRequestId to false.',
      place,
    );
  }
}

/** What parts of the service say is an answer of readiness, whether it is ready or not. */
function isRefusal(row: OperationRow, status: number, type: string): boolean {
  if (status === 503 && row === operations['system.ready'] && type === 'application/json') return false;
  return status < 200 || status >= 300;
}

function refusal(
  { status, header }: WireAnswer,
  type: string,
  raw: Uint8Array,
  { requestId, token }: Attempt,
): StatheraError {
  const init = {
    status,
    requestId: printable(header('x-request-id') ?? requestId).slice(0, 64),
    retryAfterSeconds: parseRetryAfter(header('retry-after'), Date.now()),
  };
  const problem = type === 'application/problem+json' ? parseJson(raw) : undefined;
  return problemError(problem, token, init) ?? invalid(`status ${status} and no problem document`, init);
}

function decode(
  { answer: shape }: OperationRow,
  status: number,
  type: string,
  raw: Uint8Array,
  { operationId, input, requestId, token }: Attempt,
  { base64 }: AttemptSettings,
): unknown {
  const place = { status, requestId };
  try {
    if (shape === 'text') return decodeText(raw) ?? mismatch('');
    if (shape === 'lines') return decodeLines(linesOf(input), textOfLines(type, raw, place), base64);
    if (shape === undefined || type !== 'application/json') throw invalid('not of its content type', place);
    const value = parseJson(raw);
    const decoded =
      shape === 'batch' ? decodeBatch(itemsOf(input), value, base64) : decodeAnswer(shape, value, base64);
    const wrong = contradiction(operationId, input, decoded);
    return wrong === undefined ? decoded : mismatch(wrong);
  } catch (error) {
    if (error instanceof LinesEnded) {
      throw problemError(error.problem, token, place) ?? invalid('cut off without a problem document', place);
    }
    if (!(error instanceof Mismatch)) throw error;
    throw invalid(`not what ${operationId} gives to this request, at "${error.pointer}"`, place);
  }
}

function itemsOf(input: Members): readonly unknown[] {
  const items = input['operations'];
  return Array.isArray(items) ? items : [];
}

function linesOf(input: Members): readonly Members[] {
  return input['lines'] as readonly Members[];
}

function textOfLines(type: string, raw: Uint8Array, place: { status: number; requestId: string }): string {
  if (type !== 'application/x-ndjson') throw invalid('not of its content type', place);
  return decodeText(raw) ?? mismatch('');
}

function mismatch(pointer: string): never {
  throw new Mismatch(pointer);
}

function invalid(what: string, place: { status: number; requestId: string }): StatheraError {
  return new StatheraError(
    'client/answer-invalid',
    `The answer is ${what}: a newer or broken service, or something in front of it that changes answers.`,
    place,
  );
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function decodeText(raw: Uint8Array): string | undefined {
  try {
    return utf8.decode(raw);
  } catch {
    return undefined;
  }
}

/** Undefined for what is no JSON. Numbers that a double would change are as they were written. The bytes are wiped: they may hold plaintext; the strings cannot be. */
function parseJson(raw: Uint8Array): unknown {
  const text = decodeText(raw);
  raw.fill(0);
  try {
    return text === undefined ? undefined : parseExact(text);
  } catch {
    return undefined;
  }
}
