import { type Client, type ClientOptions, createClientOn } from '../client.ts';
import { createFetchTransport } from '../transport.ts';
import { fromBase64, toBase64 } from './bytes.ts';
import { createHttpTransport, type HttpTransportOptions } from './http-transport.ts';

export type NodeClientOptions = ClientOptions & HttpTransportOptions;

/**
 * A client of one service by node:http, unless a `fetch` is given. Its connections do not keep the process alive, and
 * need not be closed.
 * @throws client/url-invalid, client/cleartext-refused
 */
export function createClient(options: NodeClientOptions): Client {
  const transport = options.fetch ? createFetchTransport(options.fetch) : createHttpTransport(options);
  return createClientOn({ transport, base64: { fromBase64, toBase64 } }, options);
}
