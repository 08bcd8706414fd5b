import { wipe } from '../core/bytes.ts';
import { type AnyRoute, defineRoute } from '../http/route.ts';
import type { Macs } from './macs.ts';
import { macOut } from './routes-answers.ts';
import {
  generateMacBody,
  macAnswer,
  keyParams as params,
  verifiedMacAnswer,
  verifyMacBody,
} from './routes-schemas.ts';

const tag = 'MACs';
const using = [
  ...(['key/not-found', 'key/wrong-purpose', 'key/disabled', 'key/version-disabled'] as const),
  ...(['key/version-expired', 'key/nothing-imported'] as const),
] as const;

export function macRoutes(macs: Macs): AnyRoute[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/mac',
      operationId: 'mac',
      tag,
      summary: 'The MAC of a message by the current version of a key, made inside the HSM',
      description: 'Keep the `keyVersion` of the answer with the MAC, which does not name it.',
      request: { params, body: generateMacBody },
      answer: { status: 200, description: 'The MAC.', body: macAnswer },
      problems: using,
      example: { message: 'aGVsbG8=' },
      async handle({ caller, params: { key }, body }) {
        try {
          return macOut(await macs.generate(caller, { key, ...body }));
        } finally {
          wipe(body.message);
        }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/v1/keys/{key}/verify-mac',
      operationId: 'verifyMac',
      tag,
      summary: 'Whether a MAC is the message’s',
      description: 'Answers 200 only when it is; every other MAC is refused with `mac/invalid`.',
      request: { params, body: verifyMacBody },
      answer: { status: 200, description: 'It is.', body: verifiedMacAnswer },
      problems: [...using, 'mac/invalid'],
      async handle({ caller, params: { key }, body }) {
        try {
          return await macs.verify(caller, { key, ...body });
        } finally {
          wipe(body.message);
        }
      },
    }),
  ];
}
