import type { IncomingMessage } from 'node:http';
import { StatheraError } from '../errors.ts';
import { createReceived, type Transport, unreachable, type WireAnswer } from '../transport.ts';

// Not by `import`, which reads all that a module has: to read the WebSocket of node:http is to load Node's fetch, and
// that is longer than the rest of a short program's start. TLS is loaded where it is spoken, for the same reason.
const { Agent, request: requestHttp } = process.getBuiltinModule('node:http');
const https = () => process.getBuiltinModule('node:https');

export interface HttpTransportOptions {
  /** Connections open at once, at most; requests beyond wait. Default 128. */
  readonly connections?: number | undefined;
  /** PEM: the authorities that vouch for the service, in place of the system's; a certificate for this client. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string } | undefined;
}

/**
 * Requests by node:http, which costs less than half of Node's fetch for a request. Connections are kept and reused,
 * the one used last first: the others get old and go.
 */
export function createHttpTransport({ connections = 128, tls = {} }: HttpTransportOptions = {}): Transport {
  const settings = { keepAlive: true, maxSockets: connections, scheduling: 'lifo' } as const;
  const plain = new Agent(settings);
  let secure: InstanceType<ReturnType<typeof https>['Agent']> | undefined;
  return ({ method, origin, target, headers, body, signal }) =>
    new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const length = { 'content-length': body === undefined ? 0 : Buffer.byteLength(body) };
      const options = {
        // Without brackets around an IPv6 address, as sockets take it.
        ...{ host: origin.hostname.replace(/^\[(.*)\]$/, '$1'), port: origin.port, method, path: target },
        headers: method === 'GET' ? headers : { ...headers, ...length },
      };
      const request =
        origin.protocol === 'https:'
          ? https().request({ ...options, agent: (secure ??= new (https().Agent)({ ...settings, ...tls })) })
          : requestHttp({ ...options, agent: plain });
      const abort = () => request.destroy();
      signal.addEventListener('abort', abort, { once: true });
      request.once('close', () => signal.removeEventListener('abort', abort));
      request.once('response', (incoming) => resolve(answerOf(incoming, signal)));
      // Not once: a socket may fail again after the request has, and an error without a listener ends the process.
      request.on('error', (error) => reject(signal.aborted ? (signal.reason as Error) : unreachable(error)));
      request.end(body);
    });
}

function answerOf(incoming: IncomingMessage, signal: AbortSignal): WireAnswer {
  // Also for an answer that fails while no one reads it.
  incoming.on('error', () => undefined);
  return {
    status: incoming.statusCode ?? 0,
    header(name) {
      const value = incoming.headers[name];
      return typeof value === 'string' ? value : undefined;
    },
    cancel: () => void incoming.destroy(),
    async read(limitBytes) {
      const received = createReceived(limitBytes);
      try {
        for await (const chunk of incoming) received.add(chunk as Buffer);
        return received.whole();
      } catch (error) {
        received.wipe();
        signal.throwIfAborted();
        throw error instanceof StatheraError ? error : unreachable(error);
      }
    },
  };
}
