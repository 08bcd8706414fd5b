import type { AuditLog } from '../audit/audit.ts';
import type { AuditEntry } from '../audit/entry.ts';
import type { Clock } from '../core/clock.ts';
import { type ErrorCode, ServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { JobChunkRow, JobRow } from '../store/job-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store } from '../store/store.ts';
import { boundedJson } from './attempt.ts';
import { activeStates } from './chunks.ts';
import type { AnyKind, Json } from './kinds.ts';
import { leaseLost } from './leases.ts';

/** Jobs begin and end here. */
export interface Settlement {
  /** A job whose first chunk was taken runs. @returns the row, authenticated; undefined when it is over or unknown */
  begin(jobId: string): Promise<JobRow | undefined>;
  /** Ends a job that has no open chunk, with its record; whoever comes second does nothing. */
  finish(jobId: string): Promise<void>;
  /** Ends what a process left that was killed before it could; what cannot be ended is told of. */
  finishLeft(kinds: readonly string[]): Promise<void>;
}

/** Read at a time. */
const pageRows = 500;
const leftJobs = 20;

export function createSettlement({
  store,
  rows,
  clock,
  audit,
  kinds,
  onUnfinished,
}: {
  store: Store;
  rows: RowAuthenticator;
  clock: Clock;
  audit: AuditLog;
  kinds: ReadonlyMap<string, AnyKind>;
  onUnfinished: (jobId: string, error: unknown) => void;
}): Settlement {
  async function active(jobId: string): Promise<JobRow | undefined> {
    const row = await store.db.selectFrom('jobs').selectAll().where('id', '=', jobId).executeTakeFirst();
    if (!row || !activeStates.includes(row.state)) return undefined;
    await rows.verify('jobs', row);
    return row;
  }

  /** Everything is authenticated that the answer rests on. */
  async function summary(job: JobRow): Promise<Pick<JobRow, 'state' | 'error_code' | 'result'> | undefined> {
    const merge = kinds.get(job.kind)?.merge;
    let result: Json | undefined;
    let errorCode: string | null = null;
    for (let from = 0; from < job.chunks; from += pageRows) {
      const page = await chunkPage(store, job.id, from);
      // Rows that are gone were taken away: no job has ended by that.
      if (page.length !== Math.min(pageRows, job.chunks - from)) throw missing();
      for (const chunk of page) {
        if (chunk.state === 'open') return undefined;
        await rows.verify('job_chunks', chunk);
        if (chunk.state === 'failed') errorCode ??= chunk.error_code ?? 'internal';
        if (chunk.result === null) continue;
        const own = JSON.parse(chunk.result) as Json;
        if (result === undefined) result = own;
        else if (merge) result = merge(result, own);
      }
    }
    return {
      state: errorCode === null ? 'done' : 'failed',
      error_code: errorCode,
      result: job.chunks === 1 || merge ? boundedJson(result) : null,
    };
  }

  async function finish(jobId: string): Promise<void> {
    const open = await store.db
      .selectFrom('job_chunks')
      .select('ordinal')
      .where('job_id', '=', jobId)
      .where('state', '=', 'open')
      .limit(1)
      .executeTakeFirst();
    if (open) return;
    const job = await active(jobId);
    const end = job && (await summary(job));
    if (!job || !end) return;
    const { mac: _, ...current } = job;
    const next = await rows.seal('jobs', {
      ...{ ...current, ...end, finished_at: clock.now(), revision: job.revision + 1 },
    });
    const entry = systemEntry(clock, 'jobs.finish', next);
    const failure = { outcome: 'failed' as const, code: end.error_code as ErrorCode };
    const gone = leaseLost();
    await audit
      .change(end.error_code === null ? entry : { ...entry, ...failure }, async (tx) => {
        const { numUpdatedRows } = await tx
          .updateTable('jobs')
          .set(next)
          .where('id', '=', jobId)
          .where('revision', '=', job.revision)
          .executeTakeFirst();
        if (numUpdatedRows !== 1n) throw gone;
      })
      .catch((error: unknown) => {
        if (error !== gone) throw error;
      });
  }

  return {
    finish,

    async begin(jobId) {
      const job = await active(jobId);
      if (job?.state !== 'queued') return job;
      const { mac: _, ...current } = job;
      const next = await rows.seal('jobs', {
        ...{ ...current, state: 'running', started_at: clock.now(), revision: job.revision + 1 },
      });
      await store.db
        .updateTable('jobs')
        .set(next)
        .where('id', '=', jobId)
        .where('revision', '=', job.revision)
        .execute();
      return job;
    },

    async finishLeft(known) {
      const left = await store.db
        .selectFrom('jobs')
        .select('id')
        .where('state', 'in', activeStates)
        .where('kind', 'in', known)
        .where(({ not, exists, selectFrom }) =>
          not(
            exists(
              selectFrom('job_chunks')
                .select('job_chunks.ordinal')
                .whereRef('job_chunks.job_id', '=', 'jobs.id')
                .where('job_chunks.state', '=', 'open'),
            ),
          ),
        )
        .limit(leftJobs)
        .execute();
      for (const { id } of left) {
        // One that cannot be ended must not keep the others from their work.
        await finish(id).catch((error: unknown) => onUnfinished(id, error));
      }
    },
  };
}

async function chunkPage(store: Store, jobId: string, from: number): Promise<JobChunkRow[]> {
  return await store.db
    .selectFrom('job_chunks')
    .selectAll()
    .where('job_id', '=', jobId)
    .where('ordinal', '>=', from)
    .where('ordinal', '<', from + pageRows)
    .orderBy('ordinal')
    .execute();
}

function missing(): ServiceError {
  return new ServiceError('internal', 'A stored record is missing.', {
    cause: new Error('chunk row missing'),
  });
}

/** The record of what jobs do of their own accord; all records of a job can be found by its id. */
export function systemEntry(
  clock: Clock,
  action: string,
  job: Pick<JobRow, 'id' | 'namespace_id' | 'kind'>,
): AuditEntry {
  return {
    ...{ id: newId(), time: clock.now(), namespaceId: job.namespace_id, requestId: job.id },
    principal: { kind: 'system', name: 'jobs' },
    action,
    target: { kind: 'job', id: job.id, name: job.kind },
    outcome: 'allowed',
  };
}
