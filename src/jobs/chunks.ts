import { randomUUID } from 'node:crypto';
import { type Kysely, sql } from 'kysely';
import type { JobChunkRow, JobRow } from '../store/job-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Schema } from '../store/schema.ts';
import type { Store, StoreTransaction } from '../store/store.ts';
import { leaseLost } from './leases.ts';

type SealedChunk = Omit<JobChunkRow, 'mac' | 'holder' | 'fence' | 'beat' | 'quiet_milliseconds'>;

/** A chunk that this process has. */
export interface HeldChunk {
  readonly fence: number;
  /** As it was committed last. */
  row: SealedChunk;
}

export type ChunkChange = Partial<
  Pick<SealedChunk, 'state' | 'cursor' | 'done' | 'total' | 'attempts' | 'error_code' | 'result'>
>;

/** The rows of chunks: a lease, and how far the work is, in one row. */
export interface Chunks {
  /** Namespaces with jobs of `kinds` that are not finished, in turn from the one after `after`. */
  namespaces(kinds: readonly string[], after: string): Promise<string[]>;
  /** Chunks that anyone may have; of each job the first, then of each the second, and so on. */
  free(namespaceId: string, kinds: readonly string[], limit: number): Promise<JobChunkRow[]>;
  /** Chunks that somebody has, or that wait for another attempt. */
  watched(namespaceId: string, kinds: readonly string[], limit: number): Promise<JobChunkRow[]>;
  /**
   * Takes a chunk, as one attempt, unless it changed since it was read or its job is over.
   * @throws internal for an altered row
   */
  claim(read: JobChunkRow, milliseconds: number): Promise<HeldChunk | undefined>;
  /** @throws lease/lost */
  renew(chunk: HeldChunk): Promise<void>;
  /** Prepares a change, which the function given back writes. @param quiet set: gives the chunk back, see JobChunkRow */
  change(chunk: HeldChunk, change: ChunkChange, quiet?: number): Promise<PreparedChange>;
}

export interface PreparedChange {
  readonly row: SealedChunk;
  /** @throws lease/lost */
  write(db: Kysely<Schema>): Promise<void>;
}

export const activeStates: readonly JobRow['state'][] = ['queued', 'running'];
/** Namespaces looked at in one turn. */
const turnNamespaces = 64;
/** Value of `quiet_milliseconds`. */
export const nothingMore = -1;

export function createChunks({ store, rows }: { store: Store; rows: RowAuthenticator }): Chunks {
  const holder = randomUUID();

  async function namespacesAfter(kinds: readonly string[], after: string): Promise<string[]> {
    const found = await store.db
      .selectFrom('jobs')
      .select('namespace_id')
      .distinct()
      .where('state', 'in', activeStates)
      .where('kind', 'in', kinds)
      .where('namespace_id', '>', after)
      .orderBy('namespace_id')
      .limit(turnNamespaces)
      .execute();
    return found.map((row) => row.namespace_id);
  }

  const open = (namespaceId: string, kinds: readonly string[]) =>
    store.db
      .selectFrom('job_chunks')
      .innerJoin('jobs', 'jobs.id', 'job_chunks.job_id')
      .selectAll('job_chunks')
      .where('job_chunks.namespace_id', '=', namespaceId)
      .where('job_chunks.state', '=', 'open')
      .where('jobs.state', 'in', activeStates)
      .where('jobs.kind', 'in', kinds)
      .orderBy('job_chunks.ordinal')
      .orderBy('job_chunks.job_id');

  return {
    async namespaces(kinds, after) {
      const found = await namespacesAfter(kinds, after);
      if (after === '' || found.length >= turnNamespaces) return found;
      const before = await namespacesAfter(kinds, '');
      return [...found, ...before.filter((namespaceId) => !found.includes(namespaceId))];
    },

    free: (namespaceId, kinds, limit) =>
      open(namespaceId, kinds).where('job_chunks.quiet_milliseconds', '=', 0).limit(limit).execute(),

    watched: (namespaceId, kinds, limit) =>
      open(namespaceId, kinds).where('job_chunks.quiet_milliseconds', '>', 0).limit(limit).execute(),

    async claim(read, milliseconds) {
      await rows.verify('job_chunks', read);
      const sealed = await rows.seal('job_chunks', {
        ...sealedPart(read),
        attempts: read.attempts + 1,
        revision: read.revision + 1,
      });
      const fence = read.fence + 1;
      const { numUpdatedRows } = await store.db
        .updateTable('job_chunks')
        .set({ attempts: sealed.attempts, revision: sealed.revision, mac: sealed.mac })
        .set({ holder, fence, beat: read.beat + 1, quiet_milliseconds: milliseconds })
        .where('job_id', '=', read.job_id)
        .where('ordinal', '=', read.ordinal)
        .where('fence', '=', read.fence)
        .where('beat', '=', read.beat)
        .where('revision', '=', read.revision)
        .where(({ exists, selectFrom }) =>
          exists(
            selectFrom('jobs')
              .select('jobs.id')
              .where('jobs.id', '=', read.job_id)
              .where('jobs.state', 'in', activeStates),
          ),
        )
        .executeTakeFirst();
      return numUpdatedRows === 1n ? { fence, row: sealedPart(sealed) } : undefined;
    },

    async renew({ fence, row }) {
      const { numUpdatedRows } = await store.db
        .updateTable('job_chunks')
        .set({ beat: sql<number>`beat + 1` })
        .where('job_id', '=', row.job_id)
        .where('ordinal', '=', row.ordinal)
        .where('fence', '=', fence)
        .where('holder', '=', holder)
        .executeTakeFirst();
      if (numUpdatedRows !== 1n) throw leaseLost();
    },

    async change({ fence, row }, change, quiet) {
      const next = await rows.seal('job_chunks', { ...row, ...change, revision: row.revision + 1 });
      const { job_id: jobId, ordinal, namespace_id: _, piece: __, ...values } = next;
      return {
        row: sealedPart(next),
        async write(db) {
          const { numUpdatedRows } = await db
            .updateTable('job_chunks')
            .set({ ...values, beat: sql<number>`beat + 1` })
            .$if(quiet !== undefined, (update) =>
              update.set({ holder: null, quiet_milliseconds: quiet ?? 0 }),
            )
            .where('job_id', '=', jobId)
            .where('ordinal', '=', ordinal)
            .where('fence', '=', fence)
            .where('holder', '=', holder)
            .where('revision', '=', row.revision)
            .executeTakeFirst();
          if (numUpdatedRows !== 1n) throw leaseLost();
        },
      };
    },
  };
}

/** Nobody who has a chunk of the job may change anything more, and nobody gets another. */
export async function withdrawChunks(tx: StoreTransaction, jobId: string): Promise<void> {
  await tx
    .updateTable('job_chunks')
    .set({ fence: sql<number>`fence + 1`, holder: null, quiet_milliseconds: nothingMore })
    .where('job_id', '=', jobId)
    .execute();
}

function sealedPart(row: SealedChunk): SealedChunk {
  const { job_id, ordinal, namespace_id, piece, state, cursor } = row;
  const { done, total, attempts, error_code, result, revision } = row;
  return {
    ...{ job_id, ordinal, namespace_id, piece, state, cursor },
    ...{ done, total, attempts, error_code, result, revision },
  };
}
