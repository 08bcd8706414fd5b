import { toBase64 } from '../core/bytes.ts';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import type { PublicKeys } from './public-keys.ts';
import { keyParams as params, publicKeyAnswer, publicKeyQuery } from './routes-schemas.ts';

export function publicKeyRoutes(publicKeys: PublicKeys): AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/keys/{key}/public-key',
      operationId: 'getPublicKey',
      tag: 'Keys',
      summary: 'The public key of a key pair, raw, as PEM and as JWK',
      request: { params, query: publicKeyQuery },
      answer: { status: 200, description: 'The public key of one version.', body: publicKeyAnswer },
      problems: ['key/not-found', 'key/wrong-purpose'],
      async handle({ caller, params: { key }, query }) {
        const { publicKey, ...found } = await publicKeys.publicKey(caller, { key, ...query });
        return { ...found, publicKey: toBase64(publicKey) };
      },
    }),
  ];
}
