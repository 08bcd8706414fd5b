import type { Principal } from '../access/caller.ts';
import { isId } from '../core/ids.ts';
import type { DatasetEpochRow, DatasetRow } from '../store/dataset-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store } from '../store/store.ts';
import {
  type Dataset,
  datasetFromRow,
  datasetNotFound,
  epochNotFound,
  mayContribute,
  mayQuery,
} from './dataset.ts';

/** A dataset with its authenticated row. */
export interface FoundDataset {
  readonly dataset: Dataset;
  readonly row: DatasetRow;
}

/** Finds datasets and epochs in the store, authenticated: what they say is never taken from memory. */
export interface DatasetLookup {
  /**
   * @param ref name or id
   * @throws dataset/not-found, also when the principal neither manages datasets, nor may contribute to this one, nor ask
   */
  find(principal: Principal, ref: string): Promise<FoundDataset>;
  /** For the service itself. @throws dataset/not-found */
  byId(id: string): Promise<FoundDataset>;
  /** @param ordinal `current`: the one that takes contributions. @throws dataset/epoch-not-found */
  epoch(dataset: Dataset, ordinal: number | 'current'): Promise<DatasetEpochRow>;
}

export function createDatasetLookup({
  store,
  rows,
}: {
  store: Store;
  rows: RowAuthenticator;
}): DatasetLookup {
  async function authenticated(row: DatasetRow | undefined): Promise<FoundDataset> {
    if (!row) throw datasetNotFound();
    await rows.verify('datasets', row);
    return { dataset: datasetFromRow(row), row };
  }

  return {
    async byId(id) {
      return await authenticated(
        await store.db.selectFrom('datasets').selectAll().where('id', '=', id).executeTakeFirst(),
      );
    },

    async find(principal, ref) {
      const found = await authenticated(
        await store.db
          .selectFrom('datasets')
          .selectAll()
          .where('namespace_id', '=', principal.namespaceId)
          .where(isId(ref) ? 'id' : 'name', '=', ref)
          .executeTakeFirst(),
      );
      if (!isVisible(principal, found.dataset)) throw datasetNotFound();
      return found;
    },

    async epoch(dataset, ordinal) {
      const row = await store.db
        .selectFrom('dataset_epochs')
        .selectAll()
        .where('dataset_id', '=', dataset.id)
        .where('ordinal', '=', ordinal === 'current' ? dataset.currentEpoch : ordinal)
        .executeTakeFirst();
      if (!row) throw epochNotFound();
      await rows.verify('dataset_epochs', row);
      return row;
    },
  };
}

/** True when the principal has to do with the dataset. */
export function isVisible(principal: Principal, dataset: Dataset): boolean {
  return (
    principal.scopes.has('datasets:admin') ||
    mayContribute(principal, dataset) ||
    mayQuery(principal, dataset)
  );
}
