import type { z } from 'zod';
import type { Algorithm } from '../crypto/suites.ts';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import { toTimestamp } from '../http/validation.ts';
import { keyOut } from '../keys/routes.ts';
import type { ImportParameters, Imports } from './importing.ts';
import {
  importBody,
  importedAnswer,
  parametersAnswer,
  parametersBody,
  keyParams as params,
} from './routes-schemas.ts';

const tag = 'Import';

export function importRoutes(imports: Imports): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/import-parameters',
      operationId: 'getImportParameters',
      tag,
      summary: 'A public key to wrap a key made elsewhere to, for one import',
      description:
        'Parameters given before for this key are replaced. RSA takes seconds where no pair is ready.',
      idempotent: true,
      timeoutSeconds: 120,
      request: { params, body: parametersBody },
      answer: { status: 200, description: 'The parameters.', body: parametersAnswer },
      problems: ['key/not-found', 'key/wrong-purpose'],
      example: {},
      handle: async ({ caller, params: { key }, body }) =>
        parametersOut(await imports.parameters(caller, { key, ...body })),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/import',
      operationId: 'importKey',
      tag,
      summary: 'Make a wrapped key the current version',
      idempotent: true,
      request: { params, body: importBody },
      answer: { status: 200, description: 'The key with its new version.', body: importedAnswer },
      problems: ['key/not-found', 'key/wrong-purpose', 'key/conflict', 'import/not-found', 'import/refused'],
      async handle({ caller, params: { key }, body }) {
        const { checkValue, ...view } = await imports.importKey(caller, { key, ...body });
        return { ...keyOut(view), checkValue };
      },
    }),
  ];
}

function parametersOut({
  algorithm,
  expiresAt,
  ...rest
}: ImportParameters): z.output<typeof parametersAnswer> {
  return { ...rest, algorithm: algorithm as Algorithm, expiresAt: toTimestamp(expiresAt) };
}
