import { ServiceError } from '../../core/errors.ts';
import type { DatasetEpochRow } from '../../store/dataset-rows.ts';
import type { Store } from '../../store/store.ts';
import type { Dataset } from '../dataset.ts';
import { shredded } from '../epochs.ts';
import type { DatasetLookup } from '../lookup.ts';
import type { Query } from './query.ts';

/** The epochs of a query, authenticated. @throws dataset/epoch-not-found, dataset/epoch-open, dataset/epoch-shredded */
export async function epochsOf(
  lookup: DatasetLookup,
  dataset: Dataset,
  { epochs }: Query,
): Promise<DatasetEpochRow[]> {
  const found: DatasetEpochRow[] = [];
  for (const ordinal of epochs) {
    const row = await lookup.epoch(dataset, ordinal);
    if (row.state === 'open') throw epochOpen();
    if (row.state === 'shredded') throw shredded();
    found.push(row);
  }
  return found;
}

/**
 * Contributors to the epoch that has the fewest. From rows that nobody authenticated: it decides whether to begin, and
 * the process that decrypts counts again.
 */
export async function cohortOf(store: Store, epochs: readonly DatasetEpochRow[]): Promise<number> {
  const counted = await store.db
    .selectFrom('contributions')
    .select(({ fn }) => ['epoch_id', fn.count('contributor_id').distinct().as('contributors')])
    .where(
      'epoch_id',
      'in',
      epochs.map(({ id }) => id),
    )
    .groupBy('epoch_id')
    .execute();
  const contributors = new Map(counted.map((row) => [row.epoch_id, Number(row.contributors)]));
  return Math.min(...epochs.map(({ id }) => contributors.get(id) ?? 0));
}

function epochOpen(): ServiceError {
  return new ServiceError(
    'dataset/epoch-open',
    'The epoch still takes contributions: it is asked about when it is closed.',
  );
}
