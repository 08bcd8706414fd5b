import { StatheraError } from './errors.ts';

export interface CredentialsRequest {
  /** The token given before was refused: give a new one, not one from a cache. */
  readonly refresh: boolean;
  /** Aborted when the call that needs the token is over. */
  readonly signal: AbortSignal;
}

/** A token, or what gives one: asked for each request. */
export type Credentials = string | ((request: CredentialsRequest) => string | Promise<string>);

// What may stand in a header after `Bearer ` (RFC 6750 §2.1), and the service's tokens with it.
const tokenForm = /^[A-Za-z0-9._~+/=-]{1,4096}$/;

export function isToken(value: unknown): value is string {
  return typeof value === 'string' && tokenForm.test(value);
}

/**
 * The token for one request. What the function throws is the caller's own and passes through.
 * @throws client/token-invalid
 */
export async function tokenOf(credentials: Credentials, request: CredentialsRequest): Promise<string> {
  const token: unknown = typeof credentials === 'string' ? credentials : await credentials(request);
  if (isToken(token)) return token;
  throw new StatheraError(
    'client/token-invalid',
    'The credentials give no token: it must be one line of visible ASCII, as it was shown when it was made.',
  );
}
