/**
 * The slow lane's thread. It owns the module's life in this process: C_Initialize, the one login, the
 * anchor session that keeps it and holds every key, C_Finalize.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { type Cryptoki, returnValue } from './cryptoki.ts';
import { KnownAnswerMismatch } from './known-answers.ts';
import { initializeConfiguredModule, loadConfiguredModule, requireUntriedPin } from './login.ts';
import { isRevoked } from './revocation.ts';
import type { HsmLog } from './settings.ts';
import type { SlowAnswer, SlowCall, SlowMessage, SlowRequest, SlowSettings } from './slow-protocol.ts';
import { openSlowSession, type SlowSession } from './slow-session.ts';
import { keepTokenFiles, restoreTokenFiles } from './softhsm.ts';
import { TokenRefusal } from './token-refusal.ts';

const port = parentPort;
if (port === null) throw new Error('the slow lane runs in a worker thread');
const settings = workerData as SlowSettings;

let cryptoki: Cryptoki | undefined;
let initialized = false;
let session: SlowSession | undefined;

function send(message: SlowMessage): void {
  port?.postMessage(message);
}

const log: HsmLog = (level, event, fields) => {
  if (level !== 'debug') send({ type: 'event', level, event, fields });
};

/** The token works without, until the next crash. */
function mindTokenFiles(work: () => void): void {
  try {
    work();
  } catch {
    log('warn', 'hsm.token-not-kept', {});
  }
}

function finalize(): void {
  session = undefined;
  if (!initialized) return;
  initialized = false;
  try {
    // Closes every session of the process and logs out.
    cryptoki?.C_Finalize();
  } catch (error) {
    log('warn', 'hsm.finalize-failed', { returnValue: returnValue(error) ?? 0 });
  }
}

function initialize(generation: number): SlowAnswer {
  finalize();
  try {
    requireUntriedPin(settings.pinFile);
    mindTokenFiles(() => {
      restoreTokenFiles(settings.softhsmConf, log);
      // What is whole and not the copy is newer: a changed PIN must survive the login that comes now.
      keepTokenFiles(settings.softhsmConf);
    });
    cryptoki ??= loadConfiguredModule(settings.module);
    initializeConfiguredModule(cryptoki, settings);
    initialized = true;
    session = openSlowSession(cryptoki, settings, generation, log);
    mindTokenFiles(() => keepTokenFiles(settings.softhsmConf));
    return { outcome: 'token', token: session.token };
  } catch (error) {
    finalize();
    if (error instanceof TokenRefusal) return { outcome: 'refused', detail: error.message };
    if (error instanceof KnownAnswerMismatch) {
      const detail = `The token failed the known-answer test of ${error.algorithm}; it must not be used.`;
      return { outcome: 'refused', detail };
    }
    return { outcome: 'device', returnValue: returnValue(error) ?? 0 };
  }
}

function answer(request: SlowRequest): SlowAnswer {
  if (request.type === 'initialize') return initialize(request.generation);
  if (request.type === 'finish') {
    finalize();
    return { outcome: 'done' };
  }
  if (session === undefined || isRevoked(settings.revocation, session.generation))
    return { outcome: 'device', returnValue: 0 };
  return session.answer(request);
}

/** So long answers wait for those after them, and for one call more; should that hang, they are lost with it. */
const holdAnswersMs = 1;

port.on('message', (calls: readonly SlowCall[]) => {
  let answers: { id: number; answer: SlowAnswer }[] = [];
  let since = performance.now();
  for (const { id, request } of calls) {
    answers.push({ id, answer: answer(request) });
    if (performance.now() - since < holdAnswersMs) continue;
    send({ type: 'answers', answers });
    answers = [];
    since = performance.now();
  }
  if (answers.length > 0) send({ type: 'answers', answers });
  if (calls.some(({ request }) => request.type === 'finish')) port.close();
});
