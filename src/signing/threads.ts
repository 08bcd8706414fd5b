import { Worker } from 'node:worker_threads';
import { ServiceError } from '../core/errors.ts';
import { siblingModule } from '../core/sibling-module.ts';
import type { Task } from './task.ts';
import type { TaskAnswer } from './task-worker.ts';

/** One thread a class of cost, started at its first task, so that a millisecond does not stand behind a second. */
export interface Threads {
  /**
   * @param task its seed is copied, and the copy wiped
   * @throws service/overloaded when too many wait
   */
  run(cost: 'medium' | 'long', task: Task): Promise<Uint8Array | boolean>;
  /** Ends the threads; what is under way fails. */
  close(): Promise<void>;
}

/** As many as end before their requests do. */
const waitingLimit = { medium: 1024, long: 32 } as const;

export function createThreads(): Threads {
  const threads = { medium: createThread(waitingLimit.medium), long: createThread(waitingLimit.long) };
  return {
    run: (cost, task) => threads[cost].run(task),
    async close() {
      await Promise.all(Object.values(threads).map((thread) => thread.close()));
    },
  };
}

interface Waiting {
  resolve(value: Uint8Array | boolean): void;
  reject(error: Error): void;
}

function createThread(limit: number) {
  let worker: Worker | undefined;
  let waiting: Waiting[] = [];

  function start(): Worker {
    const started = new Worker(siblingModule(import.meta.url, 'task-worker'), { execArgv: [] });
    started.unref();
    started.on('message', (answer: TaskAnswer) => {
      const task = waiting.shift();
      if ('value' in answer) task?.resolve(answer.value);
      else task?.reject(failed());
    });
    started.on('error', () => undefined);
    started.on('exit', () => {
      worker = undefined;
      for (const task of waiting.splice(0)) task.reject(failed());
    });
    return started;
  }

  return {
    run(task: Task): Promise<Uint8Array | boolean> {
      if (waiting.length >= limit) {
        return Promise.reject(
          new ServiceError('service/overloaded', 'Too many signatures are waiting.', {
            retryAfterSeconds: 1,
          }),
        );
      }
      worker ??= start();
      const thread = worker;
      return new Promise((resolve, reject) => {
        waiting.push({ resolve, reject });
        const [message, transferred] = packed(task);
        thread.postMessage(message, transferred);
      });
    },
    async close() {
      const thread = worker;
      waiting = waiting.filter(({ reject }) => reject(failed()));
      await thread?.terminate();
    },
  };
}

/** A seed goes in memory of its own, which then is the thread's alone. */
function packed(task: Task): [Task, ArrayBuffer[]] {
  if (task.operation !== 'sign') return [task, []];
  const memory = new ArrayBuffer(task.seed.length);
  const seed = new Uint8Array(memory);
  seed.set(task.seed);
  return [{ ...task, seed }, [memory]];
}

function failed(): ServiceError {
  return new ServiceError('internal', 'The signature could not be made.', {
    cause: new Error('a signing thread failed'),
  });
}
