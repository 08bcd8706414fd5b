import { setTimeout as delay } from 'node:timers/promises';
import type { AuditLog } from './audit/audit.ts';
import type { Clock } from './core/clock.ts';
import type { Hsm } from './hsm/hsm.ts';
import type { Store } from './store/store.ts';

const probeMilliseconds = 2_000;

/**
 * What `/readyz` finds. The token's root is tried too, at most every two seconds: keys that are in the token
 * already go on working without it, new ones do not. A failed probe starts the reconnection; one that has no
 * answer after those two seconds is not waited for.
 */
export function createReadiness({
  hsm,
  store,
  audit,
  clock,
}: {
  hsm: Hsm;
  store: Store;
  audit: AuditLog;
  clock: Clock;
}) {
  let probedAt = Number.NEGATIVE_INFINITY;
  let probe: Promise<'answered'> | undefined;
  const word = (work: Promise<void>) =>
    work.then(
      () => 'ok',
      () => 'unavailable',
    );
  return async () => {
    const due = probe === undefined && clock.monotonic() - probedAt > probeMilliseconds;
    if (due && hsm.status().state === 'ready') {
      probedAt = clock.monotonic();
      probe = word(hsm.probe()).then(() => {
        probe = undefined;
        return 'answered';
      });
    }
    const leftMilliseconds = Math.max(0, probedAt + probeMilliseconds - clock.monotonic());
    const late =
      probe && (await Promise.race([probe, delay(leftMilliseconds, 'late', { ref: false })])) === 'late';
    const { state } = hsm.status();
    const checks = {
      hsm: state !== 'ready' ? state : late ? 'unavailable' : 'ok',
      database: await word(store.probe()),
      audit: audit.status().state === 'ready' ? 'ok' : 'unavailable',
    };
    return { ready: Object.values(checks).every((check) => check === 'ok'), checks };
  };
}
