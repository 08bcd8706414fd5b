// The PKCS#11 module alone, called synchronously by one thread of a process of its own, and node:crypto beside it.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Bench } from './bench.ts';
import type { FloorJob, FloorRates } from './hsm-floor-process.ts';

export interface HsmFloor {
  /** AES-256-GCM encryptions a second of messages of this size, without pause. */
  measure(job: FloorJob): Promise<FloorRates>;
}

/** Starts a process with a SoftHSM token of its own. */
export async function startHsmFloor(bench: Bench): Promise<HsmFloor> {
  const child = fork(fileURLToPath(new URL('hsm-floor-process.ts', import.meta.url)));
  // It is asked to end, so that it removes its token.
  bench.atEnd(() => child.disconnect());
  await once(child, 'message');
  return {
    async measure(job) {
      child.send(job);
      const [rates] = (await once(child, 'message')) as [FloorRates];
      return rates;
    },
  };
}
