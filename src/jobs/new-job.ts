import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { JobChunkRow, JobRow } from '../store/job-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { StoreTransaction } from '../store/store.ts';
import { boundedJson } from './attempt.ts';
import { activeStates } from './chunks.ts';
import { type AnyKind, type Json, jobLimits } from './kinds.ts';

export interface JobRequest {
  readonly kind: string;
  /** As the kind's schemas take it. */
  readonly input: Json;
  /** One a chunk: 1 to 10,000. */
  readonly pieces: readonly Json[];
}

export interface NewJob {
  readonly row: JobRow;
  /** @throws job/too-many */
  insert(tx: StoreTransaction): Promise<void>;
}

const insertedRows = 500;

/**
 * Checks and seals the rows of a new job.
 * @throws RangeError for too many pieces or too large ones, ZodError for what the kind does not take
 */
export async function prepareJob(
  { rows, clock }: { rows: RowAuthenticator; clock: Clock },
  kind: AnyKind,
  { input, pieces }: JobRequest,
  { namespaceId, createdBy }: { namespaceId: string; createdBy: string },
): Promise<NewJob> {
  if (pieces.length < 1 || pieces.length > jobLimits.chunks) throw new RangeError('pieces: 1 to 10,000');
  kind.input.parse(input);
  for (const piece of pieces) kind.piece.parse(piece);
  const row = await rows.seal('jobs', {
    ...{ id: newId(), namespace_id: namespaceId, kind: kind.kind, input: textOf(input) },
    ...{ chunks: pieces.length, state: 'queued', created_by: createdBy, error_code: null, result: null },
    ...{ created_at: clock.now(), started_at: null, finished_at: null, revision: 1 },
  });
  const chunks = await Promise.all(
    pieces.map(async (piece, ordinal) => {
      const sealed = await rows.seal('job_chunks', {
        ...{ job_id: row.id, ordinal, namespace_id: namespaceId, piece: textOf(piece), state: 'open' },
        ...{ cursor: null, done: 0, total: null, attempts: 0, error_code: null, result: null, revision: 1 },
      });
      return { ...sealed, holder: null, fence: 0, beat: 0, quiet_milliseconds: 0 };
    }),
  );
  return { row, insert: (tx) => insertJob(tx, row, chunks) };
}

function textOf(value: Json): string {
  return boundedJson(value) ?? 'null';
}

async function insertJob(tx: StoreTransaction, row: JobRow, chunks: readonly JobChunkRow[]): Promise<void> {
  await tx.insertInto('jobs').values(row).execute();
  const { count } = await tx
    .selectFrom('jobs')
    .select((build) => build.fn.countAll().as('count'))
    .where('namespace_id', '=', row.namespace_id)
    .where('state', 'in', activeStates)
    .executeTakeFirstOrThrow();
  if (Number(count) > jobLimits.active) {
    const detail =
      'The namespace has as many jobs as it may that wait or run: try again when some are finished.';
    throw new ServiceError('job/too-many', detail, { retryAfterSeconds: 60 });
  }
  for (let at = 0; at < chunks.length; at += insertedRows) {
    await tx
      .insertInto('job_chunks')
      .values(chunks.slice(at, at + insertedRows))
      .execute();
  }
}
