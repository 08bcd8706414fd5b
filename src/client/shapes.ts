/** What an answer, or a member of one, must be. */
export type Shape = Primitive | readonly [Shape] | { readonly [member: string]: Shape };
/** `bytes` is base64 on the wire, `strings` a map of strings, `json` whatever JSON can say. */
type Primitive = 'string' | 'integer' | 'number' | 'boolean' | 'bytes' | 'strings' | 'json';

// Of the answers of several operations.

export const keyAnswer = {
  id: 'string',
  name: 'string',
  algorithm: 'string',
  purpose: 'string',
  protection: 'string',
  state: 'string',
  description: 'string',
  tags: 'strings',
  currentVersion: 'integer',
  origin: 'string',
  'dataKeyReuse?': { messages: 'integer', bytes: 'integer', seconds: 'integer' },
  createdAt: 'string',
  updatedAt: 'string',
  'lastUsedAt?': 'string',
} as const;

export const versionAnswer = {
  id: 'string',
  version: 'integer',
  algorithm: 'string',
  protection: 'string',
  state: 'string',
  origin: 'string',
  createdAt: 'string',
  'expiresAt?': 'string',
  'lastUsedAt?': 'string',
  usesReserved: 'integer',
} as const;

export const namespaceAnswer = {
  id: 'string',
  name: 'string',
  region: 'string',
  createdAt: 'string',
} as const;

export const jobAnswer = {
  id: 'string',
  kind: 'string',
  state: 'string',
  done: 'integer',
  'total?': 'integer',
  chunks: { total: 'integer', done: 'integer', failed: 'integer' },
  'ratePerSecond?': 'number',
  'secondsLeft?': 'integer',
  createdBy: 'string',
  createdAt: 'string',
  'startedAt?': 'string',
  'finishedAt?': 'string',
  'code?': 'string',
  'result?': 'json',
} as const;

export const tokenAnswer = {
  id: 'string',
  name: 'string',
  namespace: 'string',
  scopes: ['string'],
  'keys?': ['string'],
  createdAt: 'string',
  'expiresAt?': 'string',
  'revokedAt?': 'string',
} as const;

const target = { kind: 'string', 'id?': 'string', 'name?': 'string', 'version?': 'integer' } as const;

export const recordAnswer = {
  id: 'string',
  time: 'string',
  namespaceId: 'string',
  requestId: 'string',
  principal: { kind: 'string', 'id?': 'string', 'name?': 'string' },
  'source?': 'string',
  action: 'string',
  'target?': target,
  outcome: 'string',
  'code?': 'string',
  'items?': [
    { action: 'string', 'target?': target, outcome: 'string', 'code?': 'string', 'count?': 'integer' },
  ],
  'count?': 'integer',
  'replayed?': 'boolean',
  writer: 'string',
  sequence: 'integer',
  head: 'string',
} as const;

export const sealed = { ciphertext: 'bytes', keyId: 'string', keyVersion: 'integer' } as const;
export const opened = { plaintext: 'bytes', keyId: 'string', keyVersion: 'integer' } as const;

export const made = { keyId: 'string', keyVersion: 'integer' } as const;
export const verified = { valid: 'boolean', ...made } as const;

export function pageOf<const Item extends Shape>(item: Item) {
  return { items: [item], 'nextCursor?': 'string' } as const;
}
