import { ServiceError } from '../../core/errors.ts';
import { type FastLane, type QueuedOperation, startFastLane } from './fast-lane.ts';
import type { HsmLog, Pkcs11Settings } from './settings.ts';
import { type SlowLane, startSlowLane } from './slow-lane.ts';
import type { SlowAnswer, SlowRequest, TokenDescription } from './slow-protocol.ts';

/**
 * Both lanes as one device with one life: brought up, lost, brought up again in a new generation. A lost
 * device fails everything in hand at once; one loop then reconnects in this process until it succeeds.
 */
export interface TokenLink {
  readonly token: TokenDescription;
  state(): 'ready' | 'unavailable' | 'closed';
  generation(): number;
  /** Gives an operation to the fast lane, or fails it when the device is away. */
  enqueue(operation: QueuedOperation): void;
  /** Asks the slow lane. @throws ServiceError hsm/unavailable */
  ask(request: SlowRequest): Promise<SlowAnswer>;
  /** Reports that the device failed (its return value, 0 for none). @returns what its victims are told */
  lost(returnValue: number): ServiceError;
  /** Ends both threads; bounded. Nothing may be in hand any more. */
  close(): Promise<void>;
}

const firstRetryMs = 250;
const lastRetryMs = 5_000;
/** A call that takes longer means a hung device; its callers stop waiting. */
const hungAfterMs = 30_000;
const watchEveryMs = 1_000;
const finishWithinMs = 5_000;

export function unavailable(
  detail = 'The HSM is not available. The service is reconnecting to it.',
): ServiceError {
  return new ServiceError('hsm/unavailable', detail, { retryAfterSeconds: 1 });
}

/**
 * Starts both threads and brings the token up.
 * @param onLost the handles of the generation are dead
 * @throws ServiceError hsm/unavailable that tells what to do
 */
export async function openTokenLink(
  settings: Pkcs11Settings,
  log: HsmLog,
  onLost: () => void,
): Promise<TokenLink> {
  let state: 'starting' | 'ready' | 'unavailable' | 'closed' = 'starting';
  let generation = 0;
  let wake: (() => void) | undefined;
  let recovery: Promise<void> = Promise.resolve();
  let fast: FastLane | undefined;
  let slow: SlowLane | undefined;
  const threads = new Set<Promise<void>>();

  /** Starts one thread; when it ends unasked the device is lost and the next bring-up starts another. */
  function track<Lane>(start: (onExit: (asked: boolean) => void) => Lane, ended: () => void): Lane {
    let lane: Lane | undefined;
    const exit = new Promise<void>((resolve) => {
      lane = start((asked) => {
        resolve();
        ended();
        if (!asked) lost(0);
      });
    });
    threads.add(exit);
    void exit.then(() => threads.delete(exit));
    if (lane === undefined) throw new Error('the lane did not start');
    return lane;
  }

  function lanes(): { fast: FastLane; slow: SlowLane } {
    slow ??= track(
      (onExit) => startSlowLane(slowSettings(settings), log, onExit),
      () => {
        slow = undefined;
      },
    );
    fast ??= track(startFastLane, () => {
      fast = undefined;
    });
    return { fast, slow };
  }

  async function bringUp(): Promise<TokenDescription> {
    const { fast: operations, slow: keys } = lanes();
    // Its sessions go first: after this nothing of this process is in a call but the slow lane.
    await operations.control({ type: 'detach' });
    generation += 1;
    const answer = await keys.call({ type: 'initialize', generation });
    if (answer.outcome === 'refused') throw unavailable(answer.detail);
    if (answer.outcome !== 'token') {
      log('error', 'hsm.initialize-failed', {
        returnValue: answer.outcome === 'device' ? answer.returnValue : 0,
      });
      throw unavailable('The HSM does not work. Check the device and the log of its PKCS#11 module.');
    }
    const { slot } = answer.token;
    const attached = await operations.control({ type: 'attach', module: settings.module, slot, generation });
    if (attached.type === 'failed') {
      log('error', 'hsm.attach-failed', { returnValue: attached.returnValue });
      throw unavailable(
        attached.knownAnswer === undefined
          ? 'The HSM does not work. Check the device and the log of its PKCS#11 module.'
          : `The token failed the known-answer test of ${attached.knownAnswer}; it must not be used.`,
      );
    }
    return answer.token;
  }

  async function recover(rootId: string): Promise<void> {
    for (let delayMs = firstRetryMs; state === 'unavailable'; delayMs = Math.min(2 * delayMs, lastRetryMs)) {
      try {
        const token = await bringUp();
        if (token.rootId !== rootId) throw unavailable('The token holds another root key than before.');
        if (state === 'unavailable') state = 'ready';
        log('info', 'hsm.ready', { generation });
        return;
      } catch (error) {
        const detail = error instanceof ServiceError ? error.detail : 'a lane ended';
        log('warn', 'hsm.reconnect-failed', { detail, nextTryMs: delayMs });
      }
      await pause(delayMs);
    }
  }

  function pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  function lost(returnValue: number): ServiceError {
    const error = unavailable();
    if (state !== 'ready') return error;
    state = 'unavailable';
    log('error', 'hsm.unavailable', { returnValue, generation });
    onLost();
    fast?.failAll(error);
    slow?.failAll(error);
    recovery = recover(token.rootId);
    return error;
  }

  const watch = setInterval(() => {
    if (Math.max(fast?.oldestMs() ?? 0, slow?.oldestMs() ?? 0) > hungAfterMs) lost(0);
  }, watchEveryMs);
  watch.unref();

  async function close(): Promise<void> {
    state = 'closed';
    clearInterval(watch);
    fast?.failAll(unavailable('The HSM connection is closed.'));
    wake?.();
    // C_Finalize under a call of the other thread would bring the process down: fast ends first, or slow stays.
    const ended = await within(
      finishWithinMs,
      (async () => {
        await fast?.control({ type: 'finish' });
        await recovery;
        await slow?.call({ type: 'finish' });
        await Promise.all(threads);
      })(),
    );
    if (ended) return;
    log('error', 'hsm.close-timeout', {});
    fast?.abandon();
    slow?.abandon();
  }

  let token: TokenDescription;
  try {
    token = await bringUp();
    state = 'ready';
  } catch (error) {
    await close();
    throw error instanceof ServiceError ? error : unavailable('The HSM threads could not be started.');
  }
  log('info', 'hsm.ready', { generation });

  return {
    token,
    state: () => (state === 'starting' ? 'unavailable' : state),
    generation: () => generation,
    enqueue(operation) {
      if (state === 'ready' && fast !== undefined) fast.enqueue(operation);
      else operation.onFailure(unavailable());
    },
    async ask(request) {
      if (state !== 'ready' || slow === undefined) throw unavailable();
      return slow.call(request).catch((error: unknown) => {
        throw error instanceof ServiceError ? error : unavailable();
      });
    },
    lost,
    close,
  };
}

/** Only what the slow lane needs crosses into its thread. */
function slowSettings({ module, tokenLabel, pinFile, wrapMechanism }: Pkcs11Settings) {
  return { module, tokenLabel, pinFile, wrapMechanism };
}

/** True when `work` succeeded in time. */
function within(ms: number, work: Promise<void>): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), ms);
    work
      .then(
        () => resolve(true),
        () => resolve(false),
      )
      .finally(() => clearTimeout(timer));
  });
}
