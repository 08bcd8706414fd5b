import { toBase64, wipe } from '../core/bytes.ts';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import type { Decryption } from './decryption.ts';
import { oaepAnswer, oaepBody, keyParams as params } from './routes-schemas.ts';

export function decryptionRoutes(decryption: Decryption): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/decrypt-oaep',
      operationId: 'decryptOaep',
      tag: 'Decryption',
      summary: 'Decrypt what was encrypted to the public key of an RSA key by OAEP',
      request: { params, body: oaepBody },
      answer: { status: 200, description: 'The plaintext.', body: oaepAnswer },
      problems: [
        ...(['key/not-found', 'key/wrong-purpose', 'key/disabled', 'key/version-disabled'] as const),
        'envelope/decryption-failed',
      ],
      async handle({ caller, params: { key }, body }) {
        const { plaintext, ...made } = await decryption.oaep(caller, { key, ...body });
        try {
          return { plaintext: toBase64(plaintext), ...made };
        } finally {
          wipe(plaintext);
        }
      },
    }),
  ];
}
