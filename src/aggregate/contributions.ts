import type { Caller } from '../access/caller.ts';
import type { Operation, Operations } from '../access/operations.ts';
import { concatBytes, equalBytes } from '../core/bytes.ts';
import type { Clock } from '../core/clock.ts';
import { isServiceError, ServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { ContributionRow, DatasetEpochRow } from '../store/dataset-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import { isUniqueViolation, type Store, type StoreTransaction } from '../store/store.ts';
import { type Dataset, datasetTarget, mayContribute } from './dataset.ts';
import { epochClosed, notContributor } from './datasets.ts';
import type { DatasetLookup } from './lookup.ts';
import { type JudgedCiphertext, judgeUpload, refused } from './upload.ts';

export interface ContributeRequest {
  readonly dataset: string;
  readonly epoch: number;
  /** From 1: which of the caller's in this epoch. */
  readonly ordinal: number;
  readonly upload: Uint8Array;
}

export interface ContributionView {
  readonly id: string;
  readonly datasetId: string;
  readonly epoch: number;
  readonly contributorId: string;
  readonly ordinal: number;
  readonly ciphertexts: number;
  /** Milliseconds. */
  readonly receivedAt: number;
}

export interface Contributions {
  /**
   * Keeps a contribution, once: the same one sent again is answered as it was.
   * @throws contribution/refused, contribution/exists for another one in its place, contribution/too-many,
   *   dataset/epoch-closed, dataset/epoch-not-found, dataset/not-found
   */
  contribute(caller: Caller, request: ContributeRequest): Promise<ContributionView>;
}

export function createContributions({
  store,
  rows,
  operations,
  clock,
  lookup,
}: {
  store: Store;
  rows: RowAuthenticator;
  operations: Operations;
  clock: Clock;
  lookup: DatasetLookup;
}): Contributions {
  async function found(epoch: DatasetEpochRow, contributorId: string, ordinal: number) {
    const row: ContributionRow | undefined = await store.db
      .selectFrom('contributions')
      .selectAll()
      .where('epoch_id', '=', epoch.id)
      .where('contributor_id', '=', contributorId)
      .where('ordinal', '=', ordinal)
      .executeTakeFirst();
    if (row) await rows.verify('contributions', row);
    return row;
  }

  async function keep(
    operation: Operation,
    { epoch, dataset }: { epoch: DatasetEpochRow; dataset: Dataset },
    contributor: { id: string; ordinal: number },
    judged: readonly JudgedCiphertext[],
  ): Promise<ContributionRow> {
    const row = await rows.seal('contributions', {
      ...{ id: newId(), namespace_id: dataset.namespaceId, dataset_id: dataset.id, epoch_id: epoch.id },
      ...{ contributor_id: contributor.id, ordinal: contributor.ordinal },
      ...{ ciphertext_digests: joined(judged), created_at: clock.now(), revision: 1 },
    });
    await operation.change(async (tx) => {
      await count(tx, dataset, epoch);
      await insert(tx, row, judged);
    });
    return row;
  }

  return {
    contribute: (caller, { dataset: ref, epoch: wanted, ordinal, upload }) =>
      operations.run(caller, 'datasets.contribute', { kind: 'dataset', name: ref }, async (operation) => {
        const { id: contributorId } = caller.principal;
        const { dataset } = await lookup.find(caller.principal, ref);
        if (!mayContribute(caller.principal, dataset)) throw notContributor();
        const epoch = await lookup.epoch(dataset, wanted);
        operation.target(datasetTarget(dataset, epoch.ordinal));
        if (ordinal > dataset.policy.contributionsPerContributor) throw tooMany();
        const judged = judgeUpload(dataset, { manifest: epoch.manifest, contributorId, ordinal }, upload);
        const before = await found(epoch, contributorId, ordinal);
        if (before) return contributionView(again(before, judged), epoch);
        if (epoch.state !== 'open') throw epochClosed();
        try {
          const row = await keep(operation, { epoch, dataset }, { id: contributorId, ordinal }, judged);
          return contributionView(row, epoch);
        } catch (error) {
          // The same one may have been kept a moment ago.
          const winner =
            isServiceError(error, 'contribution/exists') && (await found(epoch, contributorId, ordinal));
          if (!winner) throw error;
          return contributionView(again(winner, judged), epoch);
        }
      }),
  };
}

/** @throws contribution/exists unless it is the same one, sent again */
function again(before: ContributionRow, judged: readonly JudgedCiphertext[]): ContributionRow {
  if (equalBytes(before.ciphertext_digests, joined(judged))) return before;
  throw new ServiceError('contribution/exists', 'Another contribution has this place in the epoch.');
}

function joined(judged: readonly JudgedCiphertext[]): Uint8Array {
  return concatBytes(...judged.map(({ digest }) => digest));
}

/** One transaction after the other changes the epoch's row: none is counted beyond the limit, or after its end. */
async function count(tx: StoreTransaction, { policy }: Dataset, epoch: DatasetEpochRow): Promise<void> {
  const counted = await tx
    .updateTable('dataset_epochs')
    .set((row) => ({ contributions: row('contributions', '+', 1) }))
    .where('id', '=', epoch.id)
    .where('state', '=', 'open')
    .where('contributions', '<', policy.contributions)
    .executeTakeFirst();
  if (counted.numUpdatedRows === 1n) return;
  const now = await tx
    .selectFrom('dataset_epochs')
    .select('state')
    .where('id', '=', epoch.id)
    .executeTakeFirst();
  throw now?.state === 'open' ? tooMany() : epochClosed();
}

async function insert(
  tx: StoreTransaction,
  row: ContributionRow,
  judged: readonly JudgedCiphertext[],
): Promise<void> {
  try {
    await tx.insertInto('contributions').values(row).execute();
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    throw new ServiceError('contribution/exists', 'Another contribution has this place in the epoch.');
  }
  for (const [place, { residues, digest }] of judged.entries()) {
    try {
      await tx
        .insertInto('contribution_ciphertexts')
        .values({
          ...{ epoch_id: row.epoch_id, place, contribution_id: row.id, namespace_id: row.namespace_id },
          ...{ digest, residues },
        })
        .execute();
    } catch (error) {
      throw isUniqueViolation(error) ? refused('A ciphertext of it was contributed before.') : error;
    }
  }
}

function contributionView(row: ContributionRow, epoch: DatasetEpochRow): ContributionView {
  return {
    id: row.id,
    datasetId: row.dataset_id,
    epoch: epoch.ordinal,
    contributorId: row.contributor_id,
    ordinal: row.ordinal,
    ciphertexts: row.ciphertext_digests.length / 32,
    receivedAt: row.created_at,
  };
}

function tooMany(): ServiceError {
  return new ServiceError(
    'contribution/too-many',
    'The epoch takes no more contributions, or none of this number.',
  );
}
