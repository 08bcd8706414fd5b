import type { Clock } from '../core/clock.ts';
import { createLru } from '../core/lru.ts';

/**
 * Tells how long rows have been seen unchanged, by this process's monotonic clock. A lease is over when nobody
 * has changed its row for its length while somebody watched: no wall clock is asked, so that none can be wrong.
 */
export interface Observer {
  /**
   * Milliseconds for which the row has been of this version; 0 when it is seen for the first time.
   * @param version changes whenever the row does
   * @param askedAt `monotonic()` before the row was read
   */
  quietMilliseconds(name: string, version: string, askedAt: number): number;
  forget(name: string): void;
}

interface Seen {
  readonly version: string;
  readonly since: number;
}

/** @param limit rows watched at once; one that is forgotten is watched anew, from the beginning */
export function createObserver(clock: Clock, limit = 10_000): Observer {
  const rows = createLru<Seen>();
  return {
    quietMilliseconds(name, version, askedAt) {
      const seen = rows.use(name);
      if (seen?.version === version) return Math.max(0, askedAt - seen.since);
      // From the end of the first reading to the beginning of the last: never longer than it was.
      rows.set(name, { version, since: clock.monotonic() });
      const oldest = rows.size > limit ? rows.oldest() : undefined;
      if (oldest !== undefined) rows.delete(oldest);
      return 0;
    },
    forget: (name) => rows.delete(name),
  };
}
