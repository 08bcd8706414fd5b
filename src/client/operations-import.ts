import { keyAnswer } from './shapes.ts';

/** The part of the table in ./operations.ts that is about keys made elsewhere. */
export const importOperations = {
  getImportParameters: {
    method: 'POST',
    path: '/v1/keys/{key}/import-parameters',
    retry: 'key',
    answer: {
      importId: 'string',
      keyId: 'string',
      algorithm: 'string',
      keyBytes: 'integer',
      wrapping: 'string',
      publicKey: 'bytes',
      'suite?': 'string',
      'info?': 'bytes',
      expiresAt: 'string',
    },
  },
  importKey: {
    method: 'POST',
    path: '/v1/keys/{key}/import',
    bytes: ['checkValue?', 'wrappedKey'],
    retry: 'key',
    answer: { ...keyAnswer, checkValue: 'bytes' },
  },
} as const;
