import { type AnyRoute, defineRoute } from '../http/route.ts';
import { askedOf, signatureOut } from './routes-answers.ts';
import {
  keyParams as params,
  signatureAnswer,
  signBody,
  verifiedSignatureAnswer,
  verifyBody,
} from './routes-schemas.ts';
import type { Signing } from './signing.ts';

const tag = 'Signatures';
const using = ['key/not-found', 'key/wrong-purpose', 'key/disabled', 'key/version-disabled'] as const;

export function signingRoutes(signing: Signing): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/sign',
      operationId: 'sign',
      tag,
      summary: 'Sign a message with the current version of a key',
      description: 'Keep the `keyVersion` of the answer with the signature, which does not name it.',
      request: { params, body: signBody },
      answer: { status: 200, description: 'The signature.', body: signatureAnswer },
      problems: using,
      example: { message: 'aGVsbG8=' },
      handle: async ({ caller, params: { key }, body }) =>
        signatureOut(await signing.sign(caller, { key, ...askedOf(body) })),
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/verify',
      operationId: 'verify',
      tag,
      summary: 'Whether a signature is the message’s',
      description: 'Answers 200 only when it is; every other signature is refused with `signature/invalid`.',
      request: { params, body: verifyBody },
      answer: { status: 200, description: 'It is.', body: verifiedSignatureAnswer },
      problems: [...using, 'signature/invalid'],
      async handle({ caller, params: { key }, body: { signature, version, ...body } }) {
        return await signing.verify(caller, { key, signature, version, ...askedOf(body) });
      },
    }),
  ];
}
