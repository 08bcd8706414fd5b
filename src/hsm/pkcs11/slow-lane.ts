import { Worker } from 'node:worker_threads';
import { siblingModule } from '../../core/sibling-module.ts';
import type { HsmLog } from './settings.ts';
import type { SlowAnswer, SlowCall, SlowMessage, SlowRequest, SlowSettings } from './slow-protocol.ts';

export interface SlowLane {
  /** Answered in order. @throws what `failAll` was given, or that the lane ended */
  call(request: SlowRequest): Promise<SlowAnswer>;
  /** Rejects every call not yet answered; late answers are dropped. */
  failAll(error: Error): void;
  /** Lets the process end although the thread is stuck in a call. */
  abandon(): void;
  /** Milliseconds the worker has been with the call it is at, 0 for none. */
  oldestMs(): number;
}

/** A call at the worker. Once failed, nobody waits any more, but the worker still has it. */
interface Waiting {
  readonly since: number;
  resolve(answer: SlowAnswer): void;
  reject(error: Error): void;
}

/** Starts the slow lane's thread. @param onExit called when it ends, asked to or not */
export function startSlowLane(
  settings: SlowSettings,
  log: HsmLog,
  onExit: (asked: boolean) => void,
): SlowLane {
  const worker = new Worker(siblingModule(import.meta.url, 'slow-worker'), {
    workerData: settings,
    execArgv: [],
  });
  const waiting = new Map<number, Waiting>();
  let unsent: SlowCall[] = [];
  let lastId = 0;
  let lastAnswerAt = 0;
  let finishing = false;
  let ended = false;

  worker.on('message', (message: SlowMessage) => {
    if (message.type === 'event') {
      log(message.level, message.event, message.fields);
      return;
    }
    lastAnswerAt = performance.now();
    for (const { id, answer } of message.answers) {
      const call = waiting.get(id);
      waiting.delete(id);
      call?.resolve(answer);
    }
  });
  worker.on('error', () => undefined);
  worker.on('exit', () => {
    ended = true;
    failAll(new Error('the slow lane ended'));
    waiting.clear();
    onExit(finishing);
  });

  function send(): void {
    const calls = unsent;
    unsent = [];
    if (!ended) worker.postMessage(calls, []);
  }

  function failAll(error: Error): void {
    for (const call of waiting.values()) call.reject(error);
  }

  return {
    call(request) {
      finishing ||= request.type === 'finish';
      if (ended) return Promise.reject(new Error('the slow lane ended'));
      lastId += 1;
      const id = lastId;
      return new Promise((resolve, reject) => {
        waiting.set(id, { since: performance.now(), resolve, reject });
        // The calls of one turn go together.
        if (unsent.push({ id, request }) === 1) setImmediate(send);
      });
    },
    failAll,
    abandon: () => worker.unref(),
    oldestMs() {
      const [oldest] = waiting.values();
      // A long queue that moves is not a hung device.
      return oldest === undefined ? 0 : performance.now() - Math.max(oldest.since, lastAnswerAt);
    },
  };
}
