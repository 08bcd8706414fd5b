import type { Caller } from '../access/caller.ts';
import type { Operation, Operations } from '../access/operations.ts';
import type { AuditLog } from '../audit/audit.ts';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { serviceNamespaceId } from '../core/ids.ts';
import type { Metrics } from '../core/metrics.ts';
import { cutPage, idAfter, type Page, type PageRequest } from '../core/page.ts';
import type { JobRow, JobState } from '../store/job-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import type { Outcome } from './attempt.ts';
import { activeStates, createChunks, withdrawChunks } from './chunks.ts';
import type { AnyKind } from './kinds.ts';
import { createLeases, leaseMilliseconds } from './leases.ts';
import { type JobRequest, prepareJob } from './new-job.ts';
import { createRunner, type JobLogger, type RunnerLimits } from './runner.ts';
import { createSchedule } from './schedule.ts';
import { createSettlement } from './settle.ts';
import { type JobView, jobView, progressOf } from './view.ts';

export interface JobList extends PageRequest {
  readonly state?: JobState | undefined;
  readonly kind?: string | undefined;
  /** The jobs of the service itself, for `service:admin`. */
  readonly service?: boolean | undefined;
}

export interface Jobs {
  /**
   * Makes a job in the caller's namespace as an operation's change: with its record, and with what `also` writes,
   * which learns the job's id. A free process begins at once.
   * @throws job/too-many, RangeError, ZodError: see prepareJob
   */
  enqueue(
    caller: Caller,
    operation: Operation,
    request: JobRequest,
    also?: (tx: StoreTransaction, jobId: string) => Promise<void>,
  ): Promise<JobView>;
  /** Oldest first. */
  list(caller: Caller, request: JobList): Promise<Page<JobView>>;
  /** @throws job/not-found */
  get(caller: Caller, jobId: string): Promise<JobView>;
  /**
   * Once this is answered, nothing of the job takes effect any more; what it did stays. Doing it again changes nothing.
   * @throws job/not-found, job/finished
   */
  cancel(caller: Caller, jobId: string): Promise<JobView>;
  /** Begins to work on the jobs of all processes. */
  start(): void;
  /** Chunks at work in this process. */
  running(): number;
  /** Gives back what is at work. */
  close(): Promise<void>;
}

const scheduleMilliseconds = 60_000;
const cancelTries = 10;

const defaultLimits: RunnerLimits = {
  concurrency: 2,
  pollMilliseconds: 2_000,
  leaseMilliseconds,
  turnMilliseconds: 10_000,
  stallMilliseconds: 600_000,
  backoffMilliseconds: 1_000,
  closeMilliseconds: 5_000,
};

