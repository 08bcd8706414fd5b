import { Worker } from 'node:worker_threads';
import { siblingModule } from '../../core/sibling-module.ts';
import type { FastControl, FastReply, FastSettings } from './fast-worker.ts';
import {
  batchOverheadBytes,
  type ItemResult,
  maxBatchBytes,
  maxBatchOperations,
  type Operation,
  operationBytes,
  packBatch,
  readResults,
} from './packing.ts';

/** An operation on its way, and who waits for it. Exactly one of the two is called, once. */
export interface QueuedOperation extends Operation {
  onResult(result: ItemResult): void;
  onFailure(error: Error): void;
}

interface FlyingBatch {
  readonly operations: readonly QueuedOperation[];
  readonly buffer: ArrayBuffer;
  readonly used: number;
  readonly since: number;
  /** Set when its operations were failed already: what comes back is only wiped. */
  abandoned: boolean;
}

/** Enough that the worker has its next batch while the main thread handles the last. */
const maxFlyingBatches = 2;

export interface FastLane {
  /** Takes an operation whose handles are resolved. */
  enqueue(operation: QueuedOperation): void;
  /** Rejects everything queued and in flight; late answers are dropped. */
  failAll(error: Error): void;
  /** Sends a control message; it is done after every batch sent before. */
  control(request: FastControl): Promise<FastReply>;
  /** Lets the process end although the thread is stuck in a call. */
  abandon(): void;
  /** Milliseconds the worker has been with the batch or message it is at, 0 for none. */
  oldestMs(): number;
}

/**
 * Starts the fast lane's thread.
 * @param onExit called when it ends, asked to or not
 * @param batchOperations most in one batch: of long ones few, so that a batch is no hung call
 */
export function startFastLane(
  settings: FastSettings,
  onExit: (asked: boolean) => void,
  batchOperations = maxBatchOperations,
): FastLane {
  const worker = new Worker(siblingModule(import.meta.url, 'fast-worker'), {
    workerData: settings,
    execArgv: [],
  });
  const queue: QueuedOperation[] = [];
  let head = 0;
  const flying: FlyingBatch[] = [];
  const controls: { readonly since: number; readonly reply: (reply: FastReply) => void }[] = [];
  const spareBuffers: ArrayBuffer[] = [];
  let flushPlanned = false;
  let lastAnswerAt = 0;
  let finishing = false;
  let ended = false;

  worker.on('message', (message: ArrayBuffer | FastReply) => {
    lastAnswerAt = performance.now();
    if (message instanceof ArrayBuffer) land(message);
    else controls.shift()?.reply(message);
  });
  worker.on('error', () => undefined);
  worker.on('exit', () => {
    ended = true;
    for (const batch of flying.splice(0)) settleLost(batch);
    for (const { reply } of controls.splice(0)) reply({ type: 'failed', returnValue: 0 });
    onExit(finishing);
  });

  function settleLost(batch: FlyingBatch): void {
    if (batch.abandoned) return;
    const error = new Error('the fast lane ended');
    for (const operation of batch.operations) operation.onFailure(error);
  }

  function planFlush(): void {
    if (flushPlanned || flying.length >= maxFlyingBatches) return;
    flushPlanned = true;
    // After the promises that are settling now: operations of one tick share a batch.
    setImmediate(flush);
  }

  function flush(): void {
    flushPlanned = false;
    while (head < queue.length && flying.length < maxFlyingBatches) send();
    if (head === queue.length) {
      queue.length = 0;
      head = 0;
    } else if (head >= 1024) {
      queue.splice(0, head);
      head = 0;
    }
  }

  function send(): void {
    const operations: QueuedOperation[] = [];
    let bytes = batchOverheadBytes;
    while (head < queue.length && operations.length < batchOperations) {
      const next = queue[head];
      if (next === undefined) break;
      const more = operationBytes(next);
      if (operations.length > 0 && bytes + more > maxBatchBytes) break;
      operations.push(next);
      bytes += more;
      head += 1;
    }
    const spare = bytes <= maxBatchBytes ? spareBuffers.pop() : undefined;
    const buffer = spare ?? new ArrayBuffer(Math.max(bytes, maxBatchBytes));
    const used = packBatch(operations, buffer);
    flying.push({ operations, buffer, used, since: performance.now(), abandoned: false });
    worker.postMessage(buffer, [buffer]);
  }

  function land(buffer: ArrayBuffer): void {
    const batch = flying.shift();
    if (batch === undefined) return;
    try {
      if (!batch.abandoned) {
        const results = readResults(batch.operations, buffer);
        // The worker gets its next batch before the answers run their callers' code.
        if (head < queue.length) flush();
        results.forEach((result, index) => batch.operations[index]?.onResult(result));
      }
    } finally {
      new Uint8Array(buffer, 0, batch.used).fill(0);
      if (buffer.byteLength === maxBatchBytes && spareBuffers.length < maxFlyingBatches)
        spareBuffers.push(buffer);
      if (head < queue.length) planFlush();
    }
  }

  return {
    enqueue(operation) {
      queue.push(operation);
      planFlush();
    },
    failAll(error) {
      const waiting = queue.splice(0).slice(head);
      head = 0;
      const sent = flying.filter((batch) => !batch.abandoned);
      for (const batch of sent) batch.abandoned = true;
      for (const batch of sent) for (const operation of batch.operations) operation.onFailure(error);
      for (const operation of waiting) operation.onFailure(error);
    },
    control(request) {
      finishing ||= request.type === 'finish';
      if (ended) return Promise.resolve({ type: 'failed', returnValue: 0 });
      return new Promise((resolve) => {
        controls.push({ since: performance.now(), reply: resolve });
        worker.postMessage(request, []);
      });
    },
    abandon: () => worker.unref(),
    oldestMs() {
      const oldest = Math.min(flying[0]?.since ?? Infinity, controls[0]?.since ?? Infinity);
      return oldest === Infinity ? 0 : performance.now() - Math.max(oldest, lastAnswerAt);
    },
  };
}
