import type { Operations } from '../access/operations.ts';
import type { AuditLog } from '../audit/audit.ts';
import type { Clock } from '../core/clock.ts';
import type { Metrics } from '../core/metrics.ts';
import type { Jobs } from '../jobs/jobs.ts';
import type { AnyKind } from '../jobs/kinds.ts';
import { createLeases } from '../jobs/leases.ts';
import type { Keys } from '../keys/keys.ts';
import type { Revision } from '../store/revision.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store } from '../store/store.ts';
import { createChunkRunner } from './chunk.ts';
import { createRotationDefaults } from './defaults.ts';
import type { OnRotation } from './events.ts';
import { followDefaultKind } from './follow-default.ts';
import { createRotationOverview } from './overview.ts';
import { createReckoner } from './reckon.ts';
import { createRotation } from './rotation.ts';
import { createScheduler, type RotationLogger, type SchedulerLimits } from './scheduler.ts';
import { createSchedules } from './schedules.ts';
import { createSharedClock } from './shared-clock.ts';

export interface RotationParts {
  readonly store: Store;
  readonly rows: RowAuthenticator;
  readonly clock: Clock;
  readonly operations: Operations;
  readonly audit: AuditLog;
  readonly revision: Revision;
  readonly keys: Keys;
  readonly metrics: Metrics;
  readonly log: RotationLogger;
  readonly limits: Partial<SchedulerLimits> & { readonly minimumSeconds: number };
  readonly onRotation?: OnRotation | undefined;
}

/** Puts the parts of this capability together. The jobs come after their kinds. */
export function composeRotation(given: RotationParts) {
  const { minimumSeconds, ...limits } = given.limits;
  const parts = { ...given, clock: createSharedClock(given) };
  const schedules = createSchedules(parts);
  const leases = createLeases(given);
  const run = createChunkRunner({ ...parts, leases, many: parts.keys.many, schedules });
  const reckon = createReckoner({ ...parts, schedules });
  const scheduler = createScheduler({ ...parts, leases, run, reckon, limits });
  const kinds: readonly AnyKind[] = [followDefaultKind(parts)];
  return {
    kinds,
    scheduler,
    routes: (jobs: Jobs) => ({
      rotation: createRotation({ ...parts, minimumSeconds, onScheduled: () => void scheduler.look() }),
      rotationDefaults: createRotationDefaults({ ...parts, jobs, minimumSeconds }),
      rotationOverview: createRotationOverview(parts),
    }),
  };
}
