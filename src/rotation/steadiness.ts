import type { SharedClock } from './shared-clock.ts';

/** Larger steps than this are not the drift that is set right all the time. */
const noticedMilliseconds = 60_000;

/**
 * Notices when the wall clock steps, against the one that never does. A clock that was wrong for a moment makes nothing
 * due: after a step it must run evenly for a while before it is believed.
 */
export function createSteadiness(
  clock: SharedClock,
  settleMilliseconds: number,
): { isSteady(): Promise<boolean> } {
  let offset: number | undefined;
  let steppedAt = Number.NEGATIVE_INFINITY;
  return {
    async isSteady() {
      const wall = await clock.now();
      const monotonic = clock.monotonic();
      const found = wall - monotonic;
      offset ??= found;
      if (Math.abs(found - offset) > noticedMilliseconds) {
        offset = found;
        steppedAt = monotonic;
      }
      return monotonic - steppedAt >= settleMilliseconds;
    },
  };
}
