import type { Caller } from '../access/caller.ts';
import type { Operation, Operations } from '../access/operations.ts';
import type { Clock } from '../core/clock.ts';
import { ServiceError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import { cutPage, idAfter, invalidCursor, type Page, type PageRequest } from '../core/page.ts';
import { layoutOf, NoLayout } from '../crypto/homomorphic/layout.ts';
import { type ParameterSetName, parameterSets } from '../crypto/homomorphic/parameters.ts';
import type { SystemKeys } from '../keys/system-keys.ts';
import type { DatasetEpochRow, DatasetRow } from '../store/dataset-rows.ts';
import { isUniqueViolation, type Store, type StoreTransaction } from '../store/store.ts';
import {
  type DatasetView,
  datasetFromRow,
  datasetTarget,
  datasetView,
  type EpochView,
  epochView,
  mayContribute,
} from './dataset.ts';
import { type Definition, type Policy, shapeOf } from './definition.ts';
import type { Epochs, NewEpoch } from './epochs.ts';
import { type DatasetLookup, isVisible } from './lookup.ts';
import { shred } from './shredding.ts';

export interface CreateDatasetRequest {
  readonly name: string;
  readonly description: string;
  readonly definition: Definition;
  readonly policy: Policy;
  readonly parameters: ParameterSetName;
}

/** What a contributor needs to encrypt for an epoch. */
export interface EpochKey {
  readonly manifest: string;
  readonly publicKey: Uint8Array;
  /** The caller, as contributions are bound to it. */
  readonly contributorId: string;
}

/**
 * Datasets and their epochs. `dataset` names one by name or id; one that the caller has nothing to do with is
 * `dataset/not-found`, exactly as one that does not exist. A dataset never changes but for its epochs.
 */
export interface Datasets {
  /** @throws dataset/exists, request/invalid where the bounds cannot be proved to be exact */
  create(caller: Caller, request: CreateDatasetRequest): Promise<DatasetView>;
  list(caller: Caller, page: PageRequest): Promise<Page<DatasetView>>;
  describe(caller: Caller, dataset: string): Promise<DatasetView>;
  /** Ends the epoch that takes contributions, and begins the next, with keys of its own. @throws dataset/conflict */
  openEpoch(caller: Caller, dataset: string): Promise<EpochView>;
  /** Newest first. */
  epochs(caller: Caller, dataset: string, page: PageRequest): Promise<Page<EpochView>>;
  /** Of the epoch that takes contributions. @throws access/denied for a caller who is no contributor */
  epochKey(caller: Caller, dataset: string): Promise<EpochKey>;
  /** Makes what was contributed unreadable. @throws dataset/epoch-not-found, dataset/conflict while it is open */
  shredEpoch(caller: Caller, dataset: string, epoch: number): Promise<EpochView>;
}

export function createDatasets({
  store,
  systemKeys: { rows },
  operations,
  clock,
  epochs,
  lookup,
}: {
  store: Store;
  systemKeys: SystemKeys;
  operations: Operations;
  clock: Clock;
  epochs: Epochs;
  lookup: DatasetLookup;
}): Datasets {
  async function newDataset(caller: Caller, request: CreateDatasetRequest) {
    const { namespaceId } = caller.principal;
    const id = newId();
    const signer = await epochs.makeSigner({ id, namespaceId });
    const row = await rows.seal('datasets', {
      ...{ id, namespace_id: namespaceId, name: request.name, description: request.description },
      ...{ definition: JSON.stringify(request.definition), policy: JSON.stringify(request.policy) },
      ...{ parameters: request.parameters, current_epoch: 1, verification_key: signer.verificationKey },
      ...{ kek_id: signer.kekId, signing_blob: signer.signingBlob, created_at: clock.now(), revision: 1 },
    });
    const dataset = datasetFromRow(row);
    return { row, dataset, epoch: await epochs.make({ ...dataset, signer: row }, 1) };
  }

  /** The next epoch takes the place of `current` in one transaction. */
  async function nextEpoch(operation: Operation, row: DatasetRow, current: DatasetEpochRow, next: NewEpoch) {
    const now = clock.now();
    const { policy } = datasetFromRow(row);
    const { retentionSeconds } = policy;
    const { mac: _, contributions: _c, ...open } = current;
    const closed = await rows.seal('dataset_epochs', {
      ...open,
      ...{ state: 'closed' as const, closed_at: now, revision: current.revision + 1 },
      retained_until: retentionSeconds === undefined ? null : now + retentionSeconds * 1000,
    });
    const { mac: _m, ...before } = row;
    const after = await rows.seal('datasets', {
      ...before,
      ...{ current_epoch: next.row.ordinal, revision: row.revision + 1 },
    });
    return await operation.change(async (tx) => {
      await replace(tx, 'datasets', row, after);
      await replace(tx, 'dataset_epochs', current, closed);
      await next.insert(tx);
      return epochView(next.row);
    });
  }

  return {
    create(caller, request) {
      const { name } = request;
      return operations.run(caller, 'datasets.create', { kind: 'dataset', name }, async (operation) => {
        prove(request);
        await refuseTaken(store, caller.principal.namespaceId, name);
        const { row, dataset, epoch } = await newDataset(caller, request);
        operation.target(datasetTarget(dataset, 1));
        return await operation.change(async (tx) => {
          try {
            await tx.insertInto('datasets').values(row).execute();
          } catch (error) {
            throw isUniqueViolation(error) ? exists() : error;
          }
          await epoch.insert(tx);
          return datasetView(dataset);
        });
      });
    },

    list: (caller, { limit, cursor }) =>
      operations.run(caller, 'datasets.list', { kind: 'dataset' }, async () => {
        const found = await store.db
          .selectFrom('datasets')
          .selectAll()
          .where('namespace_id', '=', caller.principal.namespaceId)
          .where('id', '>', idAfter(cursor))
          .orderBy('id')
          .limit(limit + 1)
          .execute();
        const { rows: page, next } = cutPage(found, limit, (row) => row.id);
        await Promise.all(page.map((row) => rows.verify('datasets', row)));
        const visible = page.map(datasetFromRow).filter((dataset) => isVisible(caller.principal, dataset));
        return { items: visible.map(datasetView), ...next };
      }),

    describe: (caller, ref) =>
      operations.run(caller, 'datasets.describe', { kind: 'dataset', name: ref }, async (operation) => {
        const { dataset } = await lookup.find(caller.principal, ref);
        operation.target(datasetTarget(dataset));
        return datasetView(dataset);
      }),

    openEpoch: (caller, ref) =>
      operations.run(caller, 'datasets.open-epoch', { kind: 'dataset', name: ref }, async (operation) => {
        const { dataset, row } = await lookup.find(caller.principal, ref);
        const current = await lookup.epoch(dataset, 'current');
        const ordinal = current.ordinal + 1;
        operation.target(datasetTarget(dataset, ordinal));
        const next = await epochs.make({ ...dataset, signer: row }, ordinal);
        return await nextEpoch(operation, row, current, next);
      }),

    epochs: (caller, ref, { limit, cursor }) =>
      operations.run(caller, 'datasets.list-epochs', { kind: 'dataset', name: ref }, async (operation) => {
        const { dataset } = await lookup.find(caller.principal, ref);
        operation.target(datasetTarget(dataset));
        const before = cursor === undefined ? Number.MAX_SAFE_INTEGER : Number(cursor);
        if (!Number.isSafeInteger(before)) throw invalidCursor();
        const found = await store.db
          .selectFrom('dataset_epochs')
          .selectAll()
          .where('dataset_id', '=', dataset.id)
          .where('ordinal', '<', before)
          .orderBy('ordinal', 'desc')
          .limit(limit + 1)
          .execute();
        const { rows: page, next } = cutPage(found, limit, (row) => String(row.ordinal));
        await Promise.all(page.map((row) => rows.verify('dataset_epochs', row)));
        return { items: page.map(epochView), ...next };
      }),

    epochKey: (caller, ref) =>
      operations.run(caller, 'datasets.epoch-key', { kind: 'dataset', name: ref }, async (operation) => {
        const { dataset } = await lookup.find(caller.principal, ref);
        if (!mayContribute(caller.principal, dataset)) throw notContributor();
        const row = await lookup.epoch(dataset, 'current');
        operation.target(datasetTarget(dataset, row.ordinal));
        const publicKey = await epochs.publicKey(row);
        return { manifest: row.manifest, publicKey, contributorId: caller.principal.id };
      }),

    shredEpoch: (caller, ref, ordinal) =>
      operations.run(caller, 'datasets.shred-epoch', { kind: 'dataset', name: ref }, async (operation) => {
        const { dataset } = await lookup.find(caller.principal, ref);
        const row = await lookup.epoch(dataset, ordinal);
        operation.target(datasetTarget(dataset, ordinal));
        if (row.state === 'open') throw conflict('An epoch that takes contributions is closed first.');
        return row.state === 'shredded' ? epochView(row) : await shred(operation, rows, row);
      }),
  };
}

/** @throws dataset/conflict when somebody else changed the row at the same time */
async function replace(
  tx: StoreTransaction,
  table: 'datasets' | 'dataset_epochs',
  before: { readonly id: string; readonly revision: number },
  after: Omit<DatasetRow, 'id'> | Omit<DatasetEpochRow, 'id' | 'contributions'>,
): Promise<void> {
  const changed = await tx
    .updateTable(table)
    .set(after)
    .where('id', '=', before.id)
    .where('revision', '=', before.revision)
    .executeTakeFirst();
  if (changed.numUpdatedRows !== 1n) throw conflict('The dataset was changed at the same time.');
}

/** @throws request/invalid where totals or noise could pass what comes out right */
function prove({ definition, policy, parameters }: CreateDatasetRequest): void {
  try {
    layoutOf(shapeOf(definition, policy), parameterSets[parameters]);
  } catch (error) {
    if (!(error instanceof NoLayout)) throw error;
    const pointer = error.reason === 'contributions' ? '/policy/contributions' : '/definition';
    throw new ServiceError('request/invalid', 'The request breaks the rules listed in errors.', {
      errors: [{ pointer, detail: error.message }],
    });
  }
}

/** Before half a second is spent on keys; the unique name decides. */
async function refuseTaken(store: Store, namespaceId: string, name: string): Promise<void> {
  const taken = await store.db
    .selectFrom('datasets')
    .select('id')
    .where('namespace_id', '=', namespaceId)
    .where('name', '=', name)
    .executeTakeFirst();
  if (taken) throw exists();
}

function exists(): ServiceError {
  return new ServiceError('dataset/exists', 'A dataset of this name exists.');
}

function conflict(detail: string): ServiceError {
  return new ServiceError('dataset/conflict', detail);
}

export function epochClosed(): ServiceError {
  return new ServiceError('dataset/epoch-closed', 'The epoch takes no contributions any more.');
}

export function notContributor(): ServiceError {
  return new ServiceError('access/denied', 'The dataset takes no contributions of this caller.');
}
