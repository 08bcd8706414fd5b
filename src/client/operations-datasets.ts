import { pageOf } from './shapes.ts';

const datasetAnswer = {
  id: 'string',
  name: 'string',
  description: 'string',
  definition: {
    columns: [
      {
        name: 'string',
        lower: 'integer',
        upper: 'integer',
        scale: 'integer',
        unit: 'string',
        'edges?': ['integer'],
      },
    ],
    groups: [{ name: 'string', labels: ['string'] }],
  },
  policy: {
    statistics: ['string'],
    rowsPerContribution: 'integer',
    contributions: 'integer',
    contributionsPerContributor: 'integer',
    minimumCohort: 'integer',
    budget: { epsilon: 'number', delta: 'number' },
    neighbouring: 'string',
    partitioned: 'boolean',
    contributors: ['string'],
    analysts: ['string'],
    'retentionSeconds?': 'integer',
  },
  parameters: 'string',
  currentEpoch: 'integer',
  verificationKey: 'bytes',
  contributionBytes: 'integer',
  createdAt: 'string',
} as const;

const epochAnswer = {
  id: 'string',
  epoch: 'integer',
  state: 'string',
  openedAt: 'string',
  'closedAt?': 'string',
  'retainedUntil?': 'string',
  contributions: 'integer',
} as const;

/** Operations on datasets and their epochs. */
export const datasetOperations = {
  createDataset: { method: 'POST', path: '/v1/datasets', retry: 'key', answer: datasetAnswer },
  listDatasets: { method: 'GET', path: '/v1/datasets', retry: 'safe', answer: pageOf(datasetAnswer) },
  getDataset: { method: 'GET', path: '/v1/datasets/{dataset}', retry: 'safe', answer: datasetAnswer },
  openEpoch: { method: 'POST', path: '/v1/datasets/{dataset}/epochs', retry: 'key', answer: epochAnswer },
  listEpochs: {
    method: 'GET',
    path: '/v1/datasets/{dataset}/epochs',
    retry: 'safe',
    answer: pageOf(epochAnswer),
  },
  shredEpoch: {
    method: 'POST',
    path: '/v1/datasets/{dataset}/epochs/{epoch}/shred',
    retry: 'safe',
    answer: epochAnswer,
  },
  getEpochKey: {
    method: 'GET',
    path: '/v1/datasets/{dataset}/epoch-key',
    retry: 'safe',
    answer: { manifest: 'string', publicKey: 'bytes', contributorId: 'string' },
  },
  contribute: {
    method: 'POST',
    path: '/v1/datasets/{dataset}/epochs/{epoch}/contributions/{ordinal}',
    raw: 'upload',
    // The same bytes count once.
    retry: 'safe',
    answer: {
      id: 'string',
      datasetId: 'string',
      epoch: 'integer',
      contributorId: 'string',
      ordinal: 'integer',
      ciphertexts: 'integer',
      receivedAt: 'string',
    },
  },
} as const;
