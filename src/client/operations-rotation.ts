import { pageOf, type Shape } from './shapes.ts';

const policy = {
  'everyDays?': 'integer',
  'everySeconds?': 'integer',
  'cron?': { expression: 'string', timeZone: 'string' },
  'after?': { 'encryptions?': 'integer', 'bytes?': 'integer' },
  'jitterSeconds?': 'integer',
  'windows?': { timeZone: 'string', opens: [{ 'days?': ['string'], at: 'string', minutes: 'integer' }] },
} as const satisfies Shape;

const policyAnswer = {
  ...{ keyId: 'string', source: 'string', 'policy?': policy, paused: 'boolean', 'nextAt?': 'string' },
  ...{ 'dueAt?': 'string', reason: 'string', why: 'string', failures: 'integer', 'code?': 'string' },
} as const satisfies Shape;

const named = { ...policyAnswer, name: 'string' } as const satisfies Shape;

const defaultAnswer = {
  'policy?': policy,
  purposes: ['string'],
  'updatedAt?': 'string',
  'jobId?': 'string',
} as const satisfies Shape;

const rotationAnswer = {
  ...{
    fromVersion: 'integer',
    toVersion: 'integer',
    cause: 'string',
    rotatedAt: 'string',
    'dueAt?': 'string',
  },
  by: { kind: 'string', id: 'string', name: 'string' },
} as const satisfies Shape;

export const rotationOperations = {
  getKeyUsage: {
    method: 'GET',
    path: '/v1/keys/{key}/usage',
    retry: 'safe',
    answer: {
      keyId: 'string',
      currentVersion: 'integer',
      usesReserved: 'integer',
      'bytesReserved?': 'integer',
      'rotateAfter?': { 'encryptions?': 'integer', 'bytes?': 'integer' },
      'usesLimit?': 'integer',
      'lastUsedAt?': 'string',
    },
  },
  getRotationPolicy: {
    method: 'GET',
    path: '/v1/keys/{key}/rotation-policy',
    retry: 'safe',
    answer: policyAnswer,
  },
  setRotationPolicy: {
    method: 'PATCH',
    path: '/v1/keys/{key}/rotation-policy',
    retry: 'safe',
    answer: policyAnswer,
  },
  planRotation: {
    method: 'POST',
    path: '/v1/keys/{key}/rotation-plan',
    retry: 'safe',
    answer: { keyId: 'string', dates: ['string'], more: 'boolean' },
  },
  listRotations: {
    method: 'GET',
    path: '/v1/keys/{key}/rotations',
    retry: 'safe',
    answer: pageOf(rotationAnswer),
  },
  getDefaultRotationPolicy: {
    method: 'GET',
    path: '/v1/rotation/default-policy',
    retry: 'safe',
    answer: defaultAnswer,
  },
  setDefaultRotationPolicy: {
    method: 'PATCH',
    path: '/v1/rotation/default-policy',
    retry: 'safe',
    answer: defaultAnswer,
  },
  listUpcomingRotations: {
    method: 'GET',
    path: '/v1/rotation/upcoming',
    retry: 'safe',
    answer: pageOf({ ...named, dates: ['string'] }),
  },
  getRotationStatus: {
    method: 'GET',
    path: '/v1/rotation/status',
    retry: 'safe',
    answer: {
      scheduled: 'integer',
      paused: 'integer',
      overdue: 'integer',
      failing: 'integer',
      lagMilliseconds: 'integer',
      'nextAt?': 'string',
      failingKeys: [named],
      pausedKeys: [named],
    },
  },
} as const;
