import { pageOf } from './shapes.ts';

const plan = {
  keyId: 'string',
  dryRun: 'boolean',
  windowSeconds: 'integer',
  destroyAt: 'string',
  dataKeySeconds: 'integer',
  versions: [
    {
      ...({ version: 'integer', state: 'string', usesReserved: 'integer', 'lastUsedAt?': 'string' } as const),
      'coverage?': { found: 'integer', remaining: 'integer', at: 'string', report: 'string' },
      effect: 'string',
      'refusal?': { code: 'string', detail: 'string' },
    },
  ],
} as const;

const record = {
  ...({ format: 'string', destructionId: 'string', namespaceId: 'string', keyId: 'string' } as const),
  ...({ keyName: 'string', versionId: 'string', version: 'integer', algorithm: 'string' } as const),
  ...({ kekId: 'string', wrappedKeySha256: 'string', requestedBy: 'string' } as const),
  ...({ scheduledAt: 'string', destroyAt: 'string', destroyedAt: 'string' } as const),
  'coverage?': { found: 'integer', remaining: 'integer', report: 'string' },
  'forcedFor?': 'string',
  claims: { destroyed: 'string', unrecoverable: 'boolean', notClaimed: 'string' },
  tag: 'string',
} as const;

const destruction = {
  ...({ id: 'string', version: 'integer', state: 'string', previousState: 'string' } as const),
  ...({ requestedBy: 'string', 'reason?': 'string', scheduledAt: 'string', destroyAt: 'string' } as const),
  'endedAt?': 'string',
  'record?': record,
} as const;

const retention = {
  keyId: 'string',
  'policy?': {
    ...({ 'keepLatest?': 'integer', 'retireAfterSeconds?': 'integer', finally: 'string' } as const),
    ...({ windowSeconds: 'integer', 'reason?': 'string' } as const),
  },
  'nextAt?': 'string',
  versions: [{ version: 'integer', state: 'string', step: 'string', 'held?': 'string' }],
} as const;

/** The part of the table in ./operations.ts that is about the end of versions. */
export const lifecycleOperations = {
  destroyKeyVersions: { method: 'POST', path: '/v1/keys/{key}/destroy', retry: 'key', answer: plan },
  restoreKeyVersions: {
    method: 'POST',
    path: '/v1/keys/{key}/restore',
    retry: 'key',
    answer: { keyId: 'string', versions: ['integer'] },
  },
  listDestructions: {
    method: 'GET',
    path: '/v1/keys/{key}/destructions',
    retry: 'safe',
    answer: pageOf(destruction),
  },
  getRetention: { method: 'GET', path: '/v1/keys/{key}/retention', retry: 'safe', answer: retention },
  setRetention: { method: 'POST', path: '/v1/keys/{key}/retention', retry: 'key', answer: retention },
  removeRetention: { method: 'DELETE', path: '/v1/keys/{key}/retention', retry: 'safe' },
} as const;
