import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

/** A port that is free now. Processes that each asked for any would not agree on one after all of them ended once. */
export async function freePort(host: string): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
