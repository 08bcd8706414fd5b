import { StatheraError } from '../client/errors.ts';
import type { Environment } from '../config.ts';
import { ServiceError } from '../core/errors.ts';

/** The service that a user's environment points at, and the file with the token for it. */
export function urlOf(environment: Environment): string {
  return environment['STATHERA_URL'] || 'http://127.0.0.1:8300';
}

export function tokenFileOf(environment: Environment): string {
  return (
    environment['STATHERA_TOKEN_FILE'] || `${environment['STATHERA_DATA_DIR'] || './data'}/bootstrap-token`
  );
}

/** What went wrong and what to do next, for someone who set the variables of this environment. */
export function explain(error: unknown, environment: Environment): string {
  if (error instanceof StatheraError) return ofClient(error, environment);
  if (error instanceof ServiceError) return error.detail;
  if (!(error instanceof Error)) return 'failed';
  if (error.name === 'FileExists')
    return `${error.message}: write over it with --force, or elsewhere with -o`;
  // These say themselves what to do.
  if (['ConfigError', 'Failed', 'RowRefused', 'SpoolFull'].includes(error.name)) return error.message;
  return isOfSystem(error) ? ofSystem(error) : `${error.name}: ${error.message}`;
}

const systemTexts: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or directory',
  EACCES: 'this user may not: look at its rights and at those of the directories above it',
  EPERM: 'this user may not',
  EISDIR: 'it is a directory: name a file in it',
  ENOTDIR: 'a part of its path is no directory',
  EROFS: 'its file system is read-only: write elsewhere with -o',
};

function isOfSystem(error: Error): error is NodeJS.ErrnoException {
  return 'syscall' in error;
}

function ofSystem(error: NodeJS.ErrnoException): string {
  const { code = '', path, message } = error;
  // What is being written has no name yet.
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return `the disk is full (${code}): free some of it, or write elsewhere with -o`;
  const text = systemTexts[code];
  const where = path?.replace(/\/?\.stathera-[0-9a-f-]{36}\.partial$/, '');
  return text === undefined || where === undefined ? message : `${where || '.'}: ${text} (${code})`;
}

function ofClient(error: StatheraError, environment: Environment): string {
  const { code, detail, errors = [], requestId } = error;
  switch (code) {
    case 'client/url-invalid':
      return `STATHERA_URL is no URL to use: ${detail}`;
    case 'client/cleartext-refused':
      return 'STATHERA_URL would carry token and data in clear: use https:, or set STATHERA_ALLOW_CLEARTEXT=1';
    case 'client/unreachable':
      return `no service answers at ${urlOf(environment)}: is it running (npm start), is STATHERA_URL right? ${detail}`;
    case 'client/untrusted':
      return `${detail} NODE_EXTRA_CA_CERTS names a file with more authorities; STATHERA_URL must have the name in the certificate.`;
    case 'client/not-stathera':
      return `${detail} STATHERA_URL is ${urlOf(environment)}.`;
    case 'client/token-invalid':
      return `${tokenFileOf(environment)}: ${detail} Set STATHERA_TOKEN_FILE to a file that holds your token alone.`;
    case 'access/unauthenticated':
      return `${code}: ${detail} The token in ${tokenFileOf(environment)} is unknown, expired or revoked: STATHERA_TOKEN_FILE names another.`;
    case 'access/denied':
      return `${code}: ${detail} \`stathera tokens create --scope …\` makes a token that may, with one that has access:admin.`;
    case 'key/not-found':
      return `${code}: ${detail} \`stathera keys list\` shows those that this token may see.`;
    case 'envelope/decryption-failed':
      return `${code}: ${detail} Is it whole, and are --context and --associated-data those it was encrypted with?`;
    case 'internal':
      return `${code}: ${detail} The service's log has it under the request id ${requestId}.`;
    default:
      return `${code}: ${detail}${errors.map((each) => `\n  ${each.pointer || '/'} ${each.detail}`).join('')}`;
  }
}
