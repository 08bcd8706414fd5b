import { ServiceError } from '../../core/errors.ts';
import { bringUp, unavailable } from './bring-up.ts';
import type { QueuedOperation } from './fast-lane.ts';
import { createLanes, type Lanes } from './lanes.ts';
import { isPrivate } from './packing.ts';
import { createPairQueue, type PairQueue } from './pair-queue.ts';
import type { HsmLog, LinkLimits, Pkcs11Settings } from './settings.ts';
import type { PairRequest, SlowAnswer, SlowRequest, TokenDescription } from './slow-protocol.ts';

/**
 * Both lanes as one device with one life: brought up, lost, brought up again in a new generation. A lost
 * device fails everything in hand at once; one loop then reconnects in this process until it succeeds.
 */
export interface TokenLink {
  readonly token: TokenDescription;
  state(): 'ready' | 'unavailable' | 'closed';
  generation(): number;
  /** What callers are told while the device is away. */
  unavailable(): ServiceError;
  /** Gives an operation to the fast lane, what a private key does to its own, or fails it when the device is away. */
  enqueue(operation: QueuedOperation): void;
  /** Asks the slow lane, for a pair its own. @throws ServiceError hsm/unavailable */
  ask(request: SlowRequest | PairRequest): Promise<SlowAnswer>;
  /** Reports that the device failed (its return value, 0 for none). @returns what its victims are told */
  lost(returnValue: number): ServiceError;
  /**
   * Initializes the module anew, on purpose; nothing may be in hand. Never rejects: should it fail, the
   * device is lost like any other.
   */
  renew(): Promise<void>;
  /** Ends both threads; bounded. Nothing may be in hand any more. */
  close(): Promise<void>;
}

/** Who keeps the handles, and is told what becomes of them. */
interface LinkOwner {
  /** The handles of the generation are dead. */
  onDead(): void;
  /** The device is away: who waits for it must be told. */
  onLost(): void;
  /** So many objects were made that the module should be initialized anew: see `TokenLink.renew`. */
  onWorn(objects: number): void;
}

/** What the link remembers between its parts. */
interface Life {
  readonly settings: Pkcs11Settings;
  readonly limits: LinkLimits;
  readonly log: HsmLog;
  readonly owner: LinkOwner;
  readonly lanes: Lanes;
  state: 'starting' | 'ready' | 'unavailable' | 'closed';
  generation: number;
  /** Made in this generation; counted no more once the owner was told. */
  objects: number;
  rootId: string;
  /** CK_SLOT_ID of the generation. */
  slot: Uint8Array;
  readySince: number;
  /** The pause before the next try; 0 for none. */
  delayMs: number;
  /** When the next try begins, or the one under way began. */
  tryAt: number;
  readonly pairs: PairQueue;
  /** Ends the pause between two tries. */
  wake: () => void;
  /** The last bring-up but the first: each waits for the one before. */
  recovery: Promise<void>;
}

/**
 * Starts both threads and brings the token up.
 * @throws ServiceError hsm/unavailable that tells what to do
 */
export async function openTokenLink(
  settings: Pkcs11Settings,
  { log, limits, owner }: { log: HsmLog; limits: LinkLimits; owner: LinkOwner },
): Promise<TokenLink> {
  const life: Life = {
    settings,
    limits,
    log,
    owner,
    lanes: createLanes(settings, log, () => lose(life, 0)),
    state: 'starting',
    generation: 0,
    objects: 0,
    rootId: '',
    slot: new Uint8Array(8),
    readySince: 0,
    delayMs: 0,
    tryAt: 0,
    pairs: createPairQueue(),
    wake: () => undefined,
    recovery: Promise.resolve(),
  };
  const watch = setInterval(() => {
    if (life.lanes.oldestMs(limits.pairMs) > limits.hungAfterMs) lose(life, 0);
  }, limits.watchEveryMs);
  watch.unref();
  async function close(): Promise<void> {
    clearInterval(watch);
    await end(life);
  }
  try {
    const token = await within(limits.startWithinMs, nextGeneration(life));
    if (token === late) throw unavailable('The HSM does not answer. Check the device.');
    life.rootId = token.rootId;
    serve(life);
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
    unavailable: () => away(life),
    enqueue(operation) {
      const lane = life.state === 'ready' ? laneOf(life, operation) : undefined;
      if (lane === undefined) operation.onFailure(away(life));
      else lane.enqueue(operation);
    },
    async ask(request) {
      const slow = life.state === 'ready' ? life.lanes.slow() : undefined;
      if (slow === undefined) throw away(life);
      const asked =
        request.type === 'generate-pair'
          ? life.pairs.wait(() => life.lanes.beside('pairs', attachment(life)).control(request))
          : slow.call(request);
      const answer = await asked.catch((error: unknown) => {
        throw error instanceof ServiceError ? error : away(life);
      });
      if (request.type !== 'destroy') countObjects(life, answer);
      return answer;
    },
    lost: (returnValue) => lose(life, returnValue),
    renew() {
      if (life.state !== 'ready') return Promise.resolve();
      life.owner.onDead();
      life.recovery = renew(life);
      return life.recovery;
    },
    close,
  };
}

