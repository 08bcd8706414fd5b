import { type ErrorCode, isServiceError, ServiceError, type Violation } from '../core/errors.ts';
import { datasetProblems } from './problem-datasets.ts';

/** What an error code means over HTTP. This file alone knows statuses. */
export interface ProblemKind {
  readonly status: number;
  readonly title: string;
  /** What the reader of `/docs/problems` is told. */
  readonly meaning: string;
}

const unavailable = 'Nothing was done, or nothing that was done is lost; the service recovers by itself.';

/** A new code does not compile without its row. */
export const problemKinds: Readonly<Record<ErrorCode, ProblemKind>> = {
  'request/invalid': kind(
    400,
    'The request is not valid',
    'A rule was broken; `errors` says where and which.',
  ),
  'request/not-found': kind(404, 'No such resource', 'The path names nothing in this interface.'),
  'request/method-not-allowed': kind(405, 'Method not allowed', '`Allow` lists the methods of this path.'),
  'request/too-large': kind(413, 'The request is too large', 'The body exceeds the limit of the operation.'),
  'request/unsupported-media-type': kind(
    415,
    'Unsupported media type',
    'Bodies are `application/json` in UTF-8, or where the operation says so `application/octet-stream`, without a content coding.',
  ),
  'request/digest-mismatch': kind(
    400,
    'The body does not match its digest',
    'The `Content-Digest` (RFC 9530) is malformed, names neither sha-256 nor sha-512, or is another body’s.',
  ),
  'request/timeout': kind(
    408,
    'The request took too long',
    'It did not arrive or was not finished in time. In the second case it may have taken effect: read before trying again, or send an `Idempotency-Key`.',
  ),
  'request/idempotency-conflict': kind(
    422,
    'The idempotency key belongs to another request',
    'The same `Idempotency-Key` was sent with another method, path or body.',
  ),
  'request/already-completed': kind(
    409,
    'The request was completed before',
    'An earlier request with this `Idempotency-Key` took effect; its answer held a secret and is not kept.',
  ),
  'access/unauthenticated': kind(
    401,
    'No valid credential',
    'Send `Authorization: Bearer …` with a valid token.',
  ),
  'access/denied': kind(403, 'Not permitted', 'The caller’s scopes do not include the action.'),
  'access/namespace-not-found': kind(
    404,
    'No such namespace',
    'It does not exist or is not the caller’s to see.',
  ),
  'access/namespace-exists': kind(409, 'The namespace exists', 'Another namespace has the name.'),
  'access/token-not-found': kind(404, 'No such token', 'It does not exist or is not the caller’s to see.'),
  'key/not-found': kind(
    404,
    'No such key',
    'It does not exist or the caller may not see it: the answer is the same.',
  ),
  'key/exists': kind(409, 'The key exists', 'Another key of the namespace has the name.'),
  'key/disabled': kind(409, 'The key is disabled', 'Enable it to use it.'),
  'key/version-disabled': kind(
    409,
    'The key version is disabled',
    'The version that is needed may not be used.',
  ),
  'key/usage-exhausted': kind(
    409,
    'The key version is used up',
    'Its number of encryptions is spent (SP 800-38D §8.3): rotate the key.',
  ),
  'key/wrong-purpose': kind(
    409,
    'The key is not for this operation',
    'Its purpose or its algorithm does not have the operation; a key of another one does.',
  ),
  'key/version-expired': kind(
    409,
    'The key version is expired',
    'It was imported until a time that is over. Import the next one.',
  ),
  'key/external': kind(409, 'The key is made elsewhere', 'Its versions are imported: the HSM makes none.'),
  'key/nothing-imported': kind(
    409,
    'Nothing was imported yet',
    'The key was created for versions made elsewhere: import the first one.',
  ),
  'key/version-state': kind(
    409,
    'The state of the key version does not allow it',
    'The detail says what to do first; nothing brings back a version that is destroyed.',
  ),
  'key/version-in-use': kind(
    409,
    'The key version may still be needed',
    'What depends on it is not known, or not moved away: rewrap it, or force it with a reason.',
  ),
  'key/conflict': kind(409, 'The key was changed meanwhile', 'Read it and decide again.'),
  'envelope/decryption-failed': kind(
    400,
    'Decryption failed',
    'Tampered, truncated, foreign or of another context: the service does not tell which.',
  ),
  'coverage/too-many': kind(
    409,
    'Too many places',
    'Ciphertexts of the key were looked for in 1,000 places: report one of them, or name places by what they have in common.',
  ),
  'exchange/refused': kind(
    400,
    'The exchange is refused',
    'The ciphertext, what was sealed, the other side’s public key or the confirmation is not one for this key: changed, of another length, no valid or a weak point, or of another secret. The service does not tell which.',
  ),
  'fields/schema-not-found': kind(404, 'No such schema', 'It, or this version of it, does not exist.'),
  'fields/schema-exists': kind(409, 'The schema exists', 'Another schema of the namespace has the name.'),
  'fields/schema-invalid': kind(
    422,
    'The schema cannot be used',
    'A path, a name, an alphabet or an index does not fit; `errors` says where and why.',
  ),
  'fields/conflict': kind(409, 'The schema was changed meanwhile', 'Read it and decide again.'),
  'fields/value-refused': kind(
    422,
    'The document is refused',
    'A value is not one for the treatment of its field; `errors` names the field and the rule.',
  ),
  'fields/decryption-failed': kind(
    400,
    'The document does not open',
    'A value is tampered, truncated, of another place, record, schema or key, or of a version that may not be used: the service does not tell which.',
  ),
  'lease/lost': kind(
    409,
    'The work is no longer this process’s',
    'Another process took it over, or it was cancelled; nothing of this attempt took effect.',
  ),
  'mac/invalid': kind(
    400,
    'The MAC is not valid',
    'It is not the message’s under this version of the key, or of another length than was asked for.',
  ),
  'signature/invalid': kind(
    400,
    'The signature is not valid',
    'It is not the message’s under this version of the key, or not encoded as it must be.',
  ),
  'import/not-found': kind(
    404,
    'No such import',
    'Its parameters were never given for this key, or are used, replaced by newer ones or expired: ask for new ones.',
  ),
  'import/refused': kind(
    400,
    'The import is refused',
    'The wrapped key does not open with these parameters. The service does not tell why.',
  ),
  ...datasetProblems,
  'webhook/not-found': kind(404, 'No such webhook', 'It does not exist or is not the caller’s to see.'),
  'webhook/address-refused': kind(
    400,
    'The address of the webhook is refused',
    'It must be https, without user or password, and lead to a public address or one that the service is set to allow.',
  ),
  'webhook/too-many': kind(429, 'Too many webhooks', 'The namespace has 20: remove one.'),
  'job/not-found': kind(404, 'No such job', 'It does not exist or is not the caller’s to see.'),
  'job/finished': kind(409, 'The job is finished', 'It is done or has failed: there is nothing to cancel.'),
  'job/too-many': kind(
    429,
    'Too many jobs',
    'The namespace has 1,000 jobs that wait or run: try again when some are finished.',
  ),
  'audit/unavailable': kind(503, 'The audit log cannot be written', unavailable),
  'hsm/unavailable': kind(503, 'The HSM does not answer', unavailable),
  'store/unavailable': kind(503, 'The database does not answer', unavailable),
  'service/overloaded': kind(
    503,
    'Too many requests at once',
    'Nothing was done; try again after `Retry-After`.',
  ),
  'service/rate-limited': kind(
    429,
    'Too many requests of one caller',
    'Nothing was done; `RateLimit` says what is left, try again after `Retry-After`.',
  ),
  'service/shutting-down': kind(
    503,
    'The service is shutting down',
    'Another node or the restarted one will answer. A request in progress may have taken effect.',
  ),
  internal: kind(
    500,
    'Internal error',
    'Something unforeseen; operators find it in the log by the request id.',
  ),
};

