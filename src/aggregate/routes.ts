import { z } from 'zod';
import { toBase64 } from '../core/bytes.ts';
import { ciphertextBytes } from '../crypto/homomorphic/ciphertext.ts';
import { ciphertextsLimit } from '../crypto/homomorphic/layout.ts';
import { parameterSets } from '../crypto/homomorphic/parameters.ts';
import { prologueBytes } from '../crypto/homomorphic/upload.ts';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import { listQuery, toTimestamp } from '../http/validation.ts';
import type { Contributions } from './contributions.ts';
import type { DatasetView, EpochView } from './dataset.ts';
import type { Datasets } from './datasets.ts';
import {
  contributeParams,
  contributionAnswer,
  contributionBody,
  createDatasetBody,
  datasetAnswer,
  datasetParams,
  datasetsAnswer,
  epochAnswer,
  epochKeyAnswer,
  epochParams,
  epochsAnswer,
} from './routes-schemas.ts';

const tag = 'Datasets';
const longestUpload =
  prologueBytes + ciphertextsLimit * Math.max(...Object.values(parameterSets).map(ciphertextBytes));

interface Parts {
  readonly datasets: Datasets;
  readonly contributions: Contributions;
}

export function datasetRoutes(parts: Parts): AnyRoute[] {
  return [...managingRoutes(parts), ...contributingRoutes(parts)];
}

function managingRoutes(parts: Parts): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/datasets',
      operationId: 'createDataset',
      tag,
      summary: 'Create a dataset, with the keys of its first epoch',
      description: 'It never changes afterwards, but for its epochs: what contributors were promised stays.',
      idempotent: true,
      timeoutSeconds: 60,
      request: { body: createDatasetBody },
      answer: { status: 201, description: 'The dataset.', body: datasetAnswer },
      problems: ['dataset/exists'],
      example: {
        name: 'salaries',
        definition: {
          columns: [{ name: 'salary', lower: 0, upper: 50_000_000, scale: 2, unit: 'EUR' }],
          groups: [{ name: 'department', labels: ['sales', 'engineering'] }],
        },
        policy: {
          statistics: ['count', 'sum', 'mean', 'group-by'],
          rowsPerContribution: 2_000,
          budget: { epsilon: 1 },
          contributors: ['payroll-*'],
          analysts: ['controlling'],
        },
      },
      handle: async ({ caller, body }) => datasetOut(await parts.datasets.create(caller, body)),
    }),
    defineRoute({
      method: 'get',
      path: '/v1/datasets',
      operationId: 'listDatasets',
      tag,
      summary: 'List the datasets that the caller has to do with, oldest first',
      description: 'A page may have fewer than were asked for, and another one follow.',
      request: { query: listQuery },
      answer: { status: 200, description: 'A page of datasets.', body: datasetsAnswer },
      problems: [],
      async handle({ caller, query }) {
        const page = await parts.datasets.list(caller, query);
        return { ...page, items: page.items.map(datasetOut) };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/datasets/{dataset}',
      operationId: 'getDataset',
      tag,
      summary: 'Describe a dataset',
      request: { params: datasetParams },
      answer: { status: 200, description: 'The dataset.', body: datasetAnswer },
      problems: ['dataset/not-found'],
      handle: async ({ caller, params }) => datasetOut(await parts.datasets.describe(caller, params.dataset)),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/datasets/{dataset}/epochs',
      operationId: 'openEpoch',
      tag,
      summary: 'End the epoch that takes contributions, and begin the next with keys of its own',
      idempotent: true,
      timeoutSeconds: 60,
      request: { params: datasetParams, body: z.strictObject({}) },
      answer: { status: 201, description: 'The new epoch.', body: epochAnswer },
      problems: ['dataset/not-found', 'dataset/epoch-not-found', 'dataset/conflict'],
      example: {},
      handle: async ({ caller, params }) => epochOut(await parts.datasets.openEpoch(caller, params.dataset)),
    }),
    defineRoute({
      method: 'get',
      path: '/v1/datasets/{dataset}/epochs',
      operationId: 'listEpochs',
      tag,
      summary: 'List the epochs of a dataset, newest first',
      request: { params: datasetParams, query: listQuery },
      answer: { status: 200, description: 'A page of epochs.', body: epochsAnswer },
      problems: ['dataset/not-found'],
      async handle({ caller, params, query }) {
        const page = await parts.datasets.epochs(caller, params.dataset, query);
        return { ...page, items: page.items.map(epochOut) };
      },
    }),
    defineRoute({
      method: 'post',
      path: '/v1/datasets/{dataset}/epochs/{epoch}/shred',
      operationId: 'shredEpoch',
      operator: true,
      tag,
      summary: 'Make what was contributed to a closed epoch unreadable',
      description: 'No live copy of its secret key is left; backups have theirs.',
      request: { params: epochParams, body: z.strictObject({}) },
      answer: { status: 200, description: 'The epoch.', body: epochAnswer },
      problems: ['dataset/not-found', 'dataset/epoch-not-found', 'dataset/conflict'],
      example: {},
      handle: async ({ caller, params: { dataset, epoch } }) =>
        epochOut(await parts.datasets.shredEpoch(caller, dataset, epoch)),
    }),
  ];
}

function contributingRoutes(parts: Parts): AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/datasets/{dataset}/epoch-key',
      operationId: 'getEpochKey',
      tag,
      summary: 'What a contributor encrypts with: the current epoch’s signed manifest and public key',
      request: { params: datasetParams },
      answer: { status: 200, description: 'The epoch’s public key.', body: epochKeyAnswer },
      problems: ['dataset/not-found'],
      async handle({ caller, params: { dataset } }) {
        const { publicKey, ...key } = await parts.datasets.epochKey(caller, dataset);
        return { ...key, publicKey: toBase64(publicKey) };
      },
    }),
    defineRoute({
      method: 'post',
      path: '/v1/datasets/{dataset}/epochs/{epoch}/contributions/{ordinal}',
      operationId: 'contribute',
      tag,
      summary: 'Contribute encrypted numbers, once',
      description: 'The same contribution sent again is answered as it was, and counts once.',
      mediaType: 'application/octet-stream',
      bodyLimitBytes: longestUpload,
      request: { params: contributeParams, body: contributionBody },
      answer: { status: 201, description: 'What was kept.', body: contributionAnswer },
      problems: [
        ...(['dataset/not-found', 'dataset/epoch-not-found', 'dataset/epoch-closed'] as const),
        ...(['contribution/refused', 'contribution/exists', 'contribution/too-many'] as const),
      ],
      async handle({ caller, params: { dataset, epoch, ordinal }, body: upload }) {
        const { receivedAt, ...kept } = await parts.contributions.contribute(caller, {
          ...{ dataset, epoch, ordinal, upload },
        });
        return { ...kept, receivedAt: toTimestamp(receivedAt) };
      },
    }),
  ];
}

function datasetOut({ createdAt, ...dataset }: DatasetView): z.output<typeof datasetAnswer> {
  type Out = z.output<typeof datasetAnswer>;
  return {
    ...dataset,
    definition: dataset.definition as Out['definition'],
    policy: dataset.policy as Out['policy'],
    createdAt: toTimestamp(createdAt),
  };
}

function epochOut({ openedAt, closedAt, retainedUntil, ...epoch }: EpochView): z.output<typeof epochAnswer> {
  return {
    ...epoch,
    openedAt: toTimestamp(openedAt),
    ...(closedAt !== undefined && { closedAt: toTimestamp(closedAt) }),
    ...(retainedUntil !== undefined && { retainedUntil: toTimestamp(retainedUntil) }),
  };
}
