import { z } from 'zod';
import { parameterSetNames } from '../crypto/homomorphic/parameters.ts';
import { base64Text, keyNameSchema, keyRefSchema, plainText, timestampText } from '../http/validation.ts';
import { violate } from '../http/violations.ts';
import { neighbourings, statistics } from './definition.ts';

const ordinalText = z
  .string()
  .regex(/^[1-9][0-9]{0,8}$/)
  .transform(Number)
  .meta({ type: 'integer', minimum: 1 });

const datasetRef = keyRefSchema.meta({ description: 'The name of the dataset or its id (UUIDv7).' });
export const datasetParams = z.strictObject({ dataset: datasetRef });
export const epochParams = z.strictObject({ dataset: datasetRef, epoch: ordinalText });
export const contributeParams = z.strictObject({
  ...{ dataset: datasetRef, epoch: ordinalText },
  ordinal: ordinalText.meta({ description: 'Which of the caller’s contributions to the epoch, from 1.' }),
});

const name = z.string().regex(/^[a-z][a-z0-9_]{0,62}$/);
const whole = z.int();

const column = z
  .strictObject({
    name,
    lower: whole.meta({ description: 'What lies below is counted as this.' }),
    upper: whole.meta({ description: 'What lies above is counted as this.' }),
    scale: z
      .int()
      .min(0)
      .max(9)
      .optional()
      .transform((value) => value ?? 0)
      .meta({
        type: 'integer',
        minimum: 0,
        maximum: 9,
        description: 'Decimal places: 1 counts as 10^-scale units. Default 0.',
      }),
    unit: plainText({ max: 32 })
      .optional()
      .transform((value) => value ?? ''),
    edges: z.array(whole).min(1).max(255).optional().meta({
      description:
        'Where the bins of its histogram begin, but the first: ascending, above `lower`, up to `upper`.',
    }),
  })
  .transform((given, context) => {
    if (given.lower > given.upper) return violate(context, { rule: 'bounds' }, ['upper']);
    const edges = given.edges ?? [];
    const ascending = edges.every((edge, at) => edge > (edges[at - 1] ?? given.lower) && edge <= given.upper);
    return ascending ? given : violate(context, { rule: 'bounds' }, ['edges']);
  });

const group = z.strictObject({
  name,
  labels: z
    .array(plainText({ min: 1, max: 64 }))
    .min(1)
    .max(4096)
    .check((context) => {
      if (new Set(context.value).size < context.value.length)
        context.issues.push({ code: 'custom', input: undefined, params: { rule: 'unique' } });
    }),
});

const definition = z
  .strictObject({
    columns: z.array(column).min(1).max(32),
    groups: z
      .array(group)
      .max(4)
      .optional()
      .transform((value) => value ?? []),
  })
  .transform((given, context) => {
    const names = [...given.columns, ...given.groups].map((part) => part.name);
    return new Set(names).size === names.length ? given : violate(context, { rule: 'unique' }, ['columns']);
  });

const principals = z
  .array(z.string().regex(/^(?:[a-z0-9][a-z0-9._-]{0,62}\*?|\*)$/))
  .min(1)
  .max(1000)
  .meta({ description: 'Names or ids of tokens, prefixes of names that end in `*`, or `*`.' });

const limited = (least: number, most: number, usual: number, description: string) =>
  z
    .int()
    .min(least)
    .max(most)
    .optional()
    .transform((value) => value ?? usual)
    .meta({
      type: 'integer',
      minimum: least,
      maximum: most,
      description: `${description} Default ${usual}.`,
    });

