import { type FastLane, startFastLane } from './fast-lane.ts';
import type { HsmLog, Pkcs11Settings } from './settings.ts';
import { type SlowLane, startSlowLane } from './slow-lane.ts';
import type { SlowSettings } from './slow-protocol.ts';

/** The two threads: started when they are needed, started anew should one end by itself. */
export interface Lanes {
  /** Both, running. */
  ensure(): { readonly fast: FastLane; readonly slow: SlowLane };
  fast(): FastLane | undefined;
  slow(): SlowLane | undefined;
  /** Rejects everything queued and in flight on both. */
  failAll(error: Error): void;
  /** Milliseconds the oldest call has been with either thread, 0 for none. */
  oldestMs(): number;
  /**
   * Ends both, the fast one first: C_Finalize under a call of the other thread would bring the process down.
   * @param settled what must be over before the module is finalized
   */
  finish(settled: () => Promise<void>): Promise<void>;
  /** Lets the process end although a thread is stuck in a call. */
  abandon(): void;
}

/** @param onUnasked told when a thread ended that was not asked to */
export function createLanes(settings: Pkcs11Settings, log: HsmLog, onUnasked: () => void): Lanes {
  let fast: FastLane | undefined;
  let slow: SlowLane | undefined;
  const running = new Set<Promise<void>>();

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

  return {
    ensure() {
      slow ??= startSlowLane(
        slowSettings(settings),
        log,
        track(() => {
          slow = undefined;
        }),
      );
      fast ??= startFastLane(
        track(() => {
          fast = undefined;
        }),
      );
      return { fast, slow };
    },
    fast: () => fast,
    slow: () => slow,
    failAll(error) {
      fast?.failAll(error);
      slow?.failAll(error);
    },
    oldestMs: () => Math.max(fast?.oldestMs() ?? 0, slow?.oldestMs() ?? 0),
    async finish(settled) {
      await fast?.control({ type: 'finish' });
      await settled();
      await slow?.call({ type: 'finish' });
      await Promise.all(running);
    },
    abandon() {
      fast?.abandon();
      slow?.abandon();
    },
  };
}

/** Only what the slow lane needs crosses into its thread. */
function slowSettings({ module, tokenLabel, pinFile, wrapMechanism }: Pkcs11Settings): SlowSettings {
  return { module, tokenLabel, pinFile, wrapMechanism };
}
