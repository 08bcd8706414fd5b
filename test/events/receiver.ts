import { createHmac } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What came, as it came. */
export interface Received {
  readonly id: string;
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
  readonly text: string;
  readonly headers: IncomingMessage['headers'];
}

export type Behaviour = (request: Received, answer: ServerResponse) => void;

export const takes: Behaviour = (_, answer) => void answer.writeHead(204).end();

/** A real listener that webhooks are sent to, and that does as it is told. */
export async function startReceiver() {
  const received: Received[] = [];
  let behave: Behaviour = takes;
  const server = createServer((incoming, answer) => {
    const parts: Buffer[] = [];
    incoming.on('data', (part: Buffer) => parts.push(part));
    incoming.on('end', () => {
      const text = Buffer.concat(parts).toString();
      const request = {
        path: incoming.url ?? '',
        ...{ text, headers: incoming.headers, id: String(incoming.headers['webhook-id']) },
        body: JSON.parse(text) as Received['body'],
      };
      received.push(request);
      behave(request, answer);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/hook`,
    received,
    behave(next: Behaviour) {
      behave = next;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export type Receiver = Awaited<ReturnType<typeof startReceiver>>;

/** Verifies as Standard Webhooks 1.0 says, by what the receiver was given. */
export function isSigned({ id, text, headers }: Received, secret: string): boolean {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  const tag = createHmac('sha256', key).update(`${id}.${String(headers['webhook-timestamp'])}.${text}`);
  return headers['webhook-signature'] === `v1,${tag.digest('base64')}`;
}
