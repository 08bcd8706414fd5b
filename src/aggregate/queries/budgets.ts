import { ServiceError } from '../../core/errors.ts';
import type { DatasetBudgetRow } from '../../store/query-rows.ts';
import type { RowAuthenticator } from '../../store/rows.ts';
import { isUniqueViolation, type Store, type StoreTransaction } from '../../store/store.ts';
import type { Dataset } from '../dataset.ts';
import type { Plan } from './plan.ts';
import { areApart, type Region } from './query.ts';

/** What an analyst has spent of a dataset's budget, in its units, and what the dataset's answers were about. */
export interface BudgetState {
  readonly units: bigint;
  readonly answers: number;
  readonly regions: readonly Region[];
}

/** A debit that was prepared against the rows as they were read. */
export interface Debit {
  /** @throws BudgetMoved when another answer was given meanwhile: nothing may be taken from what was read */
  write(tx: StoreTransaction): Promise<void>;
}

export interface AnswerToPayFor {
  readonly plan: Plan;
  readonly region: Region;
  /**
   * Whether nobody was given it before, asked when the rows are read: with one that another analyst paid for, nothing
   * new of the dataset gets out.
   */
  isNew(): Promise<boolean>;
}

export class BudgetMoved extends Error {}

export interface Budgets {
  /** @throws internal when a row was altered */
  read(dataset: Pick<Dataset, 'id'>, analyst: string): Promise<BudgetState>;
  /**
   * Checks the debit and prepares its rows: `write` belongs into the transaction of the answer.
   * @throws dataset/budget-exhausted, dataset/query-refused
   */
  debit(dataset: Dataset, analyst: string, answer: AnswerToPayFor): Promise<Debit>;
}

/** What all analysts spent. */
const everyone = '';
/** Of JSON: what a dataset whose answers may not overlap keeps of them. */
const regionsLimit = 1_048_576;

type Row = Omit<DatasetBudgetRow, 'mac'>;

export function createBudgets({ store, rows }: { store: Store; rows: RowAuthenticator }): Budgets {
  async function rowOf({ id }: Pick<Dataset, 'id'>, analyst: string): Promise<DatasetBudgetRow | undefined> {
    const row = await store.db
      .selectFrom('dataset_budgets')
      .selectAll()
      .where('dataset_id', '=', id)
      .where('analyst', '=', analyst)
      .executeTakeFirst();
    if (row) await rows.verify('dataset_budgets', row);
    return row;
  }

  async function next(before: DatasetBudgetRow | undefined, fresh: Row, change: Partial<Row>) {
    const { mac: _, ...current } = before ?? { ...fresh, mac: undefined };
    const sealed = await rows.seal('dataset_budgets', {
      ...current,
      ...change,
      revision: (before?.revision ?? 0) + 1,
    });
    return (tx: StoreTransaction) => replace(tx, before, sealed);
  }

  return {
    async read(dataset, analyst) {
      const [own, all] = [await rowOf(dataset, analyst), await rowOf(dataset, everyone)];
      return { units: BigInt(own?.units ?? 0), answers: own?.answers ?? 0, regions: regionsOf(all) };
    },

    async debit(dataset, analyst, { plan, region, isNew }) {
      const own = await rowOf(dataset, analyst);
      const all = await rowOf(dataset, everyone);
      const units = BigInt(own?.units ?? 0) + plan.units;
      if (!isWithin(dataset, plan, BigInt(own?.units ?? 0))) throw budgetExhausted();
      const regions = regionsOf(all);
      if (dataset.policy.partitioned && !mayFollow(regions, region)) throw queryRefused();
      const fresh = {
        ...{ dataset_id: dataset.id, analyst, namespace_id: dataset.namespaceId, units: 0, answers: 0 },
        ...{ regions: null, revision: 0 },
      };
      const writeOwn = await next(own, fresh, { units: Number(units), answers: (own?.answers ?? 0) + 1 });
      const writeAll = await next(
        all,
        { ...fresh, analyst: everyone },
        {
          units: (all?.units ?? 0) + ((await isNew()) ? Number(plan.units) : 0),
          answers: (all?.answers ?? 0) + 1,
          regions: dataset.policy.partitioned ? withRegion(regions, region) : null,
        },
      );
      return {
        async write(tx) {
          // Of all answers of a dataset first: two that are given at once are one after the other.
          await writeAll(tx);
          await writeOwn(tx);
        },
      };
    },
  };
}

/** True when the analyst has that much left. */
export function isWithin({ policy }: Pick<Dataset, 'policy'>, plan: Plan, spent: bigint): boolean {
  return spent + plan.units <= plan.accountant.unitsOf(policy.budget.epsilon);
}

/** True when an answer about the region overlaps none that was about another. */
export function mayFollow(regions: readonly Region[], region: Region): boolean {
  return regions.every((before) => areApart(before, region));
}

function regionsOf(row: DatasetBudgetRow | undefined): Region[] {
  return row?.regions ? (JSON.parse(row.regions) as Region[]) : [];
}

function withRegion(regions: readonly Region[], { epochs, where }: Region): string {
  const text = JSON.stringify({ epochs, where });
  const known = regions.map((region) => JSON.stringify(region));
  const all = `[${[...new Set([...known, text])].join()}]`;
  if (all.length > regionsLimit) throw queryRefused();
  return all;
}

async function replace(
  tx: StoreTransaction,
  before: DatasetBudgetRow | undefined,
  after: DatasetBudgetRow,
): Promise<void> {
  if (before === undefined) {
    await tx
      .insertInto('dataset_budgets')
      .values(after)
      .execute()
      .catch((error: unknown) => {
        throw isUniqueViolation(error) ? new BudgetMoved() : error;
      });
    return;
  }
  const { numUpdatedRows } = await tx
    .updateTable('dataset_budgets')
    .set(after)
    .where('dataset_id', '=', before.dataset_id)
    .where('analyst', '=', before.analyst)
    .where('revision', '=', before.revision)
    .executeTakeFirst();
  if (numUpdatedRows !== 1n) throw new BudgetMoved();
}

export function budgetExhausted(): ServiceError {
  return new ServiceError(
    'dataset/budget-exhausted',
    'The answer costs more than is left of your budget: ask with a smaller epsilon, or not at all.',
  );
}

/** One answer for what is not allowed and for too few contributors: who may not know is not told why. */
export function queryRefused(): ServiceError {
  return new ServiceError(
    'dataset/query-refused',
    'The dataset does not answer this: it is not allowed, it overlaps what was answered, or too few contributed.',
  );
}