function attachment({ settings: { module }, slot, generation }: Life) {
  return { module, slot, generation };
}

function laneOf(life: Life, { kind }: QueuedOperation) {
  return isPrivate(kind) ? life.lanes.beside('signatures', attachment(life)) : life.lanes.fast();
}

function failAll(life: Life, error: Error): void {
  life.lanes.failAll(life.generation, error);
  life.pairs.failAll(error);
}

/** Objects a request makes at most, with those of what proves its answer. */
const objectsMade: Partial<Record<SlowAnswer['outcome'], number>> = {
  handle: 1,
  blob: 2,
  pair: 3,
  done: 1,
  rejected: 4,
};

function countObjects(life: Life, answer: SlowAnswer): void {
  life.objects += objectsMade[answer.outcome] ?? 0;
  if (life.objects < life.limits.renewAfterObjects || life.state !== 'ready') return;
  const { objects } = life;
  life.objects = Number.NEGATIVE_INFINITY;
  life.owner.onWorn(objects);
}

function nextGeneration(life: Life): Promise<TokenDescription> {
  life.generation += 1;
  life.objects = 0;
  const { generation, settings, log } = life;
  return bringUp(life.lanes.ensure(), { module: settings.module, generation }, log).then((token) => {
    life.slot = token.slot;
    return token;
  });
}

function serve(life: Life): void {
  life.state = 'ready';
  life.readySince = performance.now();
  life.log('info', 'hsm.ready', { generation: life.generation });
}

/** What callers are told: to come back for the next try, or after as long again as this one has taken. */
function away(life: Life): ServiceError {
  const ms = Math.min(Math.abs(life.tryAt - performance.now()), life.limits.lastRetryMs);
  return unavailable(undefined, Math.max(1, Math.ceil(ms / 1_000)));
}

function lose(life: Life, returnValue: number): ServiceError {
  if (life.state !== 'ready') return away(life);
  life.state = 'unavailable';
  // One that comes and goes is not initialized again at once each time: its pauses go on growing.
  if (performance.now() - life.readySince >= life.limits.steadyAfterMs) life.delayMs = 0;
  life.tryAt = performance.now() + life.delayMs;
  const { generation, delayMs } = life;
  life.log('error', 'hsm.unavailable', { returnValue, generation, nextTryMs: delayMs });
  const error = away(life);
  life.owner.onDead();
  failAll(life, error);
  life.owner.onLost();
  life.recovery = recover(life, life.recovery);
  return error;
}

/** The breaker: open in the pause, half open during the try, which decides by known answers. */
async function recover(life: Life, before: Promise<void>): Promise<void> {
  await before;
  while (isUnavailable(life)) {
    await pause(life, life.tryAt - performance.now());
    if (!isUnavailable(life)) return;
    const { firstRetryMs, lastRetryMs } = life.limits;
    life.delayMs = Math.min(Math.max(2 * life.delayMs, firstRetryMs), lastRetryMs);
    try {
      await nextGenerationOfTheRoot(life);
      if (isUnavailable(life)) serve(life);
    } catch (error) {
      life.tryAt = performance.now() + life.delayMs;
      const detail = error instanceof ServiceError ? error.detail : 'a lane ended';
      life.log('warn', 'hsm.reconnect-failed', { detail, nextTryMs: life.delayMs });
    }
  }
}

/** Never rejects: a device that does not come back is a lost one. */
async function renew(life: Life): Promise<void> {
  try {
    await nextGenerationOfTheRoot(life);
  } catch (error) {
    const detail = error instanceof ServiceError ? error.detail : 'a lane ended';
    life.log('warn', 'hsm.renew-failed', { detail });
    lose(life, 0);
  }
}

async function nextGenerationOfTheRoot(life: Life): Promise<void> {
  const { rootId } = await nextGeneration(life);
  if (rootId !== life.rootId) throw unavailable('The token holds another root key than before.');
}

/** Asked anew after each wait: `close` may have come meanwhile. */
function isUnavailable(life: Life): boolean {
  return life.state === 'unavailable';
}

function pause(life: Life, ms: number): Promise<void> {
  if (ms <= 0) return Promise.resolve();
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
  failAll(life, unavailable('The HSM connection is closed.'));
  life.wake();
  const finished = life.lanes
    .finish(() => life.recovery)
    .then(
      () => true,
      () => false,
    );
  if ((await within(life.limits.finishWithinMs, finished)) === true) return;
  life.log('error', 'hsm.close-timeout', {});
  life.lanes.abandon();
}

const late = Symbol('late');

/** What `work` gives, or `late` after `ms`. */
async function within<Result>(ms: number, work: Promise<Result>): Promise<Result | typeof late> {
  const timeout = Promise.withResolvers<typeof late>();
  const timer = setTimeout(() => timeout.resolve(late), ms);
  try {
    return await Promise.race([work, timeout.promise]);
  } finally {
    clearTimeout(timer);
  }
}
