import { pageOf } from './shapes.ts';

const counts = {
  version: 'integer',
  versionId: 'string',
  found: 'integer',
  rewrapped: 'integer',
  failed: 'integer',
  remaining: 'integer',
} as const;

const report = {
  id: 'string',
  keyId: 'string',
  place: { system: 'string', database: 'string', table: 'string', column: 'string', 'pointer?': 'string' },
  currentVersion: 'integer',
  rows: 'integer',
  nulls: 'integer',
  foreign: 'integer',
  unreadable: 'integer',
  versions: [counts],
  agreed: 'boolean',
  complete: 'boolean',
  reportedBy: 'string',
  scanStartedAt: 'string',
  createdAt: 'string',
} as const;

/** What moves many ciphertexts to a new version, and tells what is left. */
export const rewrappingOperations = {
  rewrapLines: {
    method: 'POST',
    path: '/v1/keys/{key}/rewrap-lines',
    bytes: ['ciphertext'],
    retry: 'safe',
    answer: 'lines',
  },
  reportCoverage: { method: 'POST', path: '/v1/keys/{key}/coverage', retry: 'key', answer: report },
  listCoverage: { method: 'GET', path: '/v1/keys/{key}/coverage', retry: 'safe', answer: pageOf(report) },
} as const;
