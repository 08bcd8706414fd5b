/**
 * A thread for operations, of which there are up to three: packed batches of short ones; of signatures, which take
 * longer; and pairs, which take longest. It uses the module that the slow lane's thread initialized and logged in to,
 * which is one for the whole process.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { giveWay } from '../../core/thread-priority.ts';
import { type Cryptoki, loadModule, returnValue } from './cryptoki.ts';
import { type FastSession, openFastSession } from './fast-session.ts';
import { KnownAnswerMismatch } from './known-answers.ts';
import { makePair, type PairToken } from './pair-maker.ts';
import { isRevoked, type Revocation } from './revocation.ts';
import type { PairRequest, SlowAnswer } from './slow-protocol.ts';

export interface FastSettings {
  readonly revocation: Revocation;
  readonly wrapMechanism: number;
  /** How far it gives way to threads of shorter work, 0 for not. */
  readonly nice: number;
}

/** One generation of the initialized module. */
export interface Attachment {
  readonly module: string;
  /** CK_SLOT_ID, 8 bytes. */
  readonly slot: Uint8Array;
  readonly generation: number;
}

/** `attach` and `detach` bracket one generation; a bare ArrayBuffer is a batch. */
export type FastControl =
  | ({ readonly type: 'attach' } & Attachment)
  | PairRequest
  | { readonly type: 'detach' }
  | { readonly type: 'finish' };

export type FastReply =
  | { readonly type: 'done' }
  | { readonly type: 'pair'; readonly answer: SlowAnswer }
  | { readonly type: 'failed'; readonly returnValue: number; readonly knownAnswer?: string };

const port = parentPort;
if (port === null) throw new Error('the fast lane runs in a worker thread');
const { revocation, wrapMechanism, nice } = workerData as FastSettings;
if (nice > 0) giveWay(nice);
// Errors stay in this thread and only their return values are read: a stack is half of what a forgery costs.
Error.stackTraceLimit = 0;

let cryptoki: Cryptoki | undefined;
let session: FastSession | undefined;
let token: PairToken | undefined;

function control(request: FastControl): FastReply {
  if (request.type === 'generate-pair') return { type: 'pair', answer: pair(request) };
  session?.close();
  session = undefined;
  token = undefined;
  if (request.type === 'attach') {
    try {
      cryptoki ??= loadModule(request.module);
      const { generation } = request;
      session = openFastSession(cryptoki, Buffer.from(request.slot), {
        generation,
        revoked: () => isRevoked(revocation, generation),
      });
      token = { cryptoki, slot: Buffer.from(request.slot), generation, wrapMechanism };
    } catch (error) {
      const mismatch = error instanceof KnownAnswerMismatch ? { knownAnswer: error.algorithm } : {};
      return { type: 'failed', returnValue: returnValue(error) ?? 0, ...mismatch };
    }
  }
  return { type: 'done' };
}

function pair(request: PairRequest): SlowAnswer {
  if (token === undefined || isRevoked(revocation, token.generation))
    return { outcome: 'device', returnValue: 0 };
  return makePair(token, request);
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
