import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

export interface Origin {
  readonly url: string;
  /** What `/program.js` is. */
  program: string;
  close(): void;
}

/** One origin of a page, the installed package's files and a service: what a proxy in front of both makes of them. */
export async function serveSameOrigin(installed: string, service: string): Promise<Origin> {
  const origin: { url: string; program: string; close(): void } = {
    url: '',
    program: '',
    close: () => server.close(),
  };
  const server = createServer((asked, answer) => {
    const path = new URL(asked.url ?? '/', 'http://here').pathname;
    const script = { 'content-type': 'text/javascript' };
    if (path === '/page') answer.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>');
    else if (path === '/program.js') answer.writeHead(200, script).end(origin.program);
    else if (path.startsWith('/package/')) {
      answer.writeHead(200, script).end(readFileSync(join(installed, path.slice('/package/'.length))));
    } else pass(asked, answer, new URL(asked.url ?? '/', service));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  origin.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return origin;
}

function pass(asked: IncomingMessage, answer: ServerResponse, to: URL): void {
  const passed = request(
    to,
    { method: asked.method, headers: { ...asked.headers, host: to.host } },
    (came) => {
      answer.writeHead(came.statusCode ?? 502, came.headers);
      came.pipe(answer);
    },
  );
  passed.on('error', () => answer.destroy());
  asked.pipe(passed);
}
