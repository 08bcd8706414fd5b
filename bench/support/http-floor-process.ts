// A bare node:http server: reads each request to its end and sends the same answer, as many bytes as the
// service's. Takes the answer from the process that forked it and sends back its port.
import { createServer } from 'node:http';

export interface FloorAnswer {
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly bodyBytes: number;
}

process.once('message', ({ headers, bodyBytes }: FloorAnswer) => {
  const body = Buffer.alloc(bodyBytes, 'a');
  const server = createServer((request, response) => {
    request.resume();
    request.once('end', () => response.writeHead(200, [...headers]).end(body));
  });
  server.listen(0, '127.0.0.1', () => {
    const address = server.address();
    if (typeof address === 'object') process.send?.(address?.port);
  });
});
