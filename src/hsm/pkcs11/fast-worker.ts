/**
 * The fast lane's thread: packed batches of short operations. It uses the module that the slow lane's
 * thread initialized and logged in to, which is one for the whole process.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { type Cryptoki, loadModule, returnValue } from './cryptoki.ts';
import { type FastSession, openFastSession } from './fast-session.ts';
import { KnownAnswerMismatch } from './known-answers.ts';
import { isRevoked, type Revocation } from './revocation.ts';

export interface FastSettings {
  readonly revocation: Revocation;
}

/** `attach` and `detach` bracket one generation; a bare ArrayBuffer is a batch. */
export type FastControl =
  | {
      readonly type: 'attach';
      readonly module: string;
      readonly slot: Uint8Array;
      readonly generation: number;
    }
  | { readonly type: 'detach' }
  | { readonly type: 'finish' };

export type FastReply =
  | { readonly type: 'done' }
  | { readonly type: 'failed'; readonly returnValue: number; readonly knownAnswer?: string };

const port = parentPort;
if (port === null) throw new Error('the fast lane runs in a worker thread');
const { revocation } = workerData as FastSettings;
// Errors stay in this thread and only their return values are read: a stack is half of what a forgery costs.
Error.stackTraceLimit = 0;

let cryptoki: Cryptoki | undefined;
let session: FastSession | undefined;

function control(request: FastControl): FastReply {
  session?.close();
  session = undefined;
  if (request.type === 'attach') {
    try {
      cryptoki ??= loadModule(request.module);
      const { generation } = request;
      session = openFastSession(cryptoki, Buffer.from(request.slot), {
        generation,
        revoked: () => isRevoked(revocation, generation),
      });
    } catch (error) {
      const mismatch = error instanceof KnownAnswerMismatch ? { knownAnswer: error.algorithm } : {};
      return { type: 'failed', returnValue: returnValue(error) ?? 0, ...mismatch };
    }
  }
  return { type: 'done' };
}

port.on('message', (message: ArrayBuffer | FastControl) => {
  if (message instanceof ArrayBuffer) {
    // Without a session, or once it is revoked, every item keeps the outcome it was packed with: `device`.
    session?.run(message);
    port.postMessage(message, [message]);
    return;
  }
  port.postMessage(control(message));
  if (message.type === 'finish') port.close();
});
