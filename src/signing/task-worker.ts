/** A thread for signatures that would hold up the one that serves requests. */
import { parentPort } from 'node:worker_threads';
import { wipe } from '../core/bytes.ts';
import { giveWay } from '../core/thread-priority.ts';
import { loadInJavaScript } from '../crypto/signatures/in-javascript.ts';
import { perform, type Task } from './task.ts';

/** Answers come in the order of the tasks. */
export type TaskAnswer = { readonly value: Uint8Array | boolean } | { readonly failed: true };

const port = parentPort;
if (port === null) throw new Error('signatures are made in a worker thread');
giveWay(10);
// Messages wait until someone listens.
await loadInJavaScript();

function answer(task: Task): TaskAnswer {
  try {
    return { value: perform(task) };
  } catch {
    return { failed: true };
  } finally {
    if (task.operation === 'sign') wipe(task.seed);
  }
}

port.on('message', (task: Task) => port.postMessage(answer(task)));
