// A bare node:http server: reads each request to its end and answers as many bytes as the service would.
// Argument: bytes of the answer's body. Sends its port to the process that forked it.
import { createServer } from 'node:http';

const body = Buffer.alloc(Number(process.argv[2]), 'a');
const headers = { 'Content-Type': 'application/json', 'Content-Length': body.length };
const server = createServer((request, response) => {
  request.resume();
  request.once('end', () => response.writeHead(200, headers).end(body));
});

server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (typeof address === 'object') process.send?.(address?.port);
});
