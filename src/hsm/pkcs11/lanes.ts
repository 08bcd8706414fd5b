import { type FastLane, startFastLane } from './fast-lane.ts';
import type { Attachment } from './fast-worker.ts';
import { wrapMechanismOf } from './modules.ts';
import { createRevocation, type Revocation, revoke } from './revocation.ts';
import type { HsmLog, Pkcs11Settings } from './settings.ts';
import { type SlowLane, startSlowLane } from './slow-lane.ts';
import type { SlowSettings } from './slow-protocol.ts';

/** What has a thread of its own beside the fast lane's, so that nothing short stands behind it. */
export type Beside = 'signatures' | 'pairs';

/** The threads: started when they are needed, started anew should one end by itself. */
export interface Lanes {
  /** Fast and slow lane, running. */
  ensure(): {
    readonly fast: FastLane;
    readonly slow: SlowLane;
    /** Closes the sessions of the lanes beside; they open others when they are next used. */
    detachOthers(): Promise<void>;
  };
  fast(): FastLane | undefined;
  slow(): SlowLane | undefined;
  /** A lane beside the fast one, started at its first use. Should it not open a session, its operations fail. */
  beside(name: Beside, attachment: Attachment): FastLane;
  /** Rejects everything queued and in flight on all; the workers drop what they have of `generation`. */
  failAll(generation: number, error: Error): void;
  /**
   * Milliseconds a thread has been with the call it is at, 0 for none; of pairs what is more than they may take.
   * @param allowedForPairs milliseconds
   */
  oldestMs(allowedForPairs: number): number;
  /**
   * Ends all, the slow one last: C_Finalize under a call of the other thread would bring the process down.
   * @param settled what must be over before the module is finalized
   */
  finish(settled: () => Promise<void>): Promise<void>;
  /** Lets the process end although a thread is stuck in a call. */
  abandon(): void;
}

/** RSA-4096 takes some milliseconds, on a busy machine a hundred. */
const signaturesAtOnce = 8;
/** How far its thread gives way where the cores are busy. */
const niceOf: Readonly<Record<Beside, number>> = { signatures: 10, pairs: 15 };
/** A call under way for longer is not waited for when the process ends. */
const exitWaitsMs = 250;

/** Threads of this process that use the module: one that is stuck outlives the lanes it belongs to. */
const running = new Set<Promise<void>>();

export function threadsRunning(): boolean {
  return running.size > 0;
}

/** @param onUnasked told when a thread ended that was not asked to */
export function createLanes(settings: Pkcs11Settings, log: HsmLog, onUnasked: () => void): Lanes {
  let fast: FastLane | undefined;
  let slow: SlowLane | undefined;
  const besides = new Map<Beside, { lane: FastLane; generation: number }>();
  const revocation = createRevocation();

  /** @param ended forgets the lane */
  function track(ended: () => void): (asked: boolean) => void {
    const exit = Promise.withResolvers<void>();
    running.add(exit.promise);
    return (asked) => {
      running.delete(exit.promise);
      exit.resolve();
      ended();
      if (!asked) onUnasked();
    };
  }

  const fastSettings = { revocation, wrapMechanism: wrapMechanismOf(settings), nice: 0 };
  const others = (): FastLane[] => [...besides.values()].map(({ lane }) => lane);

  function oldestMs(allowedForPairs: number): number {
    const pairs = (besides.get('pairs')?.lane.oldestMs() ?? 0) - allowedForPairs;
    const signatures = besides.get('signatures')?.lane.oldestMs() ?? 0;
    return Math.max(fast?.oldestMs() ?? 0, slow?.oldestMs() ?? 0, signatures, pairs);
  }

  /** At its end Node waits for its threads, and one that is stuck in a call may be there for ever. */
  function endByForce(): void {
    if (oldestMs(0) > exitWaitsMs) process.kill(process.pid, 'SIGKILL');
  }
  process.on('exit', endByForce);

  return {
    ensure() {
      slow ??= startSlowLane(
        slowSettings(settings, revocation),
        log,
        track(() => {
          slow = undefined;
        }),
      );
      fast ??= startFastLane(
        fastSettings,
        track(() => {
          fast = undefined;
        }),
      );
      return {
        fast,
        slow,
        async detachOthers() {
          await Promise.all(others().map((lane) => lane.control({ type: 'detach' })));
        },
      };
    },
    beside(name, attachment) {
      let beside = besides.get(name);
      if (beside === undefined) {
        const lane = startFastLane(
          { ...fastSettings, nice: niceOf[name] },
          track(() => besides.delete(name)),
          signaturesAtOnce,
        );
        beside = { lane, generation: 0 };
        besides.set(name, beside);
      }
      if (beside.generation !== attachment.generation) {
        beside.generation = attachment.generation;
        // What is sent after it finds the session open, or fails as on a device that does.
        void beside.lane.control({ type: 'attach', ...attachment });
      }
      return beside.lane;
    },
    fast: () => fast,
    slow: () => slow,
    failAll(generation, error) {
      revoke(revocation, generation);
      fast?.failAll(error);
      slow?.failAll(error);
      for (const lane of others()) lane.failAll(error);
    },
    oldestMs,
    async finish(settled) {
      const quick = fast === undefined ? others() : [fast, ...others()];
      await Promise.all(quick.map((lane) => lane.control({ type: 'finish' })));
      await settled();
      await slow?.call({ type: 'finish' });
      await Promise.all(running);
      process.off('exit', endByForce);
    },
    abandon() {
      fast?.abandon();
      slow?.abandon();
      for (const lane of others()) lane.abandon();
    },
  };
}

/** Only what the slow lane needs crosses into its thread. */
function slowSettings(settings: Pkcs11Settings, revocation: Revocation): SlowSettings {
  const { module, tokenLabel, pinFile, softhsmConf } = settings;
  const wrapMechanism = wrapMechanismOf(settings);
  return { module, tokenLabel, pinFile, softhsmConf, wrapMechanism, revocation };
}