/** @param kinds those this process can do; of others it leaves the jobs to other processes */
export function createJobs({
  store,
  rows,
  clock,
  operations,
  audit,
  kinds: given,
  limits: changed,
  log,
  metrics,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: Clock;
  operations: Operations;
  audit: AuditLog;
  kinds: readonly AnyKind[];
  limits?: Partial<RunnerLimits>;
  log: JobLogger;
  metrics: Metrics;
}): Jobs {
  const kinds = new Map(given.map((kind) => [kind.kind, kind]));
  const limits = { ...defaultLimits, ...changed };
  const settlement = createSettlement({
    ...{ store, rows, clock, audit, kinds },
    onUnfinished: (job, error) => log('warn', 'jobs.not-finished', { job, code: codeOf(error) }),
  });
  const runner = createRunner({
    ...{ store, clock, settlement, kinds, limits, log, onOutcome: countOutcomes(metrics) },
    chunks: createChunks({ store, rows }),
  });
  const running = metrics
    .gauge({ name: 'stathera_job_chunks_running', help: 'Chunks of jobs at work here' })
    .with({});
  metrics.onCollect(() => running.set(runner.running()));
  const leases = createLeases({ store, clock });
  const makeDue = createSchedule({ store, rows, clock, audit, leases, kinds });
  let timer: NodeJS.Timeout | undefined;
  let making: Promise<void> = Promise.resolve();

  /** Those of another namespace are not there. */
  async function visible(caller: Caller, jobId: string): Promise<JobRow> {
    const row = await store.db.selectFrom('jobs').selectAll().where('id', '=', jobId).executeTakeFirst();
    const { namespaceId, scopes } = caller.principal;
    const own = row?.namespace_id === namespaceId;
    if (!row || !(own || (row.namespace_id === serviceNamespaceId && scopes.has('service:admin')))) {
      throw new ServiceError('job/not-found', 'There is no such job.');
    }
    await rows.verify('jobs', row);
    return row;
  }

  const view = async (row: Omit<JobRow, 'mac'>) =>
    jobView(row, (await progressOf(store, [row.id])).get(row.id), clock.now());

  function cancelled({ mac: _, ...row }: JobRow): Promise<JobRow> {
    const { revision } = row;
    return rows.seal('jobs', {
      ...{ ...row, state: 'cancelled', finished_at: clock.now(), revision: revision + 1 },
    });
  }

  /** @returns false when it began or ended at this moment */
  async function wrote(operation: Operation, row: JobRow, next: JobRow): Promise<boolean> {
    const overtaken = new Error('overtaken');
    try {
      await operation.change(async (tx) => {
        const { numUpdatedRows } = await tx
          .updateTable('jobs')
          .set(next)
          .where('id', '=', row.id)
          .where('revision', '=', row.revision)
          .executeTakeFirst();
        if (numUpdatedRows !== 1n) throw overtaken;
        await withdrawChunks(tx, row.id);
      });
      return true;
    } catch (error) {
      if (error === overtaken) return false;
      throw error;
    }
  }

  function schedule(): void {
    making = makeDue().then(
      (made) => {
        if (made) runner.wake();
      },
      (error: unknown) => log('warn', 'jobs.not-scheduled', { code: codeOf(error) }),
    );
  }

  return {
    async enqueue(caller, operation, request, also) {
      const kind = kinds.get(request.kind);
      if (!kind) throw new TypeError(`no such kind of job: ${request.kind}`);
      const { namespaceId, id: createdBy } = caller.principal;
      const job = await prepareJob({ rows, clock }, kind, request, { namespaceId, createdBy });
      operation.target({ kind: 'job', id: job.row.id, name: kind.kind });
      const made = await operation.change(async (tx) => {
        await job.insert(tx);
        await also?.(tx, job.row.id);
        return jobView(job.row, undefined, job.row.created_at);
      });
      runner.wake();
      return made;
    },

    list(caller, { limit, cursor, state, kind, service = false }) {
      return operations.run(caller, 'jobs.list', { kind: 'job' }, async () => {
        if (service && !caller.principal.scopes.has('service:admin')) {
          throw new ServiceError('access/denied', 'The jobs of the service need the scope service:admin.');
        }
        const found = await store.db
          .selectFrom('jobs')
          .selectAll()
          .where('namespace_id', '=', service ? serviceNamespaceId : caller.principal.namespaceId)
          .where('id', '>', idAfter(cursor))
          .$if(state !== undefined, (query) => query.where('state', '=', state as JobState))
          .$if(kind !== undefined, (query) => query.where('kind', '=', kind as string))
          .orderBy('id')
          .limit(limit + 1)
          .execute();
        const { rows: page, next } = cutPage(found, limit, (row) => row.id);
        await Promise.all(page.map((row) => rows.verify('jobs', row)));
        const progress = await progressOf(
          store,
          page.map(({ id }) => id),
        );
        const now = clock.now();
        return { items: page.map((row) => jobView(row, progress.get(row.id), now)), ...next };
      });
    },

    get(caller, jobId) {
      return operations.run(caller, 'jobs.describe', { kind: 'job', id: jobId }, async (operation) => {
        const row = await visible(caller, jobId);
        operation.target({ kind: 'job', id: row.id, name: row.kind });
        return await view(row);
      });
    },

    cancel(caller, jobId) {
      return operations.run(caller, 'jobs.cancel', { kind: 'job', id: jobId }, async (operation) => {
        for (let tries = 1; ; tries += 1) {
          const row = await visible(caller, jobId);
          operation.target({ kind: 'job', id: row.id, name: row.kind });
          if (row.state === 'cancelled') return await view(row);
          if (!activeStates.includes(row.state)) throw finished();
          const next = await cancelled(row);
          if (await wrote(operation, row, next)) return await view(next);
          if (tries >= cancelTries) throw new Error('the job changes all the time');
        }
      });
    },

    start() {
      if (limits.concurrency > 0) runner.start();
      schedule();
      timer = setInterval(schedule, scheduleMilliseconds).unref();
    },
    running: runner.running,
    async close() {
      clearInterval(timer);
      await making;
      await runner.close();
    },
  };
}

const outcomes: readonly Outcome[] = ['done', 'failed', 'retried', 'given-back', 'lost'];

function countOutcomes(metrics: Metrics): (outcome: Outcome) => void {
  const name = 'stathera_job_attempts_total';
  const attempts = metrics.counter({
    name,
    help: 'Attempts at chunks of jobs, by outcome',
    labels: ['outcome'],
  });
  const series = new Map(outcomes.map((outcome) => [outcome, attempts.with({ outcome })]));
  return (outcome) => series.get(outcome)?.add();
}

function finished(): ServiceError {
  return new ServiceError('job/finished', 'The job is finished: there is nothing to cancel.');
}

function codeOf(error: unknown): string {
  return error instanceof ServiceError ? error.code : 'internal';
}
