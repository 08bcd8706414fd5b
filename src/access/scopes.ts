/** What a token may be allowed. They separate duties: `keys:admin` manages keys and cannot decrypt. */
export const scopes = [
  'keys:admin',
  'keys:encrypt',
  'keys:decrypt',
  'keys:rewrap',
  'keys:sign',
  'keys:verify',
  'datasets:admin',
  'datasets:contribute',
  'datasets:query',
  'access:admin',
  'jobs:read',
  'jobs:admin',
  'audit:read',
  'metrics:read',
  'service:admin',
] as const;

export type Scope = (typeof scopes)[number];

/** Scopes that reach beyond one namespace: only a holder of `service:admin` may hand them out. */
export const serviceScopes: readonly Scope[] = ['service:admin', 'metrics:read'];

const anyKeyScope: readonly Scope[] = [
  ...(['keys:admin', 'keys:encrypt', 'keys:decrypt', 'keys:rewrap', 'keys:sign', 'keys:verify'] as const),
];

const anyDatasetScope: readonly Scope[] = ['datasets:admin', 'datasets:contribute', 'datasets:query'];

/** Every audited action and the scopes of which one is enough. */
export const actions = {
  'keys.create': ['keys:admin'],
  'keys.list': anyKeyScope,
  'keys.describe': anyKeyScope,
  'keys.list-versions': anyKeyScope,
  'keys.update': ['keys:admin'],
  'keys.rotate': ['keys:admin'],
  'keys.plan-destruction': ['keys:admin'],
  'keys.schedule-destruction': ['keys:admin'],
  'keys.restore': ['keys:admin'],
  'keys.destroy': ['keys:admin'],
  'keys.list-destructions': ['keys:admin', 'audit:read'],
  'keys.read-retention': ['keys:admin'],
  'keys.set-retention': ['keys:admin'],
  'keys.retire': ['keys:admin'],
  'keys.public-key': anyKeyScope,
  'import.parameters': ['keys:admin'],
  'import.key': ['keys:admin'],
  'envelope.encrypt': ['keys:encrypt'],
  'envelope.decrypt': ['keys:decrypt'],
  'envelope.rewrap': ['keys:rewrap'],
  'envelope.rewrap-lines': ['keys:rewrap'],
  'envelope.data-keys': ['keys:encrypt'],
  'envelope.random': anyKeyScope,
  'envelope.batch': anyKeyScope,
  'coverage.report': ['keys:rewrap'],
  'coverage.list': anyKeyScope,
  'decryption.oaep': ['keys:decrypt'],
  'exchange.encapsulate': ['keys:encrypt'],
  'exchange.decapsulate': ['keys:decrypt'],
  'exchange.confirm': ['keys:decrypt'],
  'exchange.derive': ['keys:decrypt'],
  'exchange.seal': ['keys:encrypt'],
  'exchange.auth-seal': ['keys:decrypt'],
  'exchange.open': ['keys:decrypt'],
  'exchange.send-export': ['keys:encrypt'],
  'exchange.receive-export': ['keys:decrypt'],
  'mac.generate': ['keys:sign'],
  'mac.verify': ['keys:verify'],
  'signing.sign': ['keys:sign'],
  'signing.verify': ['keys:verify'],
  'signing.sign-jws': ['keys:sign'],
  'signing.csr': ['keys:sign'],
  'signing.jwks': anyKeyScope,
  'datasets.create': ['datasets:admin'],
  'datasets.list': anyDatasetScope,
  'datasets.describe': anyDatasetScope,
  'datasets.open-epoch': ['datasets:admin'],
  'datasets.list-epochs': anyDatasetScope,
  'datasets.epoch-key': ['datasets:contribute'],
  'datasets.contribute': ['datasets:contribute'],
  'datasets.shred-epoch': ['datasets:admin'],
  'access.list-namespaces': ['service:admin'],
  'access.create-namespace': ['service:admin'],
  'access.list-tokens': ['access:admin'],
  'access.create-token': ['access:admin', 'service:admin'],
  'access.revoke-token': ['access:admin', 'service:admin'],
  'jobs.list': ['jobs:read', 'jobs:admin'],
  'jobs.describe': ['jobs:read', 'jobs:admin'],
  'jobs.cancel': ['jobs:admin'],
  'audit.read': ['audit:read'],
  'service.metrics': ['metrics:read', 'service:admin'],
} as const satisfies Record<string, readonly Scope[]>;

export type Action = keyof typeof actions;
