import { toBase64, wipe } from '../core/bytes.ts';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import type { Envelopes } from './envelope.ts';
import {
  batchItemIn,
  batchResultOut,
  dataKeysOut,
  missingResult,
  openedOut,
  sealedOut,
  wipeItems,
} from './routes-answers.ts';
import { rewrapLinesRoute } from './routes-lines.ts';
import {
  batchAnswer,
  batchBody,
  ciphertextBodyBytes,
  dataKeysAnswer,
  dataKeysBody,
  decryptBody,
  encryptBody,
  keyParams,
  openedAnswer,
  randomAnswer,
  randomBody,
  rewrapBody,
  sealedAnswer,
} from './routes-schemas.ts';

const tag = 'Encryption';
const counting = ['key/usage-exhausted', 'key/conflict'] as const;
const using = ['key/wrong-purpose', 'key/disabled', 'key/version-disabled', 'key/version-expired'] as const;
const encrypting = ['key/not-found', 'key/nothing-imported', ...using, ...counting] as const;
const decrypting = ['envelope/decryption-failed', ...using] as const;

export function envelopeRoutes(envelopes: Envelopes): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/encrypt',
      operationId: 'encrypt',
      tag,
      summary: 'Encrypt with the current version of a key: up to 4 KiB inside the HSM, more under a data key',
      request: { params: keyParams, body: encryptBody },
      answer: {
        status: 200,
        description: 'The ciphertext; it names its key and version.',
        body: sealedAnswer,
      },
      problems: encrypting,
      example: { plaintext: 'aGVsbG8=', context: { table: 'users', row: '42' } },
      async handle({ caller, params, body }) {
        try {
          return sealedOut(await envelopes.encrypt(caller, { key: params.key, ...body }));
        } finally {
          wipe(body.plaintext);
        }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/decrypt',
      operationId: 'decryptWithKey',
      tag,
      bodyLimitBytes: ciphertextBodyBytes,
      summary: 'Decrypt a ciphertext of this key',
      request: { params: keyParams, body: decryptBody },
      answer: { status: 200, description: 'The plaintext.', body: openedAnswer },
      problems: decrypting,
      handle: async ({ caller, params, body }) =>
        openedOut(await envelopes.decrypt(caller, { key: params.key, ...body })),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/decrypt',
      operationId: 'decrypt',
      tag,
      bodyLimitBytes: ciphertextBodyBytes,
      summary: 'Decrypt a ciphertext of any key the caller may use',
      request: { body: decryptBody },
      answer: { status: 200, description: 'The plaintext.', body: openedAnswer },
      problems: decrypting,
      handle: async ({ caller, body }) => openedOut(await envelopes.decrypt(caller, body)),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/rewrap',
      operationId: 'rewrap',
      tag,
      bodyLimitBytes: ciphertextBodyBytes,
      summary: 'Move a ciphertext to the current version, another key or another context',
      description:
        'The plaintext does not leave the service. `toContext` absent keeps the context, `{}` clears it. ' +
        'The caller needs `keys:rewrap` and both keys must be visible to it.',
      request: { params: keyParams, body: rewrapBody },
      answer: { status: 200, description: 'The new ciphertext of the same message.', body: sealedAnswer },
      problems: [...decrypting, 'key/not-found', 'key/nothing-imported', ...counting],
      handle: async ({ caller, params, body }) =>
        sealedOut(await envelopes.rewrap(caller, { key: params.key, ...body })),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/data-keys',
      operationId: 'createDataKeys',
      tag,
      summary: 'Make data keys, wrapped by the key and, on request, in clear',
      description: '`wrapped` is opened by decrypt with the same context.',
      request: { params: keyParams, body: dataKeysBody },
      answer: { status: 200, description: 'The data keys.', body: dataKeysAnswer },
      problems: encrypting,
      example: { count: 1, bytes: 32, plaintext: true },
      handle: async ({ caller, params, body }) =>
        dataKeysOut(await envelopes.dataKeys(caller, { key: params.key, ...body })),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/random',
      operationId: 'random',
      tag,
      summary: 'Random bytes from the HSM',
      request: { body: randomBody },
      answer: { status: 200, description: 'The bytes.', body: randomAnswer },
      problems: [],
      example: { bytes: 32 },
      async handle({ caller, body }) {
        const bytes = await envelopes.random(caller, body.bytes);
        try {
          return { bytes: toBase64(bytes) };
        } finally {
          wipe(bytes);
        }
      },
    }),
    rewrapLinesRoute(envelopes),
    batchRoute(envelopes),
  ];
}

function batchRoute(envelopes: Envelopes): AnyRoute {
  return defineRoute({
    method: 'post',
    path: '/v1/batch',
    operationId: 'batch',
    tag,
    summary: 'Up to 1,000 operations over several keys, a status for each',
    description:
      'Answers 200 whenever the request itself is well formed; results stand in the order of the items.',
    bodyLimitBytes: 8 * 1024 * 1024,
    timeoutSeconds: 60,
    request: { body: batchBody },
    answer: { status: 200, description: 'One result an item.', body: batchAnswer },
    problems: [],
    example: { operations: [{ id: 'a', operation: 'encrypt', key: 'payments', plaintext: 'aGVsbG8=' }] },
    async handle({ caller, body }) {
      const decoded = body.operations.map(batchItemIn);
      try {
        const results = await envelopes.batch(
          caller,
          decoded.map(({ item }) => item),
        );
        return {
          results: decoded.map(({ id }, index) =>
            batchResultOut(id, results[index] ?? missingResult(), caller.requestId),
          ),
        };
      } finally {
        wipeItems(decoded);
      }
    },
  });
}
