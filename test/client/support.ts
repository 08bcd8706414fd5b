import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { createClient as createPortable } from '../../src/client/index.ts';
import {
  createClient as createForNode,
  type NodeClientOptions,
  StatheraError,
} from '../../src/client/node/index.ts';

/** Both ways to carry requests; whatever goes wrong must look the same through each. */
export const transports = [
  ['node:http', createForNode],
  ['fetch', ({ connections: _, tls: __, ...options }: NodeClientOptions) => createPortable(options)],
] as const;

export const token = `stk_${'Ab1_'.repeat(16)}`;

export interface Received {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  /** When its head arrived, of a clock that does not go back. */
  readonly at: number;
}

export interface FakeServer {
  readonly url: string;
  readonly port: number;
  readonly received: readonly Received[];
  /** Connections that were made. */
  connections(): number;
  close(): Promise<void>;
}

export type Respond = (response: ServerResponse, request: Received, attempt: number) => void;

/** A server that answers whatever a test says; `attempt` is 1 for the first request. */
export async function startFakeServer(respond: Respond): Promise<FakeServer> {
  const received: Received[] = [];
  let connections = 0;
  const server = createServer((incoming, response) => {
    const at = performance.now();
    void buffer(incoming).then(
      (body) => {
        const { method = '', url = '', headers } = incoming;
        received.push({ method, url, headers, body: body.toString(), at });
        respond(response, received.at(-1)!, received.length);
      },
      () => undefined,
    );
  });
  server.on('connection', () => connections++);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    ...{ url: `http://127.0.0.1:${port}`, port, received },
    connections: () => connections,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** An answer as the service heads it. */
export function answer(
  response: ServerResponse,
  request: Received,
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string | undefined>> = {},
): void {
  const all: Record<string, string | undefined> = {
    'content-type': status >= 400 ? 'application/problem+json' : 'application/json',
    'stathera-version': '2026-11-24',
    'x-request-id': String(request.headers['x-request-id']),
    ...headers,
  };
  for (const [name, value] of Object.entries(all)) if (value !== undefined) response.setHeader(name, value);
  response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body));
}

export function problem(code: string, detail = 'It did not work.'): object {
  return { type: `/docs/problems#${code}`, title: 'x', status: 0, detail, code, requestId: 'x' };
}

/** What a call rejects with. @throws when it succeeds, or rejects with something else */
export async function failure(call: Promise<unknown>): Promise<StatheraError> {
  const error = await reason(call);
  if (error instanceof StatheraError) return error;
  throw error;
}

export async function reason(call: Promise<unknown>): Promise<unknown> {
  let value: unknown;
  try {
    value = await call;
  } catch (error) {
    return error;
  }
  throw new Error(`it succeeded: ${JSON.stringify(value)}`);
}
