// A load generator in a process of its own, which can be pinned to a core. Takes loads from the process that forked it
// and sends back what came of each.
import { generateCleanly, targetOf } from '../support/over-http.ts';

export interface ClientLoad {
  readonly port: number;
  readonly connections: number;
  readonly milliseconds: number;
  /** The bytes to send, in base64. */
  readonly request: string;
}

process.on('message', ({ port, connections, milliseconds, request }: ClientLoad) => {
  const bytes = Buffer.from(request, 'base64');
  const load = { target: targetOf({ port }), connections, milliseconds, next: () => bytes };
  void generateCleanly(load).then((result) => process.send?.(result));
});
