import type { z } from 'zod';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import { listQuery, toTimestamp } from '../http/validation.ts';
import type { DefaultView, RotationDefaults } from './defaults.ts';
import type { RotationOverview, RotationStatus } from './overview.ts';
import type { RotationPolicy } from './policy.ts';
import type { Rotation } from './rotation.ts';
import {
  defaultAnswer,
  defaultBody,
  keyParams as params,
  planAnswer,
  planBody,
  policyAnswer,
  policyBody,
  rotationsAnswer,
  statusAnswer,
  upcomingAnswer,
  upcomingQuery,
} from './routes-schemas.ts';
import type { PolicyView, RotationView } from './views.ts';

const tag = 'Rotation';

export function rotationRoutes({
  rotation,
  rotationDefaults,
  rotationOverview,
}: {
  rotation: Rotation;
  rotationDefaults: RotationDefaults;
  rotationOverview: RotationOverview;
}): AnyRoute[] {
  return [...keyRoutes(rotation), ...namespaceRoutes(rotationDefaults, rotationOverview)];
}

function keyRoutes(rotation: Rotation): AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/keys/{key}/rotation-policy',
      operationId: 'getRotationPolicy',
      tag,
      summary: 'When a key is rotated next, and why',
      request: { params },
      answer: { status: 200, description: 'The policy and the next date.', body: policyAnswer },
      problems: ['key/not-found'],
      handle: async ({ caller, params: { key } }) => policyOut(await rotation.policy(caller, key)),
    }),
    defineRoute({
      method: 'patch',
      path: '/v1/keys/{key}/rotation-policy',
      operationId: 'setRotationPolicy',
      operator: true,
      tag,
      summary: 'Set, pause or resume the rotation of a key',
      description:
        'The age of the current version counts: a key that is older than the period is rotated soon.',
      request: { params, body: policyBody },
      answer: { status: 200, description: 'The policy and the next date.', body: policyAnswer },
      problems: ['key/not-found', 'key/external', 'key/conflict'],
      example: { policy: { everyDays: 30, jitterSeconds: 3_600 } },
      handle: async ({ caller, params: { key }, body }) =>
        policyOut(await rotation.setPolicy(caller, key, body)),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/rotation-plan',
      operationId: 'planRotation',
      tag,
      summary: 'The dates to come, of a key’s policy or of another; nothing is set',
      request: { params, body: planBody },
      answer: { status: 200, description: 'Up to 400 dates.', body: planAnswer },
      problems: ['key/not-found'],
      example: { policy: { cron: { expression: '0 3 1 * *', timeZone: 'Europe/Berlin' } } },
      async handle({ caller, params: { key }, body }) {
        const { dates, ...plan } = await rotation.plan(caller, key, body);
        return { ...plan, dates: dates.map(toTimestamp) };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/keys/{key}/rotations',
      operationId: 'listRotations',
      tag,
      summary: 'The rotations of a key, newest first',
      request: { params, query: listQuery },
      answer: { status: 200, description: 'A page of rotations.', body: rotationsAnswer },
      problems: ['key/not-found'],
      async handle({ caller, params: { key }, query }) {
        const page = await rotation.history(caller, key, query);
        return { ...page, items: page.items.map(rotationOut) };
      },
    }),
  ];
}

function namespaceRoutes(defaults: RotationDefaults, overview: RotationOverview): AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/rotation/default-policy',
      operationId: 'getDefaultRotationPolicy',
      tag,
      summary: 'What new keys of the namespace get',
      request: {},
      answer: { status: 200, description: 'The default.', body: defaultAnswer },
      problems: [],
      handle: async ({ caller }) => defaultOut(await defaults.get(caller)),
    }),
    defineRoute({
      method: 'patch',
      path: '/v1/rotation/default-policy',
      operationId: 'setDefaultRotationPolicy',
      operator: true,
      tag,
      summary: 'Set what keys of the namespace get that have no policy of their own',
      request: { body: defaultBody },
      answer: { status: 200, description: 'The default.', body: defaultAnswer },
      problems: ['key/conflict', 'job/too-many'],
      example: { policy: { everyDays: 365, jitterSeconds: 604_800 }, existingKeys: true },
      handle: async ({ caller, body }) => defaultOut(await defaults.set(caller, body)),
    }),
    defineRoute({
      method: 'get',
      path: '/v1/rotation/upcoming',
      operationId: 'listUpcomingRotations',
      tag,
      summary: 'The keys that are rotated in the days to come, by date',
      request: { query: upcomingQuery },
      answer: { status: 200, description: 'A page of keys.', body: upcomingAnswer },
      problems: [],
      async handle({ caller, query }) {
        const page = await overview.upcoming(caller, query);
        const items = page.items.map(({ dates, ...item }) => ({
          ...namedOut(item),
          dates: dates.map(toTimestamp),
        }));
        return { ...page, items };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/rotation/status',
      operationId: 'getRotationStatus',
      operator: true,
      tag,
      summary: 'How many keys are rotated by date, and which are not',
      description: 'Reads a row a key.',
      request: {},
      answer: { status: 200, description: 'The status.', body: statusAnswer },
      problems: [],
      handle: async ({ caller }) => statusOut(await overview.status(caller)),
    }),
  ];
}

function policyOut({ nextAt, dueAt, policy, ...view }: PolicyView): z.output<typeof policyAnswer> {
  return {
    ...view,
    ...(policy && { policy: plain(policy) }),
    ...(nextAt !== undefined && { nextAt: toTimestamp(nextAt) }),
    ...(dueAt !== undefined && { dueAt: toTimestamp(dueAt) }),
  };
}

function namedOut({ name, ...view }: PolicyView & { readonly name: string }) {
  return { ...policyOut(view), name };
}

/** Lists that may be changed, as zod's types have them. */
function plain(policy: RotationPolicy): NonNullable<z.output<typeof policyAnswer>['policy']> {
  const { windows, ...rest } = policy;
  if (!windows) return rest;
  const opens = windows.opens.map(({ days, ...window }) => ({ ...window, ...(days && { days: [...days] }) }));
  return { ...rest, windows: { ...windows, opens } };
}

function rotationOut({ rotatedAt, dueAt, by, ...rotation }: RotationView) {
  return {
    ...rotation,
    by: { ...by },
    rotatedAt: toTimestamp(rotatedAt),
    ...(dueAt !== undefined && { dueAt: toTimestamp(dueAt) }),
  };
}

function defaultOut({ policy, purposes, updatedAt, ...view }: DefaultView): z.output<typeof defaultAnswer> {
  return {
    ...view,
    ...(policy && { policy: plain(policy) }),
    purposes: [...purposes],
    ...(updatedAt !== undefined && { updatedAt: toTimestamp(updatedAt) }),
  };
}

function statusOut({
  nextAt,
  failingKeys,
  pausedKeys,
  ...status
}: RotationStatus): z.output<typeof statusAnswer> {
  return {
    ...status,
    ...(nextAt !== undefined && { nextAt: toTimestamp(nextAt) }),
    failingKeys: failingKeys.map(namedOut),
    pausedKeys: pausedKeys.map(namedOut),
  };
}
