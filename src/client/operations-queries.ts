import { pageOf } from './shapes.ts';

const queryAnswer = {
  id: 'string',
  datasetId: 'string',
  jobId: 'string',
  state: 'string',
  statistic: 'string',
  'column?': 'string',
  epochs: ['integer'],
  epsilon: 'number',
  done: 'integer',
  'total?': 'integer',
  createdAt: 'string',
  'answeredAt?': 'string',
  'results?': [
    {
      labels: 'strings',
      'epoch?': 'integer',
      'value?': 'number',
      'from?': 'number',
      'to?': 'number',
      'bins?': [{ lower: 'number', upper: 'number', count: 'number', from: 'number', to: 'number' }],
    },
  ],
} as const;

const budgetAnswer = {
  epsilon: 'number',
  delta: 'number',
  spentEpsilon: 'number',
  leftEpsilon: 'number',
  answers: 'integer',
} as const;

/** Questions about datasets. */
export const queryOperations = {
  // The same query asked again is the same one.
  queryDataset: {
    method: 'POST',
    path: '/v1/datasets/{dataset}/queries',
    retry: 'safe',
    answer: queryAnswer,
  },
  estimateQuery: {
    method: 'POST',
    path: '/v1/datasets/{dataset}/queries/dry-run',
    retry: 'safe',
    answer: {
      'cohort?': 'integer',
      cost: 'number',
      noise: [{ number: 'string', distribution: 'string', deviation: 'number', margin: 'number' }],
      results: 'integer',
      budget: budgetAnswer,
      affordable: 'boolean',
    },
  },
  listQueries: {
    method: 'GET',
    path: '/v1/datasets/{dataset}/queries',
    retry: 'safe',
    answer: pageOf(queryAnswer),
  },
  getQuery: {
    method: 'GET',
    path: '/v1/datasets/{dataset}/queries/{query}',
    retry: 'safe',
    answer: queryAnswer,
  },
  getBudget: {
    method: 'GET',
    path: '/v1/datasets/{dataset}/budget',
    retry: 'safe',
    answer: budgetAnswer,
  },
} as const;
