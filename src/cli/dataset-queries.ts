import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { isStatheraError } from '../client/errors.ts';
import type { Client, Query, QueryEstimate } from '../client/index.ts';
import { mayPass } from '../client/retries.ts';
import { interruptible } from './interrupt.ts';
import { print, table } from './output.ts';
import { createProgress } from './progress.ts';

const watchMilliseconds = 250;

/** As they are given on the command line. */
export interface QueryOptions {
  readonly statistic: string;
  readonly column?: string;
  readonly epoch: readonly number[];
  /** By group. */
  readonly where?: Readonly<Record<string, readonly string[]>>;
  readonly by?: readonly string[];
  readonly byEpoch?: true;
  readonly weights?: { readonly group: string; readonly labels: Readonly<Record<string, number>> };
  readonly epsilon: number;
  readonly dryRun?: true;
}

/** Asks, or says what it would cost. @returns false when no answer came of it */
export async function ask(
  command: Command,
  service: Client,
  dataset: string,
  options: QueryOptions,
): Promise<boolean> {
  const query = { dataset, ...queryOf(options) } as Parameters<Client['queryDataset']>[0];
  if (options.dryRun) {
    const estimate = await service.estimateQuery(query);
    print(command, estimate, () => describeEstimate(estimate));
    return true;
  }
  const asked = await service.queryDataset(query);
  const answer = await interruptible((signal) => untilAnswered(service, dataset, asked, signal));
  showQuery(command, answer);
  return answer.state === 'answered';
}

export function showQuery(command: Command, query: Query): void {
  print(command, query, () => describe(query));
}

export function listQueries(command: Command, items: readonly Query[]): void {
  print(command, { items }, () =>
    table([
      ['ID', 'STATE', 'STATISTIC', 'COLUMN', 'EPOCHS', 'EPSILON', 'ASKED'],
      ...items.map((query) => [
        ...[query.id, query.state, query.statistic, query.column ?? '-', query.epochs.join(',')],
        ...[String(query.epsilon), query.createdAt],
      ]),
    ]),
  );
}

export function showBudget(command: Command, budget: QueryEstimate['budget']): void {
  print(command, budget, () => describeBudget(budget));
}

function queryOf({ statistic, column, epoch, where, by, byEpoch, weights, epsilon }: QueryOptions) {
  return {
    ...{ statistic, epochs: [...epoch], epsilon },
    ...(column !== undefined && { column }),
    ...(where !== undefined && { where }),
    ...(by !== undefined && { groupBy: [...by] }),
    ...(byEpoch && { byEpoch }),
    ...(weights !== undefined && { weights }),
  };
}

async function untilAnswered(
  service: Client,
  dataset: string,
  asked: Query,
  signal: AbortSignal,
): Promise<Query> {
  const progress = createProgress(asked.id, { terminal: process.stderr, unit: 'done' });
  try {
    for (let query = asked; ; ) {
      progress.update(query.done, query.total);
      if (query.state !== 'pending') return query;
      await delay(watchMilliseconds, undefined, { signal });
      // A service that restarts goes on with it.
      query = await service
        .getQuery({ dataset, query: asked.id }, { signal })
        .catch((error: unknown) =>
          isStatheraError(error) && mayPass(error) ? query : Promise.reject(error as Error),
        );
    }
  } finally {
    progress.clear();
  }
}

function describe(query: Query): string[] {
  const head = table([
    ['id', query.id],
    ['state', query.state],
    ['asked', `${query.statistic}${query.column === undefined ? '' : ` of ${query.column}`}`],
    ['epochs', query.epochs.join(', ')],
    ['cost', `ε = ${query.epsilon}`],
  ]);
  if (query.results === undefined) return head;
  return [
    ...head,
    '',
    ...table([['WHERE', 'VALUE', '95 % FROM', 'TO'], ...query.results.flatMap(resultRows)]),
  ];
}

function resultRows(result: NonNullable<Query['results']>[number]): string[][] {
  const labels = Object.values(result.labels as Readonly<Record<string, string>>);
  const where = [...(result.epoch === undefined ? [] : [`epoch ${result.epoch}`]), ...labels].join(', ');
  if (result.bins === undefined)
    return [[where || 'all', shown(result.value), shown(result.from), shown(result.to)]];
  return result.bins.map((bin) => [
    ...[`${where === '' ? '' : `${where}: `}${shown(bin.lower)} to ${shown(bin.upper)}`, shown(bin.count)],
    ...[shown(bin.from), shown(bin.to)],
  ]);
}

function describeEstimate({ cohort, cost, noise, results, budget, affordable }: QueryEstimate): string[] {
  return [
    ...table([
      ['contributors', cohort === undefined ? 'answered before' : String(cohort)],
      ['cost', `ε = ${cost}`],
      ['answers', String(results)],
      ...noise.map((each) => [
        `noise of the ${each.number}`,
        `${each.distribution}, 95 % within ± ${shown(each.margin)}`,
      ]),
    ]),
    ...(affordable ? [] : ['the budget does not suffice:']),
    ...describeBudget(budget).map((line) => (affordable ? `afterwards: ${line}` : line)),
  ];
}

function describeBudget({
  epsilon,
  delta,
  spentEpsilon,
  leftEpsilon,
  answers,
}: QueryEstimate['budget']): string[] {
  return [
    `${shown(spentEpsilon)} of ε = ${epsilon} (δ = ${delta}) spent on ${answers} answers; one more may cost ${leftEpsilon}`,
  ];
}

function shown(value: number | undefined): string {
  if (value === undefined) return '-';
  return Number(value.toPrecision(9)).toLocaleString('en', { maximumFractionDigits: 4 });
}
