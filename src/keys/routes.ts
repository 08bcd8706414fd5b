import { z } from 'zod';
import type { Purpose } from '../crypto/suites.ts';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import { listQuery, toTimestamp } from '../http/validation.ts';
import type { KeyVersionView, KeyView } from './key.ts';
import type { Keys } from './keys.ts';
import {
  createBody,
  keyAnswer,
  keysAnswer,
  keyParams as params,
  rotateAnswer,
  updateBody,
  updateVersionBody,
  usageAnswer,
  versionAnswer,
  versionParams,
  versionsAnswer,
} from './routes-schemas.ts';

const tag = 'Keys';

/** What a rotation does to what is there: nothing, which not everybody expects. */
const existing: Readonly<Record<Purpose, string>> = {
  encrypt:
    'Existing ciphertexts are unchanged: the versions that made them open them until they are rewrapped.',
  decrypt: 'What was encrypted to older public keys is unchanged, and stays with the versions they are of.',
  exchange: 'What was sealed to older public keys is unchanged, and stays with the versions they are of.',
  fields: 'Existing values are unchanged: the versions that sealed them open them until they are rewrapped.',
  mac: 'Existing MACs are unchanged: the versions that made them verify them.',
  sign: 'Existing signatures are unchanged: the versions that made them verify them.',
};

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
      handle: async ({ caller, body }) => keyOut(await keys.create(caller, body)),
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
        body: keysAnswer,
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
      operator: true,
      tag,
      summary: 'Change the description, tags, state or data-key reuse of a key',
      request: { params, body: updateBody },
      answer: { status: 200, description: 'The key.', body: keyAnswer },
      problems: ['key/not-found', 'key/wrong-purpose', 'key/conflict'],
      example: { state: 'disabled' },
      handle: async ({ caller, params: { key }, body }) => keyOut(await keys.update(caller, key, body)),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/rotate',
      operationId: 'rotateKey',
      tag,
      summary: 'Make a new version and use it from now on',
      description: 'Old versions go on decrypting; rewrap moves ciphertexts to the new one.',
      idempotent: true,
      request: { params, body: z.strictObject({}) },
      answer: { status: 200, description: 'The key with its new version.', body: rotateAnswer },
      problems: ['key/not-found', 'key/external', 'key/conflict'],
      example: {},
      async handle({ caller, params: { key } }) {
        const rotated = keyOut(await keys.rotate(caller, key));
        return { ...rotated, existing: existing[rotated.purpose as Purpose] };
      },
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
        body: versionsAnswer,
      },
      problems: ['key/not-found'],
      async handle({ caller, params: { key }, query }) {
        const page = await keys.versions(caller, key, query);
        return { ...page, items: page.items.map(versionOut) };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/keys/{key}/usage',
      operationId: 'getKeyUsage',
      tag,
      summary: 'How much of the current version is used up, and when the key was used last',
      request: { params },
      answer: { status: 200, description: 'The usage.', body: usageAnswer },
      problems: ['key/not-found'],
      async handle({ caller, params: { key } }) {
        const { lastUsedAt, ...usage } = await keys.usage(caller, key);
        return { ...usage, ...(lastUsedAt !== undefined && { lastUsedAt: toTimestamp(lastUsedAt) }) };
      },
    }),
    defineRoute({
      method: 'patch',
      path: '/v1/keys/{key}/versions/{version}',
      operationId: 'updateKeyVersion',
      operator: true,
      tag,
      summary: 'Change the state of one version',
      request: {
        params: versionParams,
        body: updateVersionBody,
      },
      answer: { status: 200, description: 'The version.', body: versionAnswer },
      problems: ['key/not-found', 'key/version-state', 'key/conflict'],
      example: { state: 'decrypt-only' },
      handle: async ({ caller, params: { key, version }, body }) =>
        versionOut(await keys.updateVersion(caller, key, version, body.state)),
    }),
  ];
}

export function keyOut({ createdAt, updatedAt, lastUsedAt, ...key }: KeyView): z.output<typeof keyAnswer> {
  return {
    ...key,
    tags: { ...key.tags },
    createdAt: toTimestamp(createdAt),
    updatedAt: toTimestamp(updatedAt),
    ...(lastUsedAt !== undefined && { lastUsedAt: toTimestamp(lastUsedAt) }),
  };
}

function versionOut({
  createdAt,
  expiresAt,
  lastUsedAt,
  ...version
}: KeyVersionView): z.output<typeof versionAnswer> {
  return {
    ...version,
    createdAt: toTimestamp(createdAt),
    ...(expiresAt !== undefined && { expiresAt: toTimestamp(expiresAt) }),
    ...(lastUsedAt !== undefined && { lastUsedAt: toTimestamp(lastUsedAt) }),
  };
}
