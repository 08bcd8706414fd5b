import { type Accountant, createAccountant } from '../../crypto/privacy/accounting.ts';
import { toNumber } from '../../crypto/privacy/error-bars.ts';
import type { JobState } from '../../store/job-rows.ts';
import type { DatasetQueryRow } from '../../store/query-rows.ts';
import type { Dataset } from '../dataset.ts';
import { answerView, type NoiseView, noiseViews, type OutputView } from './answer.ts';
import type { BudgetState } from './budgets.ts';
import { type Plan, planQuery } from './plan.ts';
import type { Query } from './query.ts';

/** `refused`: what was asked turned out not to be allowed when it was to be computed. */
export type QueryState = 'pending' | 'answered' | 'refused' | 'failed' | 'cancelled';

export interface QueryView {
  readonly id: string;
  readonly datasetId: string;
  readonly jobId: string;
  readonly state: QueryState;
  /** What it is about, in the dataset's names. */
  readonly statistic: Query['statistic'];
  readonly column?: string;
  readonly epochs: readonly number[];
  /** What it costs or has cost, as ε of it alone. */
  readonly epsilon: number;
  /** Ciphertexts added so far, and in all. */
  readonly done: number;
  readonly total?: number;
  /** Milliseconds. */
  readonly createdAt: number;
  readonly answeredAt?: number;
  readonly results?: readonly OutputView[];
}

export interface BudgetView {
  /** What the policy grants an analyst. */
  readonly epsilon: number;
  readonly delta: number;
  /** What the answers so far are (ε, δ)-private for together. */
  readonly spentEpsilon: number;
  /** The largest ε that one more query may ask for. */
  readonly leftEpsilon: number;
  readonly answers: number;
}

export interface Estimate {
  /** Contributors, in the epoch that has the fewest; absent for what was answered before. */
  readonly cohort?: number;
  /** ε of it alone; 0 for what was answered before. */
  readonly cost: number;
  readonly noise: readonly NoiseView[];
  /** How many answers there will be, by epoch and group. */
  readonly results: number;
  /** After it. */
  readonly budget: BudgetView;
  readonly affordable: boolean;
}

export function queryView(
  dataset: Dataset,
  row: DatasetQueryRow,
  job: {
    readonly state: JobState | undefined;
    readonly done: number | undefined;
    readonly total: number | undefined;
  },
): QueryView {
  const query = JSON.parse(row.query) as Query;
  const plan = planQuery(dataset, query);
  const column = query.column === null ? undefined : dataset.definition.columns[query.column]?.name;
  return {
    ...{ id: row.id, datasetId: row.dataset_id, jobId: row.job, state: stateOf(row, job.state) },
    ...{ statistic: query.statistic, ...(column !== undefined && { column }), epochs: query.epochs },
    ...{ epsilon: query.epsilon, done: job.done ?? 0, ...(job.total !== undefined && { total: job.total }) },
    createdAt: row.created_at,
    ...(row.answered_at !== null && { answeredAt: row.answered_at }),
    ...(row.numbers !== null && { results: answerView(dataset, query, plan, numbersOf(row.numbers)) }),
  };
}

export function estimateView(
  dataset: Dataset,
  query: Query,
  plan: Plan,
  {
    spent,
    cohort,
    isFree,
  }: { readonly spent: BudgetState; readonly cohort: number | undefined; readonly isFree: boolean },
): Estimate {
  const units = spent.units + (isFree ? 0n : plan.units);
  const affordable = units <= plan.accountant.unitsOf(dataset.policy.budget.epsilon);
  return {
    ...(cohort !== undefined && { cohort }),
    cost: isFree ? 0 : query.epsilon,
    ...{ noise: noiseViews(dataset, query, plan), results: plan.outputs.length, affordable },
    budget: budgetView(dataset, affordable ? { units, answers: spent.answers + (isFree ? 0 : 1) } : spent),
  };
}

export function budgetView(
  { policy: { budget } }: Pick<Dataset, 'policy'>,
  { units, answers }: Pick<BudgetState, 'units' | 'answers'>,
): BudgetView {
  const accountant = createAccountant(budget.delta);
  const left = accountant.unitsOf(budget.epsilon) - units;
  return {
    ...{ epsilon: budget.epsilon, delta: budget.delta, answers },
    spentEpsilon: toNumber(accountant.epsilonOf(units)),
    leftEpsilon: askable(accountant, left > 0n ? left : 0n),
  };
}

/** The largest ε of six decimals that costs no more. */
function askable(accountant: Accountant, units: bigint): number {
  let millionths = Math.round(toNumber(accountant.epsilonOf(units)) * 1e6);
  while (millionths > 0 && accountant.unitsOf(millionths / 1e6) > units) millionths -= 1;
  return millionths / 1e6;
}

function stateOf(row: DatasetQueryRow, job: JobState | undefined): QueryState {
  if (row.numbers !== null) return 'answered';
  if (job === 'queued' || job === 'running') return 'pending';
  if (job === 'cancelled') return 'cancelled';
  // The job did its work, and no answer came of it.
  return job === 'done' ? 'refused' : 'failed';
}

function numbersOf(text: string): bigint[][] {
  return (JSON.parse(text) as string[][]).map((output) => output.map(BigInt));
}
