import { z } from 'zod';
import { alphabets } from '../crypto/fields/format-preserving.ts';
import { normalizers } from '../crypto/fields/normalizers.ts';
import { keyNameSchema, keyRefSchema, plainText, timestampText } from '../http/validation.ts';

const name = keyNameSchema;
const versionNumber = z.int().min(1).max(999_999_999);
const member = z.string().min(1).max(128);
const kept = z.int().min(0).max(256).optional();

const view = z.discriminatedUnion('view', [
  z.strictObject({
    view: z.literal('mask'),
    keepPrefix: kept,
    keepSuffix: kept,
    separators: z.string().max(16).optional(),
    symbol: z.string().min(1).max(2).optional(),
  }),
  z.strictObject({ view: z.literal('redact'), replacement: plainText({ max: 64 }).optional() }),
  z.strictObject({ view: z.literal('hash') }),
]);

const field = {
  name: name.meta({ description: 'What the field is called in indexes, queries and answers.' }),
  path: z.string().min(1).max(512).meta({
    description:
      'A JSON Pointer in which `*` stands for every member and element, or a JSONPath of names, indexes and wildcards.',
  }),
  key: name.optional().meta({ description: 'A key of the purpose `fields`. Default: the schema’s.' }),
  reveal: view.optional().meta({ description: 'What `reveal` shows. Default: the field stays as it is.' }),
};
const joinGroup = name.optional().meta({
  description: 'Equal values are equal in all fields of the group, in every schema, under one key.',
});

const fieldSchema = z.discriminatedUnion('treatment', [
  z.strictObject({ ...field, treatment: z.literal('randomized') }),
  z.strictObject({ ...field, treatment: z.literal('deterministic'), joinGroup }),
  z.strictObject({
    ...field,
    treatment: z.literal('format-preserving'),
    alphabet: z.enum(Object.keys(alphabets) as [string, ...string[]]).optional(),
    symbols: z.string().min(2).max(512).optional(),
    separators: z.string().max(64).optional(),
    keepPrefix: kept,
    keepSuffix: kept,
    luhn: z.boolean().optional(),
    joinGroup,
    versionMember: member.optional().meta({
      description: 'A member beside the field, which holds the version of the key.',
    }),
    keyVersion: versionNumber.optional().meta({ description: 'The version of the key, for all values.' }),
  }),
  z.strictObject({ ...field, treatment: z.literal('none') }),
]);

const indexSchema = z.strictObject({
  name,
  member: member.meta({ description: 'Holds the index, in the object that its fields are in.' }),
  bits: z.int().min(8).max(256),
  fields: z
    .array(z.strictObject({ name, normalize: z.array(z.enum(normalizers)).max(6).optional() }))
    .min(1)
    .max(8),
  expectedRows: z
    .int()
    .min(1)
    .max(10 ** 12)
    .optional(),
});

const definition = {
  key: name,
  fields: z.array(fieldSchema).min(1).max(100),
  indexes: z.array(indexSchema).max(50).optional(),
};

export const schemaParams = z.strictObject({ schema: keyRefSchema });
export const describeQuery = z.strictObject({
  version: z
    .string()
    .regex(/^[1-9][0-9]{0,8}$/)
    .transform(Number)
    .optional()
    .meta({ description: 'Default: the current one.' }),
});
export const createSchemaBody = z.strictObject({ name, ...definition });
export const schemaVersionBody = z.strictObject(definition);

const shownCount = z.int().optional();
const shownText = z.string().optional();

/** All that fields of any treatment may have. */
const fieldAnswer = z.object({
  name: z.string(),
  path: z.string(),
  key: shownText,
  treatment: z.enum(['randomized', 'deterministic', 'format-preserving', 'none']),
  ...{ joinGroup: shownText, alphabet: shownText, symbols: shownText, separators: shownText },
  ...{ keepPrefix: shownCount, keepSuffix: shownCount, luhn: z.boolean().optional() },
  ...{ versionMember: shownText, keyVersion: shownCount },
  reveal: z
    .object({
      view: z.enum(['mask', 'redact', 'hash']),
      ...{ keepPrefix: shownCount, keepSuffix: shownCount, separators: shownText, symbol: shownText },
      replacement: shownText,
    })
    .optional(),
});

const indexAnswer = z.object({
  ...{ name: z.string(), member: z.string(), bits: z.int() },
  fields: z.array(z.object({ name: z.string(), normalize: z.array(z.string()).optional() })),
  expectedRows: shownCount,
  falsePositives: z.object({ expected: z.number(), probability: z.number() }).optional().meta({
    description:
      'Of a search among `expectedRows`: rows of other values that it finds on average, and how likely it finds one.',
  }),
});

export const schemaAnswer = z.object({
  id: z.string(),
  name: z.string(),
  version: versionNumber,
  createdAt: timestampText,
  key: z.string(),
  fields: z.array(fieldAnswer),
  indexes: z.array(indexAnswer),
});
export const schemasAnswer = z.object({ items: z.array(schemaAnswer), nextCursor: z.string().optional() });

/** Not read by zod, which would copy it: numbers of it may be as they are written. */
const json = z.custom<unknown>((value) => value !== undefined);

const documents = z
  .array(
    z.strictObject({
      document: json.meta({ description: 'Any JSON. Its numbers are kept as they are written.' }),
      record: z.string().max(256).optional().meta({
        description:
          'Names the row or document that randomized values are bound to, and then open with alone.',
      }),
    }),
  )
  .min(1)
  .max(10_000);
const schemaVersion = versionNumber
  .optional()
  .meta({ description: 'Of the schema. Default: the current one.' });

export const fieldsBody = z.strictObject({ schema: keyRefSchema, version: schemaVersion, documents });
export const rewrapFieldsBody = fieldsBody.extend({
  fromVersion: versionNumber.optional().meta({
    description: 'The version of the schema by which the documents were sealed. Default: `version`.',
  }),
});
export const queryTokensBody = z.strictObject({
  schema: keyRefSchema,
  version: schemaVersion,
  queries: z
    .array(
      z.strictObject({
        name: name.meta({ description: 'An index, or a deterministic or format-preserving field.' }),
        values: z.custom<Readonly<Record<string, unknown>>>(isObject).meta({
          type: 'object',
          description: 'The value searched for, by the name of the field.',
        }),
        versions: z
          .array(versionNumber)
          .min(1)
          .max(100)
          .optional()
          .meta({
            description:
              'Of the key. Default: the one that the schema names, or else the current one and the 19 before it, of those ' +
              'that may open.',
          }),
      }),
    )
    .min(1)
    .max(100),
});

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const problem = z
  .looseObject({ type: z.string(), title: z.string(), status: z.int(), detail: z.string(), code: z.string() })
  .optional()
  .meta({ description: 'Why it was refused, where `status` is not 200.' });

export const fieldsAnswer = z.object({
  schemaId: z.string(),
  schemaVersion: versionNumber,
  untouched: z.array(z.string()).meta({
    description: 'Fields whose keys the caller may not use: they are as they were.',
  }),
  results: z.array(z.object({ status: z.int(), document: z.unknown().optional(), problem })),
});
export const queryTokensAnswer = z.object({
  schemaVersion: versionNumber,
  results: z.array(
    z.object({
      status: z.int(),
      tokens: z.array(z.object({ keyVersion: versionNumber, token: z.string() })).optional(),
      problem,
    }),
  ),
});
