import type { Caller } from '../../access/caller.ts';
import type { Operation, Operations } from '../../access/operations.ts';
import type { Clock } from '../../core/clock.ts';
import { ServiceError } from '../../core/errors.ts';
import { cutPage, idAfter, type Page, type PageRequest } from '../../core/page.ts';
import type { Jobs } from '../../jobs/jobs.ts';
import { progressOf } from '../../jobs/view.ts';
import type { DatasetQueryRow } from '../../store/query-rows.ts';
import { isUniqueViolation, type Store } from '../../store/store.ts';
import { type Dataset, datasetTarget, mayQuery } from '../dataset.ts';
import type { DatasetLookup } from '../lookup.ts';
import { type Budgets, budgetExhausted, isWithin, mayFollow, queryRefused } from './budgets.ts';
import { cohortOf, epochsOf } from './cohort.ts';
import { type Plan, planQuery } from './plan.ts';
import { canonicalQuery, isAllowed, type Query, type QueryRequest } from './query.ts';
import type { QueryRows } from './rows.ts';
import {
  type BudgetView,
  budgetView,
  type Estimate,
  estimateView,
  type QueryView,
  queryView,
} from './view.ts';

/**
 * Questions about datasets, and their answers. An analyst sees its own. What a dataset does not answer at all and what
 * it does not answer over so few contributors is `dataset/query-refused` alike.
 */
export interface Queries {
  /** What an answer would cost, and how exact it would be; nothing is computed or spent. */
  estimate(caller: Caller, dataset: string, request: QueryRequest): Promise<Estimate>;
  /**
   * Makes a job that computes the answer. The same query asked again is the same one, and costs nothing.
   * @throws dataset/query-refused, dataset/budget-exhausted, dataset/epoch-open, dataset/epoch-not-found,
   *   dataset/epoch-shredded, dataset/conflict, job/too-many, request/invalid
   */
  ask(caller: Caller, dataset: string, request: QueryRequest): Promise<QueryView>;
  /** @throws dataset/query-not-found */
  get(caller: Caller, dataset: string, queryId: string): Promise<QueryView>;
  /** Oldest first. */
  list(caller: Caller, dataset: string, page: PageRequest): Promise<Page<QueryView>>;
  budget(caller: Caller, dataset: string): Promise<BudgetView>;
}

export const queryKind = 'datasets.query';

