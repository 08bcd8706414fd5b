import { ServiceError } from '../../core/errors.ts';
import type { FastReply } from './fast-worker.ts';
import type { SlowAnswer } from './slow-protocol.ts';

/** Pairs take long, so few wait for one. */
const maxPairs = 64;

/** Who waits for a pair: few at a time, and nobody any more once the device is lost, though its call goes on. */
export interface PairQueue {
  /** @throws service/overloaded, or what `failAll` is given */
  wait(ask: () => Promise<FastReply>): Promise<SlowAnswer>;
  failAll(error: Error): void;
}

export function createPairQueue(): PairQueue {
  const waiting = new Set<(error: Error) => void>();
  return {
    async wait(ask) {
      if (waiting.size >= maxPairs) {
        throw new ServiceError('service/overloaded', 'Too many key pairs are being made.', {
          retryAfterSeconds: 5,
        });
      }
      const failed = Promise.withResolvers<never>();
      waiting.add(failed.reject);
      try {
        const reply = await Promise.race([ask(), failed.promise]);
        return reply.type === 'pair' ? reply.answer : { outcome: 'device', returnValue: 0 };
      } finally {
        waiting.delete(failed.reject);
      }
    },
    failAll(error) {
      for (const fail of waiting) fail(error);
    },
  };
}
