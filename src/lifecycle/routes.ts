import type { z } from 'zod';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import { listQuery, toTimestamp } from '../http/validation.ts';
import type { DestructionPlan, DestructionView, Lifecycle } from './lifecycle.ts';
import type { RetentionView } from './retention.ts';
import {
  destroyBody,
  destructionsAnswer,
  keyParams as params,
  planAnswer,
  restoreBody,
  restoredAnswer,
  retentionAnswer,
  retentionBody,
} from './routes-schemas.ts';
import { mostWindowSeconds } from './window.ts';

const tag = 'Lifecycle';

export function lifecycleRoutes(lifecycle: Lifecycle): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/destroy',
      operationId: 'destroyKeyVersions',
      tag,
      summary: 'Schedule the destruction of versions of a key, or show what it would do',
      description:
        'They are refused from now on, and can be restored until the window is over. The version that an enabled key ' +
        'makes everything with, and versions that may still be needed, are refused; of several, all or none.',
      idempotent: true,
      request: { params, body: destroyBody },
      answer: { status: 200, description: 'What is done, or would be.', body: planAnswer },
      problems: ['key/not-found', 'key/version-state', 'key/version-in-use', 'key/conflict'],
      example: { versions: [1], windowSeconds: 604_800, reason: 'the key was published' },
      handle: async ({ caller, params: { key }, body }) =>
        planOut(await lifecycle.destroy(caller, key, body)),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/restore',
      operationId: 'restoreKeyVersions',
      tag,
      summary: 'Give versions whose destruction is scheduled the states back that they had',
      operator: true,
      idempotent: true,
      request: { params, body: restoreBody },
      answer: { status: 200, description: 'The versions.', body: restoredAnswer },
      problems: ['key/not-found', 'key/version-state', 'key/conflict'],
      example: { versions: [1] },
      handle: async ({ caller, params: { key }, body }) => {
        const { keyId, versions } = await lifecycle.restore(caller, key, body.versions);
        return { keyId, versions: [...versions] };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/keys/{key}/destructions',
      operationId: 'listDestructions',
      tag,
      summary: 'List the destructions of versions of a key, oldest first, with their signed records',
      request: { params, query: listQuery },
      answer: { status: 200, description: 'A page of destructions.', body: destructionsAnswer },
      problems: ['key/not-found'],
      async handle({ caller, params: { key }, query }) {
        const page = await lifecycle.destructions(caller, key, query);
        return { ...page, items: page.items.map(destructionOut) };
      },
    }),
    ...retentionRoutes(lifecycle),
  ];
}

function retentionRoutes(lifecycle: Lifecycle): AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/keys/{key}/retention',
      operationId: 'getRetention',
      tag,
      summary: 'How long superseded versions of a key are kept, and what is due',
      request: { params },
      answer: { status: 200, description: 'The policy.', body: retentionAnswer },
      problems: ['key/not-found'],
      handle: async ({ caller, params: { key } }) => retentionOut(await lifecycle.retention(caller, key)),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/retention',
      operationId: 'setRetention',
      tag,
      summary: 'Say how long superseded versions of a key are kept, or show what that would do',
      description:
        'A version is past its time when everything that is given says so: older than the latest `keepLatest`, and ' +
        'superseded for `retireAfterSeconds`. A policy that would at once end what may still be needed is refused.',
      idempotent: true,
      request: { params, body: retentionBody },
      answer: { status: 200, description: 'The policy.', body: retentionAnswer },
      problems: ['key/not-found', 'key/version-in-use', 'key/conflict'],
      example: { keepLatest: 3, finally: 'destroy' },
      handle: async ({ caller, params: { key }, body: { dryRun = false, ...body } }) =>
        retentionOut(
          await lifecycle.setRetention(
            caller,
            key,
            {
              ...body,
              finally: body.finally ?? 'retire',
              windowSeconds: body.windowSeconds ?? mostWindowSeconds,
            },
            dryRun,
          ),
        ),
    }),
    defineRoute({
      method: 'delete',
      path: '/v1/keys/{key}/retention',
      operationId: 'removeRetention',
      tag,
      summary: 'Keep superseded versions of a key until somebody decides',
      request: { params },
      answer: { status: 204, description: 'There is no policy any more.' },
      problems: ['key/not-found'],
      async handle({ caller, params: { key } }) {
        await lifecycle.removeRetention(caller, key);
        return undefined;
      },
    }),
  ];
}

function planOut({ destroyAt, versions, ...plan }: DestructionPlan): z.output<typeof planAnswer> {
  return {
    ...plan,
    destroyAt: toTimestamp(destroyAt),
    versions: versions.map(({ lastUsedAt, coverage, refusal, ...version }) => ({
      ...version,
      ...(lastUsedAt !== undefined && { lastUsedAt: toTimestamp(lastUsedAt) }),
      ...(coverage !== 'unknown' && { coverage: { ...coverage, at: toTimestamp(coverage.at) } }),
      ...(refusal && { refusal: { ...refusal } }),
    })),
  };
}

function destructionOut({ scheduledAt, destroyAt, endedAt, record, ...destruction }: DestructionView) {
  return {
    ...destruction,
    ...{ scheduledAt: toTimestamp(scheduledAt), destroyAt: toTimestamp(destroyAt) },
    ...(endedAt !== undefined && { endedAt: toTimestamp(endedAt) }),
    ...(record && { record }),
  } satisfies z.output<typeof destructionsAnswer>['items'][number];
}

function retentionOut({
  policy,
  nextAt,
  versions,
  ...view
}: RetentionView): z.output<typeof retentionAnswer> {
  return {
    ...view,
    ...(policy && { policy: { ...policy } }),
    ...(nextAt !== undefined && { nextAt: toTimestamp(nextAt) }),
    versions: versions.map((version) => ({ ...version })),
  };
}
