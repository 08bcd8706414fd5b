import type { Client } from '../client/client.ts';
import { createClient, type NodeClientOptions } from '../client/node/client.ts';
import { tokenFromFile } from '../client/node/token-file.ts';
import type { Environment } from '../config.ts';
import { tokenFileOf, urlOf } from './explain.ts';

/** A client of the service a user's environment points at. @throws StatheraError */
export function connect(environment: Environment, options: Partial<NodeClientOptions> = {}): Client {
  return createClient({
    url: urlOf(environment),
    credentials: tokenFromFile(tokenFileOf(environment)),
    allowCleartext: environment['STATHERA_ALLOW_CLEARTEXT'] === '1',
    retries: 2,
    ...options,
  });
}
