import type { z } from 'zod';
import type { ErrorCode } from '../core/errors.ts';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import { listQuery, toTimestamp } from '../http/validation.ts';
import type { Queries } from './queries/queries.ts';
import type { QueryView } from './queries/view.ts';
import { datasetParams } from './routes-schemas.ts';
import {
  budgetAnswer,
  estimateAnswer,
  queriesAnswer,
  queryAnswer,
  queryBody,
  queryParams,
} from './routes-schemas-queries.ts';

const tag = 'Datasets';
const asking: readonly ErrorCode[] = [
  ...(['dataset/not-found', 'dataset/epoch-not-found', 'dataset/epoch-open'] as const),
  ...(['dataset/epoch-shredded', 'dataset/query-refused'] as const),
];
const example: z.input<typeof queryBody> = {
  statistic: 'mean',
  column: 'salary',
  epochs: [1],
  groupBy: ['department'],
  epsilon: 0.25,
};

export function queryRoutes(queries: Queries): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/datasets/{dataset}/queries',
      operationId: 'queryDataset',
      tag,
      summary: 'Ask for a statistic, which a job computes',
      description:
        'The same query asked again is the same one: its answer is the one that was given, and costs nothing. What the ' +
        'dataset does not answer, and what it does not answer over so few contributors, is refused alike.',
      request: { params: datasetParams, body: queryBody },
      answer: { status: 201, description: 'The query.', body: queryAnswer },
      problems: [...asking, 'dataset/budget-exhausted', 'dataset/conflict', 'job/too-many'],
      example,
      handle: async ({ caller, params, body }) => queryOut(await queries.ask(caller, params.dataset, body)),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/datasets/{dataset}/queries/dry-run',
      operationId: 'estimateQuery',
      tag,
      summary: 'What a query would cost, and how exact its answer would be',
      description: 'Nothing is computed and nothing is spent.',
      request: { params: datasetParams, body: queryBody },
      answer: { status: 200, description: 'The estimate.', body: estimateAnswer },
      problems: asking,
      example,
      async handle({ caller, params, body }) {
        const { noise, budget, ...estimate } = await queries.estimate(caller, params.dataset, body);
        return { ...estimate, noise: noise.map((each) => ({ ...each })), budget: { ...budget } };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/datasets/{dataset}/queries',
      operationId: 'listQueries',
      tag,
      summary: 'List what the caller asked of a dataset, oldest first',
      request: { params: datasetParams, query: listQuery },
      answer: { status: 200, description: 'A page of queries.', body: queriesAnswer },
      problems: ['dataset/not-found'],
      async handle({ caller, params, query }) {
        const page = await queries.list(caller, params.dataset, query);
        return { ...page, items: page.items.map(queryOut) };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/datasets/{dataset}/queries/{query}',
      operationId: 'getQuery',
      tag,
      summary: 'A query, how far it is, and its answer',
      request: { params: queryParams },
      answer: { status: 200, description: 'The query.', body: queryAnswer },
      problems: ['dataset/not-found', 'dataset/query-not-found'],
      handle: async ({ caller, params }) => queryOut(await queries.get(caller, params.dataset, params.query)),
    }),
    defineRoute({
      method: 'get',
      path: '/v1/datasets/{dataset}/budget',
      operationId: 'getBudget',
      tag,
      summary: 'What the caller has spent of its budget for a dataset, and what is left',
      request: { params: datasetParams },
      answer: { status: 200, description: 'The budget.', body: budgetAnswer },
      problems: ['dataset/not-found'],
      handle: async ({ caller, params }) => ({ ...(await queries.budget(caller, params.dataset)) }),
    }),
  ];
}

function queryOut({ createdAt, answeredAt, results, epochs, ...query }: QueryView) {
  return {
    ...query,
    epochs: [...epochs],
    createdAt: toTimestamp(createdAt),
    ...(answeredAt !== undefined && { answeredAt: toTimestamp(answeredAt) }),
    ...(results && {
      results: results.map(({ labels, bins, ...result }) => ({
        ...{ labels: { ...labels }, ...result },
        ...(bins && { bins: bins.map((bin) => ({ ...bin })) }),
      })),
    }),
  } satisfies z.output<typeof queryAnswer>;
}
