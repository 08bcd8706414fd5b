import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Operation, Operations } from '../../access/operations.ts';
import { wipe } from '../../core/bytes.ts';
import type { Clock } from '../../core/clock.ts';
import { isServiceError, ServiceError } from '../../core/errors.ts';
import { idBytes } from '../../core/ids.ts';
import { type AnyKind, type ChunkContext, defineKind } from '../../jobs/kinds.ts';
import type { ContributionRow, DatasetEpochRow } from '../../store/dataset-rows.ts';
import type { DatasetQueryRow } from '../../store/query-rows.ts';
import type { RowAuthenticator } from '../../store/rows.ts';
import type { Store } from '../../store/store.ts';
import type { Dataset } from '../dataset.ts';
import type { Epochs } from '../epochs.ts';
import type { DatasetLookup, FoundDataset } from '../lookup.ts';
import { BudgetMoved, type Budgets, budgetExhausted, isWithin, queryRefused } from './budgets.ts';
import { epochsOf } from './cohort.ts';
import type { Decrypt } from './decryptor.ts';
import { signOrder, writeContributions } from './order.ts';
import { type Plan, planQuery } from './plan.ts';
import { queryKind } from './queries.ts';
import type { Query } from './query.ts';
import { placesOf, type SealedEpochKey } from './release.ts';
import type { QueryRows } from './rows.ts';
import { contributionsOf, residuesOf } from './rows-stream.ts';

const progressMilliseconds = 2_000;
const commitTries = 10;

/** Refusals that another attempt would meet again. */
const final = ['dataset/query-refused', 'dataset/budget-exhausted', 'dataset/epoch-shredded'] as const;

interface Parts {
  readonly store: Store;
  readonly rows: RowAuthenticator;
  readonly clock: Clock;
  readonly operations: Operations;
  readonly lookup: DatasetLookup;
  readonly epochs: Epochs;
  readonly budgets: Budgets;
  readonly queryRows: QueryRows;
  readonly decrypt: Decrypt;
}

/**
 * Computes an answer. Debit, answer and record are one transaction: before it nothing was spent and nobody was told
 * anything, after it the answer stands. An attempt that ends before it is made again, and comes to the same answer:
 * noise depends on what is asked and of which rows, not on when (./release.ts).
 */
export function queryJob(parts: Parts): AnyKind {
  return defineKind({
    kind: queryKind,
    input: z.strictObject({ queryId: z.string() }),
    piece: z.null(),
    scopes: ['datasets:query'],
    attempts: 3,
    async run({ input: { queryId }, namespaceId }, context) {
      const row = await parts.queryRows.find(queryId);
      if (row?.namespace_id !== namespaceId) throw gone();
      if (row.numbers !== null) return { answered: true };
      const found = await parts.lookup.byId(row.dataset_id);
      const { id, name } = found.dataset;
      try {
        await parts.operations.run(
          context.caller,
          'datasets.answer',
          { kind: 'dataset', id, name },
          (operation) => answer(parts, { row, found, context, operation }),
        );
        return { answered: true };
      } catch (error) {
        if (isServiceError(error, ...final)) return { answered: false, code: error.code };
        throw error;
      }
    },
  });
}

interface Work {
  readonly row: DatasetQueryRow;
  readonly found: FoundDataset;
  readonly context: ChunkContext;
  readonly operation: Operation;
}

async function answer(parts: Parts, work: Work): Promise<void> {
  const { row, found, context, operation } = work;
  const { dataset } = found;
  const query = JSON.parse(row.query) as Query;
  const plan = planQuery(dataset, query);
  const { budgets, queryRows, clock } = parts;
  const known = await queryRows.answered(dataset, row.digest);
  const computed = known
    ? { numbers: known.numbers ?? '', total: 0 }
    : await compute(parts, work, query, plan);
  const { numbers, total } = computed;
  for (let tries = 1; ; tries += 1) {
    // Another analyst may be given the same answer meanwhile: then one of the two debits fails, and comes here again.
    let before = known;
    const debit = await budgets.debit(dataset, row.analyst, {
      ...{ plan, region: query },
      async isNew() {
        before ??= await queryRows.answered(dataset, row.digest);
        return before === undefined;
      },
    });
    const change = await queryRows.answer(row, before?.numbers ?? numbers, clock.now());
    try {
      await context.commit(
        { done: total, total },
        async (tx) => {
          await debit.write(tx);
          if (!(await change.write(tx))) throw gone();
        },
        operation,
      );
      return;
    } catch (error) {
      if (!(error instanceof BudgetMoved) || tries >= commitTries) throw error;
    }
  }
}

