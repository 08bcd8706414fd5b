import { z } from 'zod';
import { algorithms } from '../crypto/suites.ts';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import {
  keyNameSchema,
  keyRefSchema,
  listQuery,
  plainText,
  tagsSchema,
  timestampText,
  toTimestamp,
} from '../http/validation.ts';
import type { KeyVersionView, KeyView } from './key.ts';
import type { Keys } from './keys.ts';

const tag = 'Keys';
const params = z.strictObject({ key: keyRefSchema });
const ordinal = z
  .string()
  .regex(/^[1-9][0-9]{0,8}$/)
  .transform(Number)
  .meta({ type: 'integer', minimum: 1 });
const description = plainText({ max: 1024 });

const createBody = z.strictObject({
  name: keyNameSchema,
  algorithm: z
    .enum(algorithms)
    .optional()
    .transform((value) => value ?? 'aes-256-gcm'),
  purpose: z.literal('encrypt').optional(),
  description: description.optional().transform((value) => value ?? ''),
  tags: tagsSchema.optional().transform((value) => value ?? {}),
});

const updateBody = z.strictObject({
  description: description.optional(),
  tags: tagsSchema.optional(),
  state: z.enum(['enabled', 'disabled']).optional(),
});

const keyAnswer = z.object({
  id: z.string(),
  name: z.string(),
  algorithm: z.enum(algorithms),
  purpose: z.string(),
  protection: z
    .string()
    .meta({ description: 'Where the secret lives in use: `hsm` never leaves the token.' }),
  state: z.enum(['enabled', 'disabled']),
  description: z.string(),
  tags: z.record(z.string(), z.string()),
  currentVersion: z.int().min(1),
  createdAt: timestampText,
  updatedAt: timestampText,
  lastUsedAt: timestampText.optional(),
});

const versionStates = ['enabled', 'decrypt-only', 'disabled', 'destroy-scheduled', 'destroyed'] as const;
const versionAnswer = z.object({
  id: z.string(),
  version: z.int().min(1),
  algorithm: z.enum(algorithms),
  protection: z.string(),
  state: z.enum(versionStates),
  createdAt: timestampText,
  lastUsedAt: timestampText.optional(),
  usesReserved: z.int().meta({ description: 'Upper bound of the encryptions made, counted in blocks.' }),
});

const nextCursor = z.string().optional();

export function keyRoutes(keys: Keys): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/keys',
      operationId: 'createKey',
      tag,
      summary: 'Create a key in the HSM',
      idempotent: true,
      request: { body: createBody },
      answer: { status: 201, description: 'The key.', body: keyAnswer },
      problems: ['key/exists'],
      example: { name: 'payments', tags: { team: 'checkout' } },
      handle: async ({ caller, body: { purpose: _, ...request } }) =>
        keyOut(await keys.create(caller, request)),
    }),
    defineRoute({
      method: 'get',
      path: '/v1/keys',
      operationId: 'listKeys',
      tag,
      summary: 'List the keys the caller may see, oldest first',
      request: { query: listQuery },
      answer: {
        status: 200,
        description: 'A page of keys.',
        body: z.object({ items: z.array(keyAnswer), nextCursor }),
      },
      problems: [],
      async handle({ caller, query }) {
        const page = await keys.list(caller, query);
        return { ...page, items: page.items.map(keyOut) };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/keys/{key}',
      operationId: 'getKey',
      tag,
      summary: 'Describe a key',
      request: { params },
      answer: { status: 200, description: 'The key.', body: keyAnswer },
      problems: ['key/not-found'],
      handle: async ({ caller, params: { key } }) => keyOut(await keys.describe(caller, key)),
    }),
    defineRoute({
      method: 'patch',
      path: '/v1/keys/{key}',
      operationId: 'updateKey',
      tag,
      summary: 'Change a description, tags or the state of a key',
      request: { params, body: updateBody },
      answer: { status: 200, description: 'The key.', body: keyAnswer },
      problems: ['key/not-found', 'key/conflict'],
      example: { state: 'disabled' },
      handle: async ({ caller, params: { key }, body }) => keyOut(await keys.update(caller, key, body)),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/rotate',
      operationId: 'rotateKey',
      tag,
      summary: 'Make a new version and encrypt with it from now on',
      description: 'Old versions go on decrypting; rewrap moves ciphertexts to the new one.',
      idempotent: true,
      request: { params, body: z.strictObject({}) },
      answer: { status: 200, description: 'The key with its new version.', body: keyAnswer },
      problems: ['key/not-found', 'key/conflict'],
      example: {},
      handle: async ({ caller, params: { key } }) => keyOut(await keys.rotate(caller, key)),
    }),
    ...versionRoutes(keys),
  ];
}

function versionRoutes(keys: Keys): AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/keys/{key}/versions',
      operationId: 'listKeyVersions',
      tag,
      summary: 'List the versions of a key, newest first',
      request: { params, query: listQuery },
      answer: {
        status: 200,
        description: 'A page of versions.',
        body: z.object({ items: z.array(versionAnswer), nextCursor }),
      },
      problems: ['key/not-found'],
      async handle({ caller, params: { key }, query }) {
        const page = await keys.versions(caller, key, query);
        return { ...page, items: page.items.map(versionOut) };
      },
    }),
    defineRoute({
      method: 'patch',
      path: '/v1/keys/{key}/versions/{version}',
      operationId: 'updateKeyVersion',
      tag,
      summary: 'Change the state of one version',
      request: {
        params: z.strictObject({ key: keyRefSchema, version: ordinal }),
        body: z.strictObject({ state: z.enum(['enabled', 'decrypt-only', 'disabled']) }),
      },
      answer: { status: 200, description: 'The version.', body: versionAnswer },
      problems: ['key/not-found', 'key/conflict'],
      example: { state: 'decrypt-only' },
      handle: async ({ caller, params: { key, version }, body }) =>
        versionOut(await keys.updateVersion(caller, key, version, body.state)),
    }),
  ];
}

function keyOut({ createdAt, updatedAt, lastUsedAt, ...key }: KeyView): z.output<typeof keyAnswer> {
  return {
    ...key,
    tags: { ...key.tags },
    createdAt: toTimestamp(createdAt),
    updatedAt: toTimestamp(updatedAt),
    ...(lastUsedAt !== undefined && { lastUsedAt: toTimestamp(lastUsedAt) }),
  };
}

function versionOut({ createdAt, lastUsedAt, ...version }: KeyVersionView): z.output<typeof versionAnswer> {
  return {
    ...version,
    createdAt: toTimestamp(createdAt),
    ...(lastUsedAt !== undefined && { lastUsedAt: toTimestamp(lastUsedAt) }),
  };
}