function kind(status: number, title: string, meaning: string): ProblemKind {
  return { status, title, meaning };
}

/** An RFC 9457 problem document. */
export interface ProblemBody {
  /** `/docs/problems#area/what`: a relative reference to the page that explains it. */
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly requestId: string;
  readonly errors?: readonly Violation[];
}

export interface Problem {
  readonly body: ProblemBody;
  /** Header fields the status calls for. */
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * The problem document of an error. One that is no ServiceError loses its text.
 * Members of a batch's answer use `body` alone.
 */
export function problemOf(error: unknown, requestId: string): Problem {
  const known = isServiceError(error) ? error : unforeseen;
  const { status, title } = problemKinds[known.code];
  const body: ProblemBody = {
    type: `/docs/problems#${known.code}`,
    title,
    status,
    detail: known.code === 'internal' ? unforeseen.detail : known.detail,
    code: known.code,
    requestId,
    ...(known.errors !== undefined && { errors: known.errors }),
  };
  return { body, headers: problemHeaders(status, known) };
}

const unforeseen = new ServiceError('internal', 'The request failed.');
const none: Readonly<Record<string, string>> = {};
const challenge: Readonly<Record<string, string>> = { 'WWW-Authenticate': 'Bearer' };

function problemHeaders(status: number, error: ServiceError): Readonly<Record<string, string>> {
  if (status === 401) return challenge; // RFC 9110 §15.5.2
  if (status === 429 || status === 503) {
    return { 'Retry-After': String(Math.max(1, Math.ceil(error.retryAfterSeconds ?? 1))) };
  }
  return none;
}

/** What the log may say of an error: classes, codes and frames, never messages (they may quote secrets). */
export interface ErrorTrace {
  readonly class: string;
  readonly code?: string;
  readonly frames: readonly string[];
  readonly cause?: ErrorTrace;
}

const frame = /^\s+at (?:[\w.<>[\]# ]{1,120} \()?(?:file:\/\/|node:|\/)[^\s()]{1,300}:\d+:\d+\)?$/;

/** Describes an error for the log without its message; follows `cause` at most three times. */
export function traceOf(error: unknown, depth = 3): ErrorTrace {
  if (!(error instanceof Error)) return { class: typeof error, frames: [] };
  const code = (error as { code?: unknown }).code;
  const name = error.constructor.name;
  return {
    class: /^\w{1,60}$/.test(name) ? name : 'Error',
    ...(typeof code === 'string' && /^[\w/-]{1,60}$/.test(code) && { code }),
    frames: framesOf(error),
    ...(error.cause !== undefined && depth > 0 && { cause: traceOf(error.cause, depth - 1) }),
  };
}

/** A message may span lines and look like frames, so it is cut off as a whole first. */
function framesOf(error: Error): readonly string[] {
  const stack = typeof error.stack === 'string' ? error.stack : '';
  const message = String(error.message);
  const at = message === '' ? 0 : stack.indexOf(message);
  if (at < 0) return [];
  return stack
    .slice(at + message.length)
    .split('\n')
    .filter((line) => frame.test(line))
    .slice(0, 12)
    .map((line) => line.trim());
}