interface EpochRows {
  readonly epoch: DatasetEpochRow;
  readonly contributions: readonly ContributionRow[];
  /** As the order names them. */
  readonly written: Uint8Array;
}

/** Has the answer computed. @returns it as JSON, and how many ciphertexts it took */
async function compute(parts: Parts, { row, found, context }: Work, query: Query, plan: Plan) {
  const { dataset } = found;
  const { signal } = context;
  const epochRows = await epochsOf(parts.lookup, dataset, query);
  const spent = await parts.budgets.read(dataset, row.analyst);
  if (!isWithin(dataset, plan, spent.units)) throw budgetExhausted();
  const all: EpochRows[] = [];
  for (const epoch of epochRows) {
    const contributions = await contributionsOf(parts, epoch, signal);
    if (cohortOf(contributions) < dataset.policy.minimumCohort) throw queryRefused();
    all.push({ epoch, contributions, written: written(dataset, contributions) });
  }
  const order = await ordered(parts, found, { row, query, spentUnits: spent.units }, all);
  const places = placesOf(dataset, plan);
  const total = places.length * all.reduce((sum, { contributions }) => sum + contributions.length, 0);
  const keys = await keysOf(parts, dataset, epochRows);
  try {
    const answered = await parts.decrypt(
      { order, keys, contributions: all.map((each) => each.written) },
      residues(parts.store, all, places, (done) => context.report({ done, total })),
      signal,
    );
    return { numbers: JSON.stringify(answered), total };
  } finally {
    wipe(...keys.map(({ seed }) => seed));
  }
}

async function ordered(
  { epochs }: Parts,
  { dataset, row: datasetRow }: FoundDataset,
  { row, query, spentUnits }: { row: DatasetQueryRow; query: Query; spentUnits: bigint },
  all: readonly EpochRows[],
) {
  const { id: datasetId, namespaceId, verificationKey } = dataset;
  const seed = await epochs.signerSeed(datasetRow);
  try {
    const order = signOrder(
      seed,
      { datasetId, namespaceId },
      {
        ...{ queryId: row.id, query, spentUnits },
        epochs: all.map(({ epoch, written: bytes }) => ({
          id: epoch.id,
          contributionsDigest: createHash('sha256').update(bytes).digest(),
        })),
      },
    );
    const manifests = all.map(({ epoch }) => epoch.manifest);
    return { namespaceId, datasetId, verificationKey, order, manifests };
  } finally {
    wipe(seed);
  }
}

async function keysOf({ epochs }: Parts, dataset: Dataset, rows: readonly DatasetEpochRow[]) {
  const keys: SealedEpochKey[] = [];
  try {
    for (const row of rows) keys.push(await epochs.sealedSecretKey(dataset, row));
    return keys;
  } catch (error) {
    wipe(...keys.map(({ seed }) => seed));
    throw error;
  }
}

/** What the order's process reads: by epoch, by place, by contribution. */
async function* residues(
  store: Store,
  all: readonly EpochRows[],
  places: readonly number[],
  report: (done: number) => Promise<void>,
): AsyncGenerator<Uint8Array, void, void> {
  let done = 0;
  let reportedAt = performance.now();
  for (const { epoch, contributions } of all) {
    for (const place of places) {
      for await (const ciphertext of residuesOf(store, epoch, place, contributions)) {
        yield ciphertext;
        done += 1;
        if (performance.now() - reportedAt < progressMilliseconds) continue;
        await report(done);
        reportedAt = performance.now();
      }
    }
  }
}

function written({ layout }: Dataset, contributions: readonly ContributionRow[]): Uint8Array {
  const refs = contributions.map((row) => ({
    contributor: idBytes(row.contributor_id),
    ...{ ordinal: row.ordinal, digests: row.ciphertext_digests },
  }));
  return writeContributions(refs, layout.ciphertexts);
}

function cohortOf(contributions: readonly ContributionRow[]): number {
  return new Set(contributions.map((row) => row.contributor_id)).size;
}

function gone(): ServiceError {
  return new ServiceError('internal', 'A stored record is missing.', {
    cause: new Error('the query of a job is missing or was answered otherwise'),
  });
}