export function createQueries({
  store,
  clock,
  operations,
  lookup,
  budgets,
  queryRows,
  jobs,
}: {
  store: Store;
  clock: Clock;
  operations: Operations;
  lookup: DatasetLookup;
  budgets: Budgets;
  queryRows: QueryRows;
  jobs: Pick<Jobs, 'enqueue'>;
}): Queries {
  async function found(operation: Operation, caller: Caller, ref: string): Promise<Dataset> {
    const { dataset } = await lookup.find(caller.principal, ref);
    operation.target(datasetTarget(dataset));
    if (!mayQuery(caller.principal, dataset)) throw notAnalyst();
    return dataset;
  }

  /** Everything that can be said of a query before it is computed. @throws what `ask` does, but for the budget */
  async function judged(caller: Caller, dataset: Dataset, request: QueryRequest) {
    const query = canonicalQuery(dataset, request);
    if (!isAllowed(dataset, query)) throw queryRefused();
    const plan = planQuery(dataset, query);
    const analyst = caller.principal.name;
    const own = await queryRows.own(dataset, analyst, query);
    const budget = await budgets.read(dataset, analyst);
    // What was answered is answered again, also when its epochs are shredded.
    if (own?.numbers) return { query, plan, analyst, own, budget, cohort: undefined };
    const cohort = await cohortOf(store, await epochsOf(lookup, dataset, query));
    if (cohort < dataset.policy.minimumCohort) throw queryRefused();
    if (dataset.policy.partitioned && !mayFollow(budget.regions, query)) throw queryRefused();
    return { query, plan, analyst, own, budget, cohort };
  }

  async function viewOf(dataset: Dataset, row: DatasetQueryRow): Promise<QueryView> {
    const [job] = await store.db
      .selectFrom('jobs')
      .select(['id', 'state'])
      .where('id', '=', row.job)
      .where('namespace_id', '=', dataset.namespaceId)
      .execute();
    const progress = (await progressOf(store, [row.job])).get(row.job);
    return queryView(dataset, row, { state: job?.state, done: progress?.done, total: progress?.total });
  }

  /** Computes what was asked before and not answered: its job has failed, or was cancelled. */
  async function askAgain(caller: Caller, operation: Operation, dataset: Dataset, row: DatasetQueryRow) {
    const view = await viewOf(dataset, row);
    if (view.state === 'pending') return view;
    await jobs.enqueue(caller, operation, jobOf(row), async (tx, jobId) => {
      const { numUpdatedRows } = await tx
        .updateTable('dataset_queries')
        .set({ job: jobId })
        .where('id', '=', row.id)
        .where('job', '=', row.job)
        .where('numbers', 'is', null)
        .executeTakeFirst();
      if (numUpdatedRows !== 1n) throw askedAtOnce();
    });
    return await viewOf(dataset, (await queryRows.find(row.id)) ?? row);
  }

  async function askAnew(caller: Caller, operation: Operation, dataset: Dataset, asked: Asked) {
    const row = await queryRows.create(dataset, {
      ...{ analyst: asked.analyst, query: asked.query, units: asked.plan.units, now: clock.now() },
    });
    let job = '';
    await jobs.enqueue(caller, operation, jobOf(row), async (tx, jobId) => {
      job = jobId;
      await tx
        .insertInto('dataset_queries')
        .values({ ...row, job })
        .execute()
        .catch((error: unknown) => {
          throw isUniqueViolation(error) ? askedAtOnce() : error;
        });
    });
    return await viewOf(dataset, { ...row, job });
  }

  return {
    estimate: (caller, ref, request) =>
      operations.run(caller, 'datasets.estimate', { kind: 'dataset', name: ref }, async (operation) => {
        const dataset = await found(operation, caller, ref);
        const { query, plan, own, budget, cohort } = await judged(caller, dataset, request);
        const isFree = own?.numbers !== undefined && own.numbers !== null;
        return estimateView(dataset, query, plan, { spent: budget, cohort, isFree });
      }),

    ask: (caller, ref, request) =>
      operations.run(caller, 'datasets.query', { kind: 'dataset', name: ref }, async (operation) => {
        const dataset = await found(operation, caller, ref);
        const asked = await judged(caller, dataset, request);
        const { own, plan, budget } = asked;
        if (own?.numbers) return await viewOf(dataset, own);
        if (!isWithin(dataset, plan, budget.units)) throw budgetExhausted();
        if (own) return await askAgain(caller, operation, dataset, own);
        return await askAnew(caller, operation, dataset, asked);
      }),

    get: (caller, ref, queryId) =>
      operations.run(caller, 'datasets.read-query', { kind: 'dataset', name: ref }, async (operation) => {
        const dataset = await found(operation, caller, ref);
        const row = await queryRows.find(queryId);
        if (row?.dataset_id !== dataset.id || row.analyst !== caller.principal.name) throw queryNotFound();
        return await viewOf(dataset, row);
      }),

    list: (caller, ref, { limit, cursor }) =>
      operations.run(caller, 'datasets.list-queries', { kind: 'dataset', name: ref }, async (operation) => {
        const dataset = await found(operation, caller, ref);
        const rows = await queryRows.page(dataset, caller.principal.name, idAfter(cursor), limit + 1);
        const { rows: page, next } = cutPage(rows, limit, ({ id }) => id);
        const items: QueryView[] = [];
        for (const row of page) items.push(await viewOf(dataset, row));
        return { items, ...next };
      }),

    budget: (caller, ref) =>
      operations.run(caller, 'datasets.read-budget', { kind: 'dataset', name: ref }, async (operation) => {
        const dataset = await found(operation, caller, ref);
        return budgetView(dataset, await budgets.read(dataset, caller.principal.name));
      }),
  };
}

interface Asked {
  readonly analyst: string;
  readonly query: Query;
  readonly plan: Plan;
}

function jobOf(row: Pick<DatasetQueryRow, 'id'>) {
  return { kind: queryKind, input: { queryId: row.id }, pieces: [null] };
}

function notAnalyst(): ServiceError {
  return new ServiceError('access/denied', 'The dataset answers no questions of this caller.');
}

function queryNotFound(): ServiceError {
  return new ServiceError('dataset/query-not-found', 'There is no such query.');
}

function askedAtOnce(): ServiceError {
  return new ServiceError('dataset/conflict', 'The same was asked at the same time: ask again.');
}
