import type { AuditLog } from '../audit/audit.ts';
import type { Clock } from '../core/clock.ts';
import { serviceNamespaceId } from '../core/ids.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store } from '../store/store.ts';
import { activeStates } from './chunks.ts';
import type { AnyKind, Json } from './kinds.ts';
import type { Leases } from './leases.ts';
import { prepareJob } from './new-job.ts';
import { systemEntry } from './settle.ts';

/** What the clocks of two machines may differ. */
const skewMilliseconds = 60_000;

/**
 * Makes the recurring jobs that are due: one process looks at a time, and what it makes commits only while it still
 * is the one. @returns whether one was made
 */
export function createSchedule({
  store,
  rows,
  clock,
  audit,
  leases,
  kinds,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: Clock;
  audit: AuditLog;
  leases: Leases;
  kinds: ReadonlyMap<string, AnyKind>;
}): () => Promise<boolean> {
  async function isDue(kind: string, everyMilliseconds: number): Promise<boolean> {
    const jobs = store.db
      .selectFrom('jobs')
      .selectAll()
      .where('namespace_id', '=', serviceNamespaceId)
      .where('kind', '=', kind);
    const now = clock.now();
    // What is of the future was made before the clock was set back: the next does not wait for it.
    const last = await jobs
      .where('created_at', '<=', now + skewMilliseconds)
      .orderBy('created_at', 'desc')
      .limit(1)
      .executeTakeFirst();
    if (last) await rows.verify('jobs', last);
    if (last && now - last.created_at < everyMilliseconds) return false;
    return !(await jobs.where('state', 'in', activeStates).limit(1).executeTakeFirst());
  }

  async function makeIfDue(kind: AnyKind, recurs: NonNullable<AnyKind['recurs']>): Promise<boolean> {
    if (!(await isDue(kind.kind, recurs.everyMilliseconds))) return false;
    const made = await leases.during(`jobs/schedule/${kind.kind}`, async (lease) => {
      if (!(await isDue(kind.kind, recurs.everyMilliseconds))) return false;
      const { input, piece } = recurs as { input: Json; piece: Json };
      const job = await prepareJob(
        { rows, clock },
        kind,
        { kind: kind.kind, input, pieces: [piece] },
        { namespaceId: serviceNamespaceId, createdBy: 'jobs' },
      );
      await audit.change(systemEntry(clock, 'jobs.create', job.row), async (tx) => {
        await leases.fenced(tx, lease);
        await job.insert(tx);
      });
      return true;
    });
    return made?.answer === true;
  }

  return async () => {
    let made = false;
    for (const kind of kinds.values()) {
      if (kind.recurs && (await makeIfDue(kind, kind.recurs))) made = true;
    }
    return made;
  };
}
