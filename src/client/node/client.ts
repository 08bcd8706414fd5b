import { type Client, type ClientOptions, createClient as createPortableClient } from '../client.ts';
import { createHttpTransport, type HttpTransportOptions } from './http-transport.ts';

export type NodeClientOptions = ClientOptions & HttpTransportOptions;

/**
 * A client of one service by node:http, unless another `fetch` or `transport` is given. Its connections do not keep
 * the process alive, and need not be closed.
 * @throws client/url-invalid, client/cleartext-refused
 */
export function createClient({ connections, tls, ...options }: NodeClientOptions): Client {
  if (options.fetch !== undefined || options.transport !== undefined) return createPortableClient(options);
  return createPortableClient({ ...options, transport: createHttpTransport({ connections, tls }) });
}
