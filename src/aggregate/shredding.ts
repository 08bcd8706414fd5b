import { type Caller } from '../access/caller.ts';
import type { Operation, Operations } from '../access/operations.ts';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { DatasetEpochRow } from '../store/dataset-rows.ts';
import type { RowAuthenticator } from '../store/rows.ts';
import type { Store } from '../store/store.ts';
import { type EpochView, epochView } from './dataset.ts';

/**
 * Takes the epoch's sealing key and its secret key out of the database, and what was contributed with them; who
 * contributed stays. No live copy is left; backups have theirs.
 */
export async function shred(
  operation: Operation,
  rows: RowAuthenticator,
  row: DatasetEpochRow,
): Promise<EpochView> {
  const { mac: _, contributions, ...before } = row;
  const after = await rows.seal('dataset_epochs', {
    ...before,
    ...{ state: 'shredded' as const, sealing_blob: null, revision: row.revision + 1 },
  });
  return await operation.change(async (tx) => {
    const changed = await tx
      .updateTable('dataset_epochs')
      .set(after)
      .where('id', '=', row.id)
      .where('revision', '=', row.revision)
      .executeTakeFirst();
    if (changed.numUpdatedRows !== 1n)
      throw new ServiceError('dataset/conflict', 'The epoch was changed at the same time.');
    await tx
      .updateTable('dataset_epoch_keys')
      .set({ secret_key: null })
      .where('epoch_id', '=', row.id)
      .execute();
    await tx.deleteFrom('contribution_ciphertexts').where('epoch_id', '=', row.id).execute();
    return epochView({ ...after, contributions });
  });
}

/** Epochs shredded in one go. */
const batch = 20;

/** Shreds epochs whose retention is over; to be called about once a minute. */
export function createShredding({
  store,
  rows,
  operations,
  clock,
}: {
  store: Store;
  rows: RowAuthenticator;
  operations: Operations;
  clock: Clock;
}): { sweep(): Promise<void> } {
  return {
    async sweep() {
      const due = await store.db
        .selectFrom('dataset_epochs')
        .selectAll()
        .where('state', '=', 'closed')
        .where('retained_until', '<=', clock.now())
        .orderBy('retained_until')
        .limit(batch)
        .execute();
      for (const row of due) {
        await rows.verify('dataset_epochs', row);
        const target = { kind: 'dataset', id: row.dataset_id, version: row.ordinal } as const;
        await operations.run(retentionCaller(row.namespace_id), 'datasets.shred-epoch', target, (operation) =>
          shred(operation, rows, row),
        );
      }
    },
  };
}

/** The service itself, in a namespace. */
function retentionCaller(namespaceId: string): Caller {
  return {
    principal: {
      ...{ kind: 'system', id: 'retention', name: 'retention', namespaceId },
      ...{ scopes: new Set(['datasets:admin']), keyPatterns: undefined },
    },
    requestId: newId(),
    source: undefined,
    idempotency: undefined,
  };
}
