import { ServiceError } from '../../core/errors.ts';
import { bringUp, unavailable } from './bring-up.ts';
import type { QueuedOperation } from './fast-lane.ts';
import { createLanes, type Lanes } from './lanes.ts';
import type { HsmLog, Pkcs11Settings } from './settings.ts';
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

/** What the link remembers between its parts. */
interface Life {
  readonly settings: Pkcs11Settings;
  readonly log: HsmLog;
  readonly onLost: () => void;
  readonly lanes: Lanes;
  state: 'starting' | 'ready' | 'unavailable' | 'closed';
  generation: number;
  rootId: string;
  /** Ends the pause between two tries. */
  wake: () => void;
  recovery: Promise<void>;
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
  const life: Life = {
    settings,
    log,
    onLost,
    lanes: createLanes(settings, log, () => lose(life, 0)),
    state: 'starting',
    generation: 0,
    rootId: '',
    wake: () => undefined,
    recovery: Promise.resolve(),
  };
  const watch = setInterval(() => {
    if (life.lanes.oldestMs() > hungAfterMs) lose(life, 0);
  }, watchEveryMs);
  watch.unref();
  async function close(): Promise<void> {
    clearInterval(watch);
    await end(life);
  }
  try {
    const token = await nextGeneration(life);
    life.rootId = token.rootId;
    life.state = 'ready';
    log('info', 'hsm.ready', { generation: life.generation });
    return linkOf(life, token, close);
  } catch (error) {
    await close();
    throw error instanceof ServiceError ? error : unavailable('The HSM threads could not be started.');
  }
}

function linkOf(life: Life, token: TokenDescription, close: () => Promise<void>): TokenLink {
  return {
    token,
    state: () => (life.state === 'starting' ? 'unavailable' : life.state),
    generation: () => life.generation,
    enqueue(operation) {
      const fast = life.state === 'ready' ? life.lanes.fast() : undefined;
      if (fast === undefined) operation.onFailure(unavailable());
      else fast.enqueue(operation);
    },
    async ask(request) {
      const slow = life.state === 'ready' ? life.lanes.slow() : undefined;
      if (slow === undefined) throw unavailable();
      return slow.call(request).catch((error: unknown) => {
        throw error instanceof ServiceError ? error : unavailable();
      });
    },
    lost: (returnValue) => lose(life, returnValue),
    close,
  };
}

function nextGeneration(life: Life): Promise<TokenDescription> {
  life.generation += 1;
  const { generation, settings, log } = life;
  return bringUp(life.lanes.ensure(), { module: settings.module, generation }, log);
}

function lose(life: Life, returnValue: number): ServiceError {
  const error = unavailable();
  if (life.state !== 'ready') return error;
  life.state = 'unavailable';
  life.log('error', 'hsm.unavailable', { returnValue, generation: life.generation });
  life.onLost();
  life.lanes.failAll(error);
  life.recovery = recover(life);
  return error;
}

async function recover(life: Life): Promise<void> {
  for (
    let delayMs = firstRetryMs;
    life.state === 'unavailable';
    delayMs = Math.min(2 * delayMs, lastRetryMs)
  ) {
    try {
      const token = await nextGeneration(life);
      if (token.rootId !== life.rootId) throw unavailable('The token holds another root key than before.');
      if (isUnavailable(life)) life.state = 'ready';
      life.log('info', 'hsm.ready', { generation: life.generation });
      return;
    } catch (error) {
      const detail = error instanceof ServiceError ? error.detail : 'a lane ended';
      life.log('warn', 'hsm.reconnect-failed', { detail, nextTryMs: delayMs });
    }
    if (isUnavailable(life)) await pause(life, delayMs);
  }
}

/** Asked anew after each wait: `close` may have come meanwhile. */
function isUnavailable(life: Life): boolean {
  return life.state === 'unavailable';
}

function pause(life: Life, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    life.wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

async function end(life: Life): Promise<void> {
  life.state = 'closed';
  life.lanes.fast()?.failAll(unavailable('The HSM connection is closed.'));
  life.wake();
  if (
    await within(
      finishWithinMs,
      life.lanes.finish(() => life.recovery),
    )
  )
    return;
  life.log('error', 'hsm.close-timeout', {});
  life.lanes.abandon();
}

/** True when `work` succeeded in time. */
async function within(ms: number, work: Promise<void>): Promise<boolean> {
  const late = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => late.resolve(false), ms);
  const done = async (): Promise<boolean> => {
    await work;
    return true;
  };
  try {
    return await Promise.race([done(), late.promise]);
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
  }
}
