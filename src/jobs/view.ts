import type { JobRow, JobState } from '../store/job-rows.ts';
import type { Store } from '../store/store.ts';
import type { Json } from './kinds.ts';

export interface JobView {
  readonly id: string;
  readonly kind: string;
  readonly state: JobState;
  /** In the kind's own unit, by what the chunks committed. */
  readonly done: number;
  /** Undefined while no one knows. */
  readonly total?: number;
  readonly chunks: { readonly total: number; readonly done: number; readonly failed: number };
  /** Since it was started; undefined before anything is done. */
  readonly ratePerSecond?: number;
  readonly secondsLeft?: number;
  readonly createdBy: string;
  /** Milliseconds. */
  readonly createdAt: number;
  readonly startedAt?: number;
  readonly finishedAt?: number;
  /** Of what made it fail, or of the last attempt that did while others follow. */
  readonly code?: string;
  readonly result?: Json;
}

export interface Progress {
  readonly done: number;
  readonly total: number | undefined;
  readonly chunksDone: number;
  readonly chunksFailed: number;
  readonly code: string | undefined;
}

/** How far jobs are. Informational: their chunks' MACs are checked where something rests on them. */
export async function progressOf(store: Store, jobIds: readonly string[]): Promise<Map<string, Progress>> {
  if (jobIds.length === 0) return new Map();
  const found = await store.db
    .selectFrom('job_chunks')
    .select(['job_id'])
    .select(({ fn, eb }) => [
      fn.sum('done').as('done'),
      fn.sum('total').as('total'),
      fn.count('total').as('totals'),
      fn.countAll().as('chunks'),
      fn.sum(eb.case().when('state', '=', 'done').then(1).else(0).end()).as('chunks_done'),
      fn.sum(eb.case().when('state', '=', 'failed').then(1).else(0).end()).as('chunks_failed'),
      fn.max('error_code').as('code'),
    ])
    .where('job_id', 'in', jobIds)
    .groupBy('job_id')
    .execute();
  return new Map(
    found.map((row) => [
      row.job_id,
      {
        done: Number(row.done),
        total: Number(row.totals) === Number(row.chunks) ? Number(row.total) : undefined,
        chunksDone: Number(row.chunks_done),
        chunksFailed: Number(row.chunks_failed),
        code: row.code ?? undefined,
      },
    ]),
  );
}

export function jobView(row: Omit<JobRow, 'mac'>, progress: Progress | undefined, now: number): JobView {
  const { done = 0, total, chunksDone = 0, chunksFailed = 0 } = progress ?? {};
  const code = row.error_code ?? progress?.code;
  return {
    ...{ id: row.id, kind: row.kind, state: row.state, done, ...(total !== undefined && { total }) },
    chunks: { total: row.chunks, done: chunksDone, failed: chunksFailed },
    ...paceOf(row, done, total, now),
    ...{ createdBy: row.created_by, createdAt: row.created_at },
    ...(row.started_at !== null && { startedAt: row.started_at }),
    ...(row.finished_at !== null && { finishedAt: row.finished_at }),
    ...(code !== undefined && { code }),
    ...(row.result !== null && { result: JSON.parse(row.result) as Json }),
  };
}

function paceOf(
  row: Pick<JobRow, 'state' | 'started_at' | 'finished_at'>,
  done: number,
  total: number | undefined,
  now: number,
): Pick<JobView, 'ratePerSecond' | 'secondsLeft'> {
  const seconds = ((row.finished_at ?? now) - (row.started_at ?? now)) / 1000;
  // A clock that was set back says nothing of speed.
  if (done <= 0 || seconds <= 0) return {};
  const ratePerSecond = done / seconds;
  if (row.state !== 'running' || total === undefined) return { ratePerSecond };
  return { ratePerSecond, secondsLeft: Math.max(0, Math.ceil((total - done) / ratePerSecond)) };
}
