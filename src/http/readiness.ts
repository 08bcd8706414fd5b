import type { Clock } from '../core/clock.ts';
import type { ReadyCheck } from './system.ts';

export interface Steadiness {
  /** What is bad for so long, at two looks at least, is not ready any more. Default 1,000. */
  readonly badMs?: number;
  /** What is good again for so long is ready again. Default 3,000. */
  readonly goodMs?: number;
}

/**
 * Readiness that does not flutter: a part that fails for a moment takes no process out of its balancer, and one that
 * comes and goes does not bring it back each time. The first look decides at once. Looks happen when somebody asks.
 * `checks` are those of the moment.
 */
export function steadyReadiness(
  check: ReadyCheck,
  clock: Clock,
  { badMs = 1_000, goodMs = 3_000 }: Steadiness = {},
): ReadyCheck {
  let ready: boolean | undefined;
  /** Since when looks differ from what is said. */
  let differsSince: number | undefined;
  return async () => {
    const found = await check();
    const at = clock.monotonic();
    ready ??= found.ready;
    if (found.ready === ready) differsSince = undefined;
    else if (at - (differsSince ??= at) >= (ready ? badMs : goodMs)) {
      ready = found.ready;
      differsSince = undefined;
    }
    return { ready, checks: found.checks };
  };
}
