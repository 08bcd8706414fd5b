import type { Client } from '../client/client.ts';
import type { StatheraError } from '../client/errors.ts';
import { createClient } from '../client/node/client.ts';
import { tokenFromFile } from '../client/node/token-file.ts';
import type { Environment } from '../config.ts';

/** The service a user's environment points at. @throws StatheraError */
export function connect(environment: Environment): Client {
  return createClient({
    url: urlOf(environment),
    credentials: tokenFromFile(tokenFileOf(environment)),
    allowCleartext: environment['STATHERA_ALLOW_CLEARTEXT'] === '1',
    retries: 2,
  });
}

function urlOf(environment: Environment): string {
  return environment['STATHERA_URL'] ?? 'http://127.0.0.1:8300';
}

function tokenFileOf(environment: Environment): string {
  return (
    environment['STATHERA_TOKEN_FILE'] ?? `${environment['STATHERA_DATA_DIR'] ?? './data'}/bootstrap-token`
  );
}

/** What went wrong and what to do next, for someone who set the variables of this environment. */
export function explain(error: StatheraError, environment: Environment): string {
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
      return `${detail} Set STATHERA_TOKEN_FILE to a file that holds your token alone.`;
    case 'access/unauthenticated':
      return `${code}: ${detail} The token in ${tokenFileOf(environment)} is unknown, expired or revoked: STATHERA_TOKEN_FILE names another.`;
    case 'internal':
      return `${code}: ${detail} The service's log has it under the request id ${requestId}.`;
    default:
      return `${code}: ${detail}${errors.map(({ pointer, detail }) => `\n  ${pointer || '/'} ${detail}`).join('')}`;
  }
}
