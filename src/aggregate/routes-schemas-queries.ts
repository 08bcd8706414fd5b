import { z } from 'zod';
import { plainText, timestampText } from '../http/validation.ts';
import { askableStatistics, queryLimits } from './queries/query.ts';
import { datasetParams } from './routes-schemas.ts';

const name = z.string().max(63);
const label = plainText({ min: 1, max: 64 });
const labels = z.array(label).min(1).max(4096);

export const queryParams = z.strictObject({
  ...datasetParams.shape,
  query: z.uuid().meta({ description: 'The id of the query.' }),
});

export const queryBody = z.strictObject({
  statistic: z.enum(askableStatistics),
  column: name.optional().meta({ description: 'Of all but counts.' }),
  epochs: z
    .array(z.int().min(1).max(1_000_000_000))
    .min(1)
    .max(queryLimits.epochs)
    .meta({ description: 'Closed ones; what was contributed to them is added up.' }),
  where: z.record(name, labels).optional().meta({
    description: 'By group, the labels whose rows are asked for. Default: all rows.',
  }),
  groupBy: z.array(name).min(1).max(4).optional().meta({
    description: 'Groups: an answer for each combination of their labels.',
  }),
  byEpoch: z.boolean().optional().meta({ description: 'An answer for each epoch. Default false.' }),
  weights: z
    .strictObject({
      group: name,
      labels: z.record(label, z.int().min(-queryLimits.weight).max(queryLimits.weight)),
    })
    .optional()
    .meta({ description: 'Of weighted sums: what a row counts by its label; labels not named count 0.' }),
  epsilon: z
    .number()
    .positive()
    .max(100)
    .meta({ description: 'What it may cost: less noise for more ε, until the budget is spent.' }),
});

const budget = z.object({
  epsilon: z.number().meta({ description: 'What the dataset grants an analyst.' }),
  delta: z.number(),
  spentEpsilon: z.number().meta({
    description: 'ε that the answers so far are private for together, with the dataset’s δ.',
  }),
  leftEpsilon: z.number().meta({ description: 'The most that one more query may ask for.' }),
  answers: z.int(),
});
export const budgetAnswer = budget;

export const estimateAnswer = z.object({
  cohort: z.int().optional().meta({
    description: 'Contributors, in the epoch that has the fewest. Absent for what was answered before.',
  }),
  cost: z.number().meta({ description: 'ε, as of this query alone; 0 for what was answered before.' }),
  noise: z
    .array(
      z.object({
        number: z.enum(['count', 'sum', 'squares']),
        distribution: z.enum(['discrete-laplace', 'discrete-gaussian', 'none']),
        deviation: z.number(),
        margin: z.number(),
      }),
    )
    .meta({
      description:
        'Of each number that an answer is made from: the noise’s standard deviation, and ± what holds all of them ' +
        'with 95 %, in the column’s unit. Of means and variances, sums are of distances from the middle of the bounds.',
    }),
  results: z.int(),
  budget,
  affordable: z.boolean(),
});

const ends = { from: z.number().optional(), to: z.number().optional() };
const outputAnswer = z.object({
  labels: z.record(z.string(), z.string()),
  epoch: z.int().optional(),
  value: z.number().optional(),
  ...ends,
  bins: z
    .array(
      z.object({
        ...{ lower: z.number(), upper: z.number(), count: z.number(), from: z.number(), to: z.number() },
      }),
    )
    .optional(),
});

export const queryAnswer = z.object({
  id: z.string(),
  datasetId: z.string(),
  jobId: z.string(),
  state: z.enum(['pending', 'answered', 'refused', 'failed', 'cancelled']),
  statistic: z.enum(askableStatistics),
  column: z.string().optional(),
  epochs: z.array(z.int()),
  epsilon: z.number(),
  done: z.int().meta({ description: 'Ciphertexts added so far.' }),
  total: z.int().optional(),
  createdAt: timestampText,
  answeredAt: timestampText.optional(),
  results: z
    .array(outputAnswer)
    .optional()
    .meta({
      description:
        'By epoch and group: the value with its noise, in the column’s unit, and between which values what was asked ' +
        'for lies with 95 %, of each by itself. An end that is absent is unbounded.',
    }),
});
export const queriesAnswer = z.object({ items: z.array(queryAnswer), nextCursor: z.string().optional() });
