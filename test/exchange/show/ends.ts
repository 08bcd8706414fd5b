import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { ClientRequest } from 'node:http';
import { request as requestSecure } from 'node:https';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { TLSSocket } from 'node:tls';

/** What this process's own TLS says of the connection of a request. */
export interface ClientEnd {
  readonly protocol: string | null;
  readonly group: string | undefined;
}

/** What the service's log says of a request. */
export interface ServerEnd {
  readonly group: string | undefined;
  readonly operation: string;
}

/** Notes the client's end of every request that this process makes over TLS, by its request id. */
export function watchClientEnds(): { readonly seen: ReadonlyMap<string, ClientEnd>; stop(): void } {
  const seen = new Map<string, ClientEnd>();
  const note = (message: unknown) => {
    const { request } = message as { request: ClientRequest };
    const { socket } = request;
    if (!(socket instanceof TLSSocket)) return;
    const key = socket.getEphemeralKeyInfo();
    const group = key !== null && 'name' in key ? key.name : undefined;
    seen.set(String(request.getHeader('x-request-id')), { protocol: socket.getProtocol(), group });
  };
  subscribe('http.client.response.finish', note);
  return { seen, stop: () => void unsubscribe('http.client.response.finish', note) };
}

/** The service's end of the requests in its log, by their ids. */
export function serverEnds(log: string): Map<string, ServerEnd> {
  const lines = log.split('\n').filter((line) => line.includes('"msg":"request"'));
  return new Map(
    lines.map((line) => {
      const { requestId, tlsGroup, operationId } = JSON.parse(line) as Record<string, string | undefined>;
      return [requestId ?? '', { group: tlsGroup, operation: operationId ?? '' }];
    }),
  );
}

/** Waits for a line of the log: it is written beside the answer. @throws after 20 s */
export async function serverEnd(log: () => string, requestId: string): Promise<ServerEnd> {
  const deadline = Date.now() + 20_000;
  while (Date.now() < deadline) {
    const end = serverEnds(log().slice(0, log().lastIndexOf('\n') + 1)).get(requestId);
    if (end !== undefined) return end;
    await delay(20);
  }
  throw new Error(`the service's log has no request ${requestId}`);
}

/** A sample of the metrics; 0 for a series that is not there. */
export function sample(metrics: string, series: string): number {
  const line = metrics.split('\n').find((each) => each.startsWith(`${series} `));
  return line === undefined ? 0 : Number(line.slice(series.length + 1));
}

/** A request of a client that has X25519 alone, on a connection of its own. @returns the answer's status */
export function askClassically(
  url: string,
  { ca, token, requestId }: { ca: string; token: string; requestId: string },
): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, 'x-request-id': requestId };
    requestSecure(url, { ca, headers, agent: false, ecdhCurve: 'X25519' })
      .once('response', (answer) => {
        text(answer).then(() => resolve(answer.statusCode ?? 0), reject);
      })
      .once('error', reject)
      .end();
  });
}