const policy = z.strictObject({
  statistics: z.array(z.enum(statistics)).min(1).max(statistics.length).meta({
    description: 'What may be asked. Nothing else is added up.',
  }),
  rowsPerContribution: z
    .int()
    .min(1)
    .max(2 ** 31)
    .meta({ description: 'Rows that a contribution may add up: what one contributor weighs.' }),
  contributions: limited(5, 2 ** 17, 1_000, 'Contributions that an epoch takes.'),
  contributionsPerContributor: limited(1, 1_000, 1, 'Of them, one contributor’s.'),
  minimumCohort: limited(5, 2 ** 17, 20, 'Contributors that an answer is over at least.'),
  budget: z
    .strictObject({
      epsilon: z.number().positive().max(100),
      delta: z
        .number()
        .min(0)
        .max(0.001)
        .optional()
        .transform((value) => value ?? 0)
        .meta({ type: 'number', minimum: 0, maximum: 0.001, description: 'Default 0.' }),
    })
    .meta({ description: 'Of each analyst, over all answers of the dataset.' }),
  neighbouring: z
    .enum(neighbourings)
    .optional()
    .transform((value) => value ?? 'contributor')
    .meta({
      description:
        'What an answer must not tell whether it is there, or is there with other values: all of a contributor, or one row. ' +
        'Default `contributor`.',
    }),
  partitioned: z
    .boolean()
    .optional()
    .transform((value) => value ?? false)
    .meta({ type: 'boolean', description: 'Answers are over parts that do not overlap. Default false.' }),
  contributors: principals,
  analysts: principals,
  retentionSeconds: z
    .int()
    .min(60)
    .max(10 * 366 * 86_400)
    .optional()
    .meta({ description: 'After the end of an epoch, until it is shredded. Absent: it is not by itself.' }),
});

export const createDatasetBody = z
  .strictObject({
    name: keyNameSchema,
    description: plainText({ max: 1024 })
      .optional()
      .transform((value) => value ?? ''),
    definition,
    policy,
    parameters: z
      .enum(parameterSetNames)
      .optional()
      .transform((value) => value ?? parameterSetNames[0])
      .meta({ description: 'Default `bgv-4096-101`.' }),
  })
  .transform((given, context) => {
    const binned = given.definition.columns.some(({ edges }) => edges !== undefined);
    if (binned !== given.policy.statistics.includes('histogram'))
      return violate(context, { rule: 'together', with: 'edges and histogram' }, ['policy', 'statistics']);
    if (given.policy.minimumCohort > given.policy.contributions)
      return violate(context, { rule: 'bounds' }, ['policy', 'minimumCohort']);
    return given;
  });

const columnAnswer = z.object({
  ...{ name: z.string(), lower: z.int(), upper: z.int(), scale: z.int(), unit: z.string() },
  edges: z.array(z.int()).optional(),
});

export const datasetAnswer = z.object({
  id: z.string(),
  name: z.string(),
  description: z.string(),
  definition: z.object({
    columns: z.array(columnAnswer),
    groups: z.array(z.object({ name: z.string(), labels: z.array(z.string()) })),
  }),
  policy: z.object({
    statistics: z.array(z.enum(statistics)),
    rowsPerContribution: z.int(),
    contributions: z.int(),
    contributionsPerContributor: z.int(),
    minimumCohort: z.int(),
    budget: z.object({ epsilon: z.number(), delta: z.number() }),
    neighbouring: z.enum(neighbourings),
    partitioned: z.boolean(),
    contributors: z.array(z.string()),
    analysts: z.array(z.string()),
    retentionSeconds: z.int().optional(),
  }),
  parameters: z.enum(parameterSetNames),
  currentEpoch: z.int().min(1),
  verificationKey: base64Text.meta({
    description: 'Ed25519: what contributors verify an epoch’s manifest with. It never changes: keep it.',
  }),
  contributionBytes: z.int().meta({ description: 'Length of every contribution.' }),
  createdAt: timestampText,
});

const nextCursor = z.string().optional();
export const datasetsAnswer = z.object({ items: z.array(datasetAnswer), nextCursor });

export const epochAnswer = z.object({
  id: z.string(),
  epoch: z.int().min(1),
  state: z.enum(['open', 'closed', 'shredded']),
  openedAt: timestampText,
  closedAt: timestampText.optional(),
  retainedUntil: timestampText.optional(),
  contributions: z.int().min(0),
});
export const epochsAnswer = z.object({ items: z.array(epochAnswer), nextCursor });

export const epochKeyAnswer = z.object({
  manifest: z.string().meta({
    description:
      'JWS in compact serialization, EdDSA by the dataset’s key: verify it before anything is encrypted.',
  }),
  publicKey: base64Text.meta({ description: 'As Microsoft SEAL writes it; the manifest has its SHA-256.' }),
  contributorId: z.string().meta({ description: 'The caller, as contributions are bound to it.' }),
});

/** As they came; what is in them the operation judges. */
export const contributionBody = z.custom<Uint8Array>((value) => value instanceof Uint8Array);

export const contributionAnswer = z.object({
  id: z.string(),
  datasetId: z.string(),
  epoch: z.int().min(1),
  contributorId: z.string(),
  ordinal: z.int().min(1),
  ciphertexts: z.int().min(1),
  receivedAt: timestampText,
});
