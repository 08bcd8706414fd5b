import { type FastLane, startFastLane } from './fast-lane.ts';
import { wrapMechanismOf } from './modules.ts';
import { createRevocation, type Revocation, revoke } from './revocation.ts';
import type { HsmLog, Pkcs11Settings } from './settings.ts';
import { type SlowLane, startSlowLane } from './slow-lane.ts';
import type { SlowSettings } from './slow-protocol.ts';

/** The two threads: started when they are needed, started anew should one end by itself. */
export interface Lanes {
  /** Both, running. */
  ensure(): { readonly fast: FastLane; readonly slow: SlowLane };
  fast(): FastLane | undefined;
  slow(): SlowLane | undefined;
  /** Rejects everything queued and in flight on both; the workers drop what they have of `generation`. */
  failAll(generation: number, error: Error): void;
  /** Milliseconds either thread has been with the call it is at, 0 for none. */
  oldestMs(): number;
  /**
   * Ends both, the fast one first: C_Finalize under a call of the other thread would bring the process down.
   * @param settled what must be over before the module is finalized
   */
  finish(settled: () => Promise<void>): Promise<void>;
  /** Lets the process end although a thread is stuck in a call. */
  abandon(): void;
}

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

  function oldestMs(): number {
    return Math.max(fast?.oldestMs() ?? 0, slow?.oldestMs() ?? 0);
  }

  /** At its end Node waits for its threads, and one that is stuck in a call may be there for ever. */
  function endByForce(): void {
    if (oldestMs() > exitWaitsMs) process.kill(process.pid, 'SIGKILL');
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
        { revocation },
        track(() => {
          fast = undefined;
        }),
      );
      return { fast, slow };
    },
    fast: () => fast,
    slow: () => slow,
    failAll(generation, error) {
      revoke(revocation, generation);
      fast?.failAll(error);
      slow?.failAll(error);
    },
    oldestMs,
    async finish(settled) {
      await fast?.control({ type: 'finish' });
      await settled();
      await slow?.call({ type: 'finish' });
      await Promise.all(running);
      process.off('exit', endByForce);
    },
    abandon() {
      fast?.abandon();
      slow?.abandon();
    },
  };
}

/** Only what the slow lane needs crosses into its thread. */
function slowSettings(settings: Pkcs11Settings, revocation: Revocation): SlowSettings {
  const { module, tokenLabel, pinFile, softhsmConf } = settings;
  const wrapMechanism = wrapMechanismOf(settings);
  return { module, tokenLabel, pinFile, softhsmConf, wrapMechanism, revocation };
}
