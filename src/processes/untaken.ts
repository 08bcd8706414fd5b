import type { Worker } from 'node:cluster';
import { z } from 'zod';

/** What node:cluster says of a connection it hands over, and the process of one that it got (Node's own messages). */
const ofCluster = z.object({ cmd: z.literal('NODE_CLUSTER') });
const handedOver = ofCluster.extend({ act: z.literal('newconn'), seq: z.int() });
const taken = ofCluster.extend({ ack: z.int() });

/**
 * Watches the connections on their way to a process. One that ends at once leaves them untaken, and Node waits for its
 * word on them for ever, as their clients do.
 * @returns to be called once when the process has ended: gives them to the others
 */
export function watchUntaken({ process: child }: Worker): () => void {
  const untaken = new Set<number>();
  const send = child.send.bind(child) as (...all: unknown[]) => boolean;
  child.send = (...all: unknown[]) => {
    const { data: message } = handedOver.safeParse(all[0]);
    if (message) untaken.add(message.seq);
    return send(...all);
  };
  child.on('internalMessage', (sent: unknown) => {
    const { data: message } = taken.safeParse(sent);
    if (message) untaken.delete(message.ack);
  });
  return () => {
    // What a process says that is about to stop.
    for (const ack of untaken) child.emit('internalMessage', { cmd: 'NODE_CLUSTER', ack, accepted: false });
  };
}
