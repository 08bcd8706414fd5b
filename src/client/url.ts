import { StatheraError } from './errors.ts';

export interface ServiceUrl {
  readonly origin: URL;
  /** What every path begins with: nothing, or a path without a slash at its end. */
  readonly prefix: string;
}

/**
 * @throws client/url-invalid; client/cleartext-refused for `http:` to another machine, unless allowed
 */
export function serviceUrl(text: string, allowCleartext: boolean): ServiceUrl {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !['http:', 'https:'].includes(url.protocol)) {
    throw invalid('The URL of the service must be one that begins with https:// or http://.');
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw invalid('The URL of the service must have no user, password, query or fragment: they end in logs.');
  }
  if (url.protocol === 'http:' && !allowCleartext && !isLoopback(url.hostname)) {
    throw new StatheraError(
      'client/cleartext-refused',
      'Over http: everyone between would see the token and the plaintext: use https:, or set allowCleartext.',
    );
  }
  return { origin: new URL(url.origin), prefix: url.pathname.replace(/\/+$/, '') };
}

/** The URL parser has brought addresses into their one form. */
function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

function invalid(detail: string): StatheraError {
  return new StatheraError('client/url-invalid', detail);
}
